"""Our wheel, built once, and environments that hold it, or everything but it."""

import fcntl

import pytest

from tests.outside.environments import Environment, build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built by the first process of the tests that asks for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "wheel"  # one for all processes of a run
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.whl"), None) or build_wheel(folder)


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel and all that its extras bring."""
    made = Environment(tmp_path_factory.mktemp("installed"))
    made.install(wheel)
    made.link_all()
    return made


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """An environment with MLflow and Keras, and nothing of ours."""
    made = Environment(tmp_path_factory.mktemp("bare"))
    made.link_all()
    return made
