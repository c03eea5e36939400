"""One registry in a local SQLite file for all who train into it; making it takes MLflow seconds."""

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """An empty folder, where the first job makes the registry."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(home):
    """That folder, with MLflow told of it, as the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        yield home
