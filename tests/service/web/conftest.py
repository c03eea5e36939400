"""A web server in front of a real server of the reference network."""

import pytest

from tests.service.support import entry, serving
from tests.service.web.support import web


@pytest.fixture(scope="module")
def server(versions):
    """A server of the reference network in versions 1 and 2: its host and a client."""
    with serving(entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"])) as served:
        yield served


@pytest.fixture(scope="module")
def address(server):
    """Host and port of the web server."""
    with web(server[1]) as address:
        yield address
