"""A server of two networks, and one with small bounds, for the tests of our own protocol."""

import pytest

from service.config import Limits
from tests.service.support import entry, serving


@pytest.fixture(scope="module")
def client(versions, edge):  # noqa: ARG001 - it must be there before
    """A server of the reference network, versions 1 to 3, and of the linear one."""
    reference = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"], v3=versions["r3-3"])
    with serving(reference, entry("linear", "champion", v1=versions["r2"])) as (_, client):
        yield client


@pytest.fixture(scope="module")
def bounded(versions, edge):  # noqa: ARG001 - it must be there before
    """A server with small bounds."""
    limits = Limits(elements=1000, batch=50, timesteps=100)
    with serving(entry("reference", "champion", v1=versions["r3-1"]), limits=limits) as (_, client):
        yield client
