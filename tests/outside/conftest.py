"""Our wheel, built once, and environments that hold it, or everything but it."""

import pytest

from tests.outside.environments import Environment, build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


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
