"""service.api.models: what is served, page by page; moves and watches are in supervisor/test_supervisor.py."""

import pytest

from service.callers import Callers, Entry, token_hash
from service.client import Client
from service.config import DEFAULT_LIMITS
from service.errors import InvalidArgumentError, NotFoundError, UnauthenticatedError
from service.pb import unroll_pb2 as pb
from tests.service.support import entry, serving

pytestmark = pytest.mark.usefixtures("edge")


def models_stub(client):
    """ModelService itself, which gives pages."""
    return client._channels[0].unary_unary(
        "/unroll.v1.ModelService/ListModels",
        request_serializer=pb.ListModelsRequest.SerializeToString,
        response_deserializer=pb.ListModelsResponse.FromString,
    )


def test_pages(client):
    """Models come by name, as many as asked for, and the token leads to those after them."""
    ask = models_stub(client)
    first = ask(pb.ListModelsRequest(page_size=1))
    second = ask(pb.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    assert [m.name for page in (first, second) for m in page.models] == ["linear", "reference"]
    assert second.next_page_token == ""
    assert [m.name for m in client.models()] == ["linear", "reference"]


def test_one_model(client, versions):
    """A model says its versions, its aliases, and the layers of each version with their sizes."""
    model = client.model("reference")
    assert (model.default_version, dict(model.aliases)) == ("1", {"champion": "1"})
    assert [version.version for version in model.versions] == ["3", "2", "1"]  # the newest first
    layers = [(layer.name, layer.class_name, layer.parameter_count) for layer in model.versions[-1].layers]
    assert layers == [("simpleRNN", "SimpleRNN", 28), ("output", "Dense", 5)]
    assert model.versions[-1].digest == versions["r3-1"].digest


def test_what_is_not_there(client):
    """An unknown model is not found; where several are served, one has to be named."""
    with pytest.raises(NotFoundError, match="no model 'none'"):
        client.model("none")
    with pytest.raises(InvalidArgumentError, match="linear, reference"):
        client.model()


def test_who_asks(client, versions):
    """A server says what it allows, what it can do, and whom it takes the caller for."""
    found = client.server()
    assert (found.caller, found.known_by, "override" in found.roles) == ("local", "local", True)
    assert (found.limits.batch, found.limits.computed) == (DEFAULT_LIMITS.batch, DEFAULT_LIMITS.computed)
    assert "trace_selection" in found.features
    token = Entry("ann", ("predict",), token_sha256=token_hash("secret"), models=("m*",), streams=3)
    with serving(entry("m", "a", v1=versions["r3-1"]), callers=Callers((token,), listed=True)) as (_, nobody):
        found = nobody.server()
        assert (found.caller, found.known_by, list(found.roles)) == ("", "", [])
        with Client(nobody.address, token="secret") as ann:
            found = ann.server()
            assert (found.caller, found.known_by, list(found.roles)) == ("ann", "token", ["predict"])
            assert (list(found.models), found.limits.streams) == (["m*"], 3)
        with Client(nobody.address, token="guess") as stranger, pytest.raises(UnauthenticatedError):
            stranger.server()
