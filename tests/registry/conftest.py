"""A real registry in a local SQLite file, made once, and versions to put into it."""

import shutil

import pytest

from registry import artifact


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """The file of an empty registry; making it takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        from registry.store import Store

        Store()
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def store(database):
    """The store of that registry, as a program has it that runs beside it."""
    from registry.store import Store

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database.parent)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        yield Store()


@pytest.fixture
def folder(tmp_path):
    """Makes folders of versions whose network is any bytes: for all who move files and never look into them."""

    def make(network=b"network", proof=b"proof", **files):
        made = tmp_path / "made"
        shutil.rmtree(made, ignore_errors=True)
        (made / "data").mkdir(parents=True)
        (made / artifact.MLMODEL).write_text("flavors: {keras: {data: data}}\n")
        (made / artifact.KERAS_FILE).write_bytes(network)
        if proof is not None:
            (made / artifact.PROOF_FILE).write_bytes(proof)
        for name, content in files.items():
            (made / name).write_bytes(content)
        return made

    return make
