"""One registry in a local SQLite file for all who train into it, and trained networks; each takes seconds to make."""

import pytest

from tests.training.networks import trained


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


@pytest.fixture(scope="session")
def network():
    """The module, which imports TensorFlow."""
    from training import network

    return network


@pytest.fixture(scope="session")
def reference(network):
    """The reference network, trained as published, with its losses and the progress that was told."""
    told = []
    return *trained(network, 2000, progress=lambda *args: told.append(args)), told


@pytest.fixture(scope="session")
def short(network):
    """A network trained for a number of epochs that is no multiple of the steps in one call."""
    return trained(network, 130, seed=3)
