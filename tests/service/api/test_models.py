"""service.api.models: what is served, page by page; moves and watches are in supervisor/test_supervisor.py."""

import pytest

from service.errors import InvalidArgumentError, NotFoundError
from service.pb import unroll_pb2 as pb

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
