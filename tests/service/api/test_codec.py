"""service.api.codec: tensors as values and as bytes, and what is said of those that do not fit."""

import grpc
import numpy as np
import pytest

from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError
from service.pb import unroll_pb2 as pb
from tests.service.support import R3_INPUTS

pytestmark = pytest.mark.usefixtures("edge")


def test_values_and_raw(client):
    """Python lists, integers and float64 give what float32 bytes give; the answer is encoded as the question."""
    raw = client.predict(R3_INPUTS, model="reference").output
    assert np.array_equal(raw, client.predict(R3_INPUTS.astype(int).tolist(), model="reference").output)
    stub = client._turn.__next__()[0]
    tensor = pb.Tensor(shape=R3_INPUTS.shape, values=R3_INPUTS.ravel().tolist())
    (output,) = stub.Predict(pb.PredictRequest(model="reference", inputs=[tensor])).outputs
    assert not output.raw
    assert np.array_equal(np.float32(output.values).reshape(output.shape), raw)


def test_many_values(client):
    """An answer of some hundred thousand numbers is the same as values and as bytes."""
    x = np.random.default_rng(0).normal(size=(2, 50_000, 2)).astype(np.float32)
    raw = client.predict(x, model="linear").output
    assert raw.size == 300_000
    request = pb.PredictRequest(model="linear", encoding=pb.TENSOR_ENCODING_VALUES)
    request.inputs.add(shape=x.shape, raw=x.tobytes())
    (output,) = client._turn.__next__()[0].Predict(request).outputs
    assert np.array_equal(np.float32(output.values).reshape(output.shape), raw)


F32 = pb.DATA_TYPE_FLOAT32
GOOD = {"shape": (1, 3, 2), "values": [1.0] * 6}


def bad(field, message, *tensors, error=InvalidArgumentError, **request):
    return pytest.param(tensors, request, error, field, message, id=message[:40])


@pytest.mark.parametrize(
    ("tensors", "request_fields", "error", "field", "message"),
    [
        bad("inputs", "missing"),
        bad("inputs[0]", "neither values nor raw", {"shape": (1, 3, 2)}),
        bad("inputs[0]", "both given", GOOD | {"raw": b"1234"}),
        bad("inputs[0].values", "needs 6 values, got 5", {"shape": (1, 3, 2), "values": [1.0] * 5}),
        bad("inputs[0].raw", "needs 24 bytes of raw, got 23", {"shape": (1, 3, 2), "raw": b"x" * 23}),
        bad("inputs[x]", "got [3, 2]", {"shape": (3, 2), "values": [1.0] * 6}),
        bad("inputs[x]", "got [1, 3, 5]", {"shape": (1, 3, 5), "values": [1.0] * 15}),
        bad("inputs[x]", "got [1, 0, 2]", {"shape": (1, 0, 2)}),
        bad("inputs[x]", "got [0, 3, 2]", {"shape": (0, 3, 2)}),
        bad("inputs[x]", "got []", {"values": [1.0]}),
        bad("inputs[0].shape", "negative", {"shape": (-1, 3, 2), "values": [1.0]}),
        bad("inputs[0].shape", "limit is 1000", {"shape": (2**62, 2**62, 2)}, error=LimitExceededError),
        bad("inputs[0].shape", "asks for 1002 elements", {"shape": (167, 3, 2)}, error=LimitExceededError),
        bad("inputs", "51 sequences", {"shape": (51, 1, 2), "values": [1.0] * 102}, error=LimitExceededError),
        bad("inputs", "101 timesteps", {"shape": (1, 101, 2), "values": [1.0] * 202}, error=LimitExceededError),
        bad("inputs[0]", "[0, 1, 0] is nan", {"shape": (1, 3, 2), "values": [1, 1, float("nan"), 1, 1, 1]}),
        bad("inputs[0]", "is inf", {"shape": (1, 3, 2), "values": [float("inf")] * 6}),
        bad("inputs[0]", "is inf", {"shape": (1, 3, 2), "values": [1e300] * 6}),
        bad("inputs[0]", "is -inf", {"shape": (1, 1, 2), "raw": np.float32([1, -np.inf]).tobytes()}),
        bad("inputs[0].data_type", "expected DATA_TYPE_FLOAT32", GOOD | {"data_type": pb.DATA_TYPE_FLOAT64}),
        bad("inputs[0].data_type", "got 77", GOOD | {"data_type": 77}),
        bad("inputs[0].name", "no tensor named 'none'", GOOD | {"name": "none"}),
        bad("inputs[1].name", "given twice", GOOD, GOOD),
        bad("encoding", "unknown encoding 9", GOOD, encoding=9),
        bad("model", "no model 'none'", GOOD, model="none", error=NotFoundError),
        bad("version", "there are: champion", GOOD, version="none", error=NotFoundError),
        bad("version", "version 9", GOOD, version="9", error=NotFoundError),
        bad("initial_state[0].name", "no tensor named 'x'", GOOD, initial_state=[pb.Tensor(name="x")]),
        bad(
            "initial_state[simpleRNN/hidden_state]", "got [1, 5]", GOOD,
            initial_state=[pb.Tensor(shape=(1, 5), values=[0.0] * 5)],
        ),
        bad(
            "initial_state[simpleRNN/hidden_state]", "batch of 1", GOOD,
            initial_state=[pb.Tensor(shape=(2, 4), values=[0.0] * 8)],
        ),
        bad("what_if[0].weight", "no weight 'x'", GOOD, what_if=[pb.WeightChange(weight="x")]),
        bad("what_if[0].value", "neither", GOOD, what_if=[pb.WeightChange(weight="output/bias")]),
        bad(
            "what_if[0].value.shape", "has shape [1]", GOOD,
            what_if=[pb.WeightChange(weight="output/bias", value=pb.Tensor(shape=[2], values=[1, 2]))],
        ),
        bad(
            "what_if[0].ranges", "2 axes, got 1", GOOD,
            what_if=[pb.WeightChange(weight="output/kernel", ranges=[pb.IndexRange()], value=pb.Tensor(values=[1]))],
        ),
        bad(
            "what_if[0].ranges[0]", "not within axis 0", GOOD,
            what_if=[pb.WeightChange(weight="output/bias", ranges=[pb.IndexRange(start=0, stop=2)],
                                     value=pb.Tensor(values=[1]))],
        ),
        bad(
            "what_if[1].value", "not finite", GOOD,
            what_if=[pb.WeightChange(weight="output/bias", operation=3, value=pb.Tensor(values=[3e38])),
                     pb.WeightChange(weight="output/bias", operation=3, value=pb.Tensor(values=[3e38]))],
        ),
        bad("what_if[0].operation", "unknown operation 9", GOOD,
            what_if=[pb.WeightChange(weight="output/bias", operation=9, value=pb.Tensor(values=[1]))]),
    ],
)  # fmt: skip
def test_bad_input(bounded, tensors, request_fields, error, field, message):
    """Each mistake gets its own status, the path of the field, and a sentence with what was expected and what came."""
    request = pb.PredictRequest(inputs=[pb.Tensor(**tensor) for tensor in tensors], **request_fields)
    with pytest.raises(grpc.RpcError) as caught:
        bounded._turn.__next__()[0].Predict(request)
    found = from_rpc_error(caught.value)
    assert type(found) is error
    assert message in found.message
    assert found.field.replace(field, "") in {"", "1"}, found.field
