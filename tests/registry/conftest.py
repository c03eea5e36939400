"""Real registries, made once, in a local SQLite file and behind a server; and versions to put into them."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from registry import artifact
from tests.ports import free_port
from tests.service.support import eventually


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


@pytest.fixture(scope="session")
def starting(tmp_path_factory):
    """A tracking server of MLflow's own that keeps files for its clients; it takes long to start."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process, f"http://127.0.0.1:{port}", folder
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # its children too
        process.wait(30)


@pytest.fixture(scope="session")
def server(starting):
    """The address of the server and the folder of its files, once it answers."""
    process, address, folder = starting

    def answers():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    eventually(answers, timeout=90)
    return address, folder / "files"


@pytest.fixture(scope="module", params=["sqlite", "server"])
def place(request, database):
    """The store and the folder of its files: of a local registry, then of one behind a server."""
    from registry.store import Store

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database.parent)
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        if request.param == "sqlite":
            uri, files = f"sqlite:///{database}", database.parent / "mlruns"
        else:
            uri, files = request.getfixturevalue("server")
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield Store(), files
