"""The REST protocol in front of a server of several models, asked by the standard client."""

import pytest
import tritonclient.http as triton

from tests.service.support import entry, serving
from tests.service.web.support import web

# The models of the tests of the protocol over gRPC, which are made once for both.
from tests.service.oip.conftest import models  # noqa: F401  # isort: skip


@pytest.fixture(scope="module")
def server(versions, models):  # noqa: F811
    """A server of the reference network in three versions, and of networks of several types; gives a gRPC client."""
    reference = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"], v3=versions["r3-3"])
    others = [entry(name, "champion", v1=models[name][1]) for name in ("two", "float16", "float64", "int64")]
    with serving(reference, *others) as (_, ours):
        yield ours


@pytest.fixture(scope="module")
def address(server):
    """Host and port of the REST protocol."""
    with web(server) as address:
        yield address


@pytest.fixture
def client(address):
    """The standard client."""
    with triton.InferenceServerClient(address) as client:
        yield client
