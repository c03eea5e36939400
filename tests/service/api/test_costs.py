"""What every method may cost: requests that are small and ask for much are refused, by number, before they begin."""

import grpc
import numpy as np
import pytest

from service.config import DEFAULT_LIMITS, Limits
from service.edge.methods import Bound
from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError
from service.oip.messages import pb as oip
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from tests.service.support import R3_INPUTS, all_methods, entry, eventually, serving

METHODS = {method.path: method for method in all_methods(Host(), DEFAULT_LIMITS)}
LIMITS = Limits(computed=30)  # the reference network has 33 weights, and makes 5 numbers of a timestep
X = np.ones((10, 3, 2), np.float32)
INPUTS = [pb.Tensor(shape=X.shape, raw=X.tobytes())]
SMALL = [pb.Tensor(shape=(1, 1, 2), raw=X[:1, :1].tobytes())]
ONE = pb.Tensor(shape=[], values=[1.0])
CHANGES = [pb.WeightChange(weight="simpleRNN/recurrent_kernel", value=ONE)]  # of 16 elements, copied and set
SEQUENCES = [oip.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=X.shape)]
# What asks for more than the bound, by method; the field that the error names.
EXCEEDING = {
    "/unroll.v1.PredictionService/Predict": {
        "inputs": pb.PredictRequest(inputs=INPUTS),
        "what_if": pb.PredictRequest(inputs=SMALL, what_if=CHANGES),
    },
    "/unroll.v1.PredictionService/PredictStream": {
        "inputs": pb.PredictStreamRequest(inputs=INPUTS),
        "options.what_if": pb.PredictStreamRequest(
            inputs=SMALL, options=pb.StreamOptions(what_if=[pb.WeightChange(weight="output/kernel", value=ONE)] * 8)
        ),
    },
    "/unroll.v1.PredictionService/Trace": {
        "inputs": pb.TraceRequest(inputs=INPUTS),
        "what_if": pb.TraceRequest(inputs=SMALL, what_if=CHANGES),
    },
    "/unroll.v1.InsightService/Gradients": {
        "subject.inputs": pb.GradientsRequest(subject=pb.Subject(inputs=INPUTS), by=[pb.GRADIENT_BY_INPUTS]),
        "subject.what_if": pb.GradientsRequest(
            subject=pb.Subject(inputs=SMALL, what_if=CHANGES), by=[pb.GRADIENT_BY_INPUTS]
        ),
    },
    "/unroll.v1.InsightService/Attribute": {
        "subject.inputs": pb.AttributeRequest(subject=pb.Subject(inputs=SMALL)),
    },
    "/unroll.v1.InsightService/Remember": {
        "subject.inputs": pb.RememberRequest(subject=pb.Subject(inputs=SMALL)),
    },
    "/unroll.v1.InsightService/FindFixedPoints": {
        "subject.inputs": pb.FindFixedPointsRequest(subject=pb.Subject(inputs=SMALL)),
    },
    "/unroll.v1.InsightService/Summarize": {
        "inputs": pb.SummarizeRequest(inputs=INPUTS),
    },
    "/unroll.v1.WeightService/GetWeights": {
        "weights": pb.GetWeightsRequest(view=pb.WEIGHT_VIEW_FULL, encoding=pb.TENSOR_ENCODING_RAW)
    },
    "/unroll.v1.WeightService/CompareWeights": {"weights": pb.CompareWeightsRequest(version="2")},
    "/unroll.v1.WeightService/OverrideWeights": {
        "changes": pb.OverrideWeightsRequest(changes=CHANGES, reason="r", expected_version="1")
    },
    "/inference.GRPCInferenceService/ModelInfer": {
        "inputs": oip.ModelInferRequest(inputs=SEQUENCES, raw_input_contents=[X.tobytes()])
    },
}
STRICT = [("triton_grpc_error", "true")]  # so that ModelStreamInfer answers mistakes with a status
VERSIONED = [
    (path, field.name)
    for path, method in METHODS.items()
    for field in method.request.DESCRIPTOR.fields
    if field.name in ("version", "model_version", "base_version", "expected_version")
]


@pytest.fixture(scope="module")
def model(versions):
    """The reference network, two versions of it."""
    return entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"])


def send(client, path, message):
    """Sends a message; gives the first answer. Raises the error of the service."""
    method, channel, data = METHODS[path], client._channels[0], message.SerializeToString()
    try:
        if method.request_streams:
            return next(channel.stream_stream(path)(iter([data]), timeout=60, metadata=STRICT))
        if method.response_streams:
            return next(channel.unary_stream(path)(data, timeout=60))
        return channel.unary_unary(path)(data, timeout=60)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


def test_every_method_that_computes_is_here():
    """Whatever computes, reads or changes weights is in the table of this module."""
    computing = {path for path, method in METHODS.items() if method.bound in (Bound.COMPUTED, Bound.WEIGHTS)}
    others = {
        "/unroll.v1.PredictionService/PredictStream",
        "/unroll.v1.InsightService/Summarize",
        "/unroll.v1.WeightService/OverrideWeights",
    }
    assert set(EXCEEDING) == computing | others


@pytest.mark.parametrize("path", EXCEEDING)
def test_more_than_the_bound(model, path):
    """What would compute, read or change more than the bound is refused with the numbers and the field."""
    with serving(model, limits=LIMITS) as (host, client):
        for field, request in EXCEEDING[path].items():
            with pytest.raises(LimitExceededError, match="the limit is 30") as caught:
                send(client, path, request)
            assert caught.value.field == field
            assert int(caught.value.details["actual"]) > 30
        assert host.admission._taken == 0


def test_weights_that_streams_keep(model):
    """Streams that keep weights of their own keep no more together than the bound, and give them back."""
    change = pb.WeightChange(weight="simpleRNN/kernel", value=ONE, ranges=[{"start": 0, "stop": 1}] * 2)
    request = pb.PredictStreamRequest(options=pb.StreamOptions(what_if=[change]))
    with serving(model, limits=LIMITS) as (host, client):
        stub = client._turn.__next__()[0].PredictStream
        first = stub(iter([request]))
        assert next(first).what_if
        first.cancel()
        eventually(lambda: host.changed_weights.held() == 0)
        with (
            host.changed_weights.take("somebody", 15),
            host.changed_weights.take("else", 10),
            pytest.raises(LimitExceededError, match="elements of weights changed for streams"),
        ):
            send(client, "/unroll.v1.PredictionService/PredictStream", request)


@pytest.mark.parametrize("text", ["01", "007", "0", "9" * 30])
@pytest.mark.parametrize(("path", "field"), VERSIONED)
def test_one_form_of_a_version(model, path, field, text):
    """Digits that are no version number are refused by every method that takes one, before anything is looked up."""
    looked_up = []
    with serving(model, load=lambda *key: looked_up.append(key)) as (_, client):
        request = METHODS[path].request(**{field: text})
        for name, value in {"reason": "r", "changes": CHANGES, "version": "1"}.items():
            if name in request.DESCRIPTOR.fields_by_name and name != field:
                getattr(request, name).extend(value) if name == "changes" else setattr(request, name, value)
        if "expected_version" in request.DESCRIPTOR.fields_by_name and field != "expected_version":
            request.expected_version = "1"
        with pytest.raises(InvalidArgumentError, match="expected a version number such as 1") as caught:
            send(client, path, request)
        assert caught.value.field in (field, "version")
    assert looked_up == []


def test_shapes_of_many_axes(model):
    """A shape of a million axes is refused by their number: its product alone would take minutes."""
    with serving(model) as (_, client):
        request = pb.PredictRequest(inputs=[pb.Tensor(shape=[2] * 1_000_000, raw=b"0000")])
        with pytest.raises(InvalidArgumentError, match="1000000 axes, the limit is 32"):
            send(client, "/unroll.v1.PredictionService/Predict", request)


def test_unknown_version_is_looked_up_once(model):
    """However often an unknown version is named within a moment, by either protocol, it is looked up once."""
    looked_up = []

    def load(name, number):
        looked_up.append((name, number))
        raise NotFoundError(f"no version {number} of {name}", field="version")

    with serving(model, load=load) as (_, client):
        for _ in range(5):
            with pytest.raises(NotFoundError):
                client.predict(R3_INPUTS, version="77")
            with pytest.raises(NotFoundError):
                send(client, "/inference.GRPCInferenceService/ModelInfer", oip.ModelInferRequest(model_version="77"))
    assert looked_up == [("reference", "77")]
