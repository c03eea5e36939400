"""service.edge.server: the edge between gRPC and the methods: who may call, how errors arrive, what bounds hold."""

import grpc
import numpy as np
import pytest

from service import errors
from service.client import Client, WeightChange
from service.config import Limits, Tls
from service.edge.status import CODES, from_rpc_error
from service.pb import unroll_pb2 as pb
from tests.service.support import R3_INPUTS, entry, eventually, serving

pytestmark = pytest.mark.usefixtures("edge")

STUBS = ["PredictionService", "WeightService", "ModelService", "InsightService"]  # in the order of the client


@pytest.fixture
def model(versions):
    """The reference network under an alias."""
    return entry("reference", "champion", v1=versions["r3-1"])


FAILING = {
    "PredictionService/Predict": pb.PredictRequest(model="none"),
    "PredictionService/Generate": pb.GenerateRequest(model="none"),
    "PredictionService/PredictStream": pb.PredictStreamRequest(options=pb.StreamOptions(model="none")),
    "PredictionService/Trace": pb.TraceRequest(model="none"),
    "InsightService/Gradients": pb.GradientsRequest(subject=pb.Subject(model="none"), by=[pb.GRADIENT_BY_INPUTS]),
    "InsightService/Attribute": pb.AttributeRequest(subject=pb.Subject(model="none")),
    "InsightService/Remember": pb.RememberRequest(subject=pb.Subject(model="none")),
    "InsightService/FindFixedPoints": pb.FindFixedPointsRequest(subject=pb.Subject(model="none")),
    "InsightService/Summarize": pb.SummarizeRequest(model="none"),
    "WeightService/GetWeights": pb.GetWeightsRequest(model="none"),
    "WeightService/CompareWeights": pb.CompareWeightsRequest(model="none"),
    "WeightService/OverrideWeights": pb.OverrideWeightsRequest(
        model="none", reason="r", changes=[pb.WeightChange(weight="w")]
    ),
    "ModelService/ListModels": pb.ListModelsRequest(page_token="none"),
    "ModelService/GetModel": pb.GetModelRequest(model="none"),
    "ModelService/ListVersions": pb.ListVersionsRequest(model="none"),
    "ModelService/GetExamples": pb.GetExamplesRequest(model="none"),
    "ModelService/MoveAlias": pb.MoveAliasRequest(model="none", version="1", expected_version="1"),
    "ModelService/WatchModel": pb.WatchModelRequest(model="none"),
}


def test_every_method_can_fail(model):
    """Each RPC of the proto answers a mistake with its status and the field, and the server goes on."""
    paths = {f"{s.name}/{m.name}" for s in pb.DESCRIPTOR.services_by_name.values() for m in s.methods}
    assert set(FAILING) == paths - {"ModelService/GetServer"}  # which is asked for nothing
    with serving(model) as (_, client):
        for path, request in FAILING.items():
            service, method = path.split("/")
            stub = client._turn.__next__()[STUBS.index(service)]
            argument = iter([request]) if method in ("PredictStream", "Summarize") else request
            with pytest.raises(grpc.RpcError) as caught:
                list(getattr(stub, method)(argument, timeout=30))
            error = from_rpc_error(caught.value)
            expected = errors.InvalidArgumentError if method == "ListModels" else errors.NotFoundError
            assert type(error) is expected, path
            assert error.field.removeprefix("subject.") == ("page_token" if method == "ListModels" else "model"), path
            assert caught.value.code() is CODES[expected]
        assert client.predict(R3_INPUTS).version == "1"


def test_unknown_method(model):
    """A method that does not exist is UNIMPLEMENTED."""
    with serving(model) as (_, client):
        call = client._channels[0].unary_unary("/unroll.v1.PredictionService/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_garbage_request(model):
    """Bytes that are no message end their call and nothing else."""
    with serving(model) as (_, client):
        call = client._channels[0].unary_unary("/unroll.v1.PredictionService/Predict")
        with pytest.raises(grpc.RpcError):
            call(b"\xff" * 100)
        assert client.predict(R3_INPUTS).version == "1"


def test_message_too_large(model):
    """A message above the bound is refused by its size."""
    with serving(model, limits=Limits(message_bytes=10_000)) as (_, client):
        with pytest.raises(errors.LimitExceededError, match="10000"):
            client.predict(np.ones((100, 100, 2), np.float32))
        assert client.predict(R3_INPUTS).version == "1"


def test_operator_token(model):
    """With an operator token set, reading stays open and changing needs the token."""
    changes = [WeightChange("output/bias", [np.nan])]
    wanted = {"reason": "r", "expected_version": "1"}
    with serving(model, operator_token="secret") as (_, client):
        address = client._channels[0]._channel.target().decode().rpartition("/")[2]
        assert client.predict(R3_INPUTS).version == "1"
        with pytest.raises(errors.PermissionDeniedError):
            client.override_weights(changes, **wanted)
        with Client(address, token="guess") as stranger, pytest.raises(errors.UnauthenticatedError):
            stranger.predict(R3_INPUTS)
        with Client(address, token="secret") as operator, pytest.raises(errors.InvalidArgumentError):
            operator.override_weights(changes, **wanted)  # allowed, and then refused for what it says


def test_tls(model, certificates):
    """Over TLS a client that trusts the authority is served; one in plain text is not."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with serving(model, tls=tls) as (_, plain):
        address = plain._channels[0]._channel.target().decode().rpartition("/")[2]
        with Client(address, root_certificates=certificates / "authority.pem") as client:
            assert client.predict(R3_INPUTS).version == "1"
        with Client(address, timeout=2) as stranger, pytest.raises(errors.ServiceError):
            stranger.predict(R3_INPUTS)


def test_client_certificates(model, certificates):
    """With an authority for clients, a certificate of it makes an operator, and without one there is no service."""
    tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "authority.pem")
    with serving(model, tls=tls) as (_, plain):
        address = plain._channels[0]._channel.target().decode().rpartition("/")[2]
        pair = (certificates / "alice.key", certificates / "alice.pem")
        with (
            Client(address, root_certificates=certificates / "authority.pem", client_certificate=pair) as alice,
            pytest.raises(errors.InvalidArgumentError),
        ):
            alice.override_weights({"output/bias": [np.nan]}, reason="r", expected_version="1")
        with (
            Client(address, root_certificates=certificates / "authority.pem", timeout=2) as nobody,
            pytest.raises(errors.ServiceError),
        ):
            nobody.predict(R3_INPUTS)


def test_clients_that_vanish(model):
    """Streams whose clients are gone give their places back."""
    with serving(model, limits=Limits(streams=2)) as (_, client):

        def left_after_an_answer():
            stream = client.stream(iter([R3_INPUTS[:, :1]] * 50))
            try:
                return next(stream).timesteps == 1
            except errors.LimitExceededError:  # a stream that was left a moment ago still has its place
                return False
            finally:
                stream.close()

        for _ in range(10):
            eventually(left_after_an_answer)
