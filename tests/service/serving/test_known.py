"""service.serving.known: which requests are answered without being read, and that their answers are the same."""

import dataclasses

import grpc
import numpy as np
import pytest

from service.callers import Callers, Entry, token_hash
from service.client import to_tensor
from service.oip.messages import pb as oip
from service.pb import unroll_pb2 as pb
from tests.service.support import R3_INPUTS, entry, serving, show

PREDICT, INFER = "/unroll.v1.PredictionService/Predict", "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def host(versions):
    """A host with the reference network, and the port of its server."""
    with serving(entry("reference", "champion", v1=versions["r3-1"])) as (host, client):
        yield host, client.address


def predict(x, **fields):
    return pb.PredictRequest(inputs=[to_tensor(x)], **fields)


def infer(x, **fields):
    given = [{"name": "x", "datatype": "FP32", "shape": x.shape}]
    return oip.ModelInferRequest(model_name="reference", inputs=given, raw_input_contents=[x.tobytes()], **fields)


def ask(address, path, request, answer):
    with grpc.insecure_channel(address) as channel:
        return answer.FromString(channel.unary_unary(path)(request.SerializeToString(), timeout=60))


def known(host, request):
    """Whether a request would be answered without being read."""
    protocol = "Predict" if isinstance(request, pb.PredictRequest) else "ModelInfer"
    return host.snapshot().forms[protocol].find(request.SerializeToString()) is not None


KINDS = {
    "Predict": (PREDICT, predict, pb.PredictResponse, lambda m: m.outputs[0].raw),
    "ModelInfer": (INFER, infer, oip.ModelInferResponse, lambda m: m.raw_output_contents[0]),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("path", "make", "answer", "numbers"), KINDS.values(), ids=KINDS)
def test_answers_as_if_it_were_read(host, path, make, answer, numbers, count):
    """The second request of a form is known; its answer is the first one's with other numbers, bit for bit."""
    host, address = host
    x, other = R3_INPUTS[:count], R3_INPUTS[:count] * 2
    assert not known(host, make(x))
    first = ask(address, path, make(x), answer)
    assert known(host, make(other))
    second = ask(address, path, make(other), answer)
    assert numbers(second) == host.resolve("", "").forward({"x": other}).outputs["output"].tobytes()
    assert len(second.SerializeToString()) == len(first.SerializeToString())
    assert ask(address, path, make(x), answer) == first
    bad = np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x).astype(np.float32)
    with pytest.raises(grpc.RpcError) as caught:
        ask(address, path, make(bad), answer)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("few", "many"), [(1, 3), (2, 3)])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_longer_message_with_the_same_bytes_around(host, kind, few, many):
    """A message as long as another form's, which holds fewer numbers and a field that nobody knows, is read."""
    (path, make, answer, _), (_, address) = kind, host
    short, long = make(R3_INPUTS[:few]), make(R3_INPUTS[:many])
    first = ask(address, path, short, answer)
    ask(address, path, long, answer)
    room = len(long.SerializeToString()) - len(short.SerializeToString())
    short.MergeFromString(bytes((15 << 3 | 2, room - 2)) + bytes(room - 2))
    assert len(short.SerializeToString()) == len(long.SerializeToString())
    assert ask(address, path, short, answer) == first


def test_requests_with_an_id(host):
    """Requests of the standard protocol may each have an id; it is in the answer, and the rest is known."""
    host, address = host
    plain = ask(address, INFER, infer(R3_INPUTS), oip.ModelInferResponse)
    for identity in ("a", "b"):
        answer = ask(address, INFER, infer(R3_INPUTS, id=identity), oip.ModelInferResponse)
        assert answer.id == identity
        answer.id = ""
        assert answer == plain
    assert known(host, infer(R3_INPUTS))


def test_what_else_a_request_may_ask_for(host):
    """Requests whose answers need more than the numbers are read each time."""
    host, address = host
    change = pb.WeightChange(weight="output/bias", value=to_tensor(np.ones(1, np.float32)))
    patch = pb.Patch(
        layer="simpleRNN", tensor="output", operation=pb.PATCH_OPERATION_SET, value=to_tensor(np.zeros((), np.float32))
    )
    state = [to_tensor(np.ones((3, 4), np.float32), "simpleRNN/hidden_state")]
    for fields in (
        {"what_if": [change]}, {"patches": [patch]}, {"initial_state": state}, {"return_state": True},
        {"encoding": pb.TENSOR_ENCODING_VALUES},
    ):  # fmt: skip
        request = predict(R3_INPUTS, **fields)
        first, second = (ask(address, PREDICT, request, pb.PredictResponse) for _ in range(2))
        assert first == second
        assert not known(host, request)
    wanted = infer(R3_INPUTS, outputs=[{"name": "simpleRNN/final_state"}])
    assert ask(address, INFER, wanted, oip.ModelInferResponse).outputs[0].shape == [3, 4]
    assert not known(host, wanted)


def test_another_snapshot_knows_nothing(host, versions):
    """When an alias has moved, the same bytes are answered by the other version."""
    host, address = host
    ask(address, PREDICT, predict(R3_INPUTS), pb.PredictResponse)
    show(host, entry("reference", "champion", v2=versions["r3-2"]))
    assert not known(host, predict(R3_INPUTS))
    answer = ask(address, PREDICT, predict(R3_INPUTS), pb.PredictResponse)
    assert (answer.version, known(host, predict(R3_INPUTS))) == ("2", True)
    assert answer.outputs[0].raw == host.resolve("", "").forward({"x": R3_INPUTS}).outputs["output"].tobytes()


def test_versions_that_may_go(host, versions):
    """Versions that a client named are not known, because their last use is noted."""
    host, address = host
    named = dataclasses.replace(versions["r3-2"], on_demand=True)
    show(host, entry("reference", "champion", v1=versions["r3-1"], v2=named))
    request = predict(R3_INPUTS, version="2")
    ask(address, PREDICT, request, pb.PredictResponse)
    assert not known(host, request)
    assert ("reference", "2") in host.last_used


def test_numbers_that_only_seem_to_come_last(host):
    """Unknown fields may end a message with the bytes of its numbers; these are not taken for them."""
    host, address = host
    data = predict(R3_INPUTS).SerializeToString()
    raw = R3_INPUTS.tobytes()
    data += b"\xfa\x7f" + bytes([len(raw)]) + raw  # field 2047
    request = pb.PredictRequest.FromString(data)
    assert request.SerializeToString().endswith(raw)
    ask(address, PREDICT, request, pb.PredictResponse)
    assert not known(host, request)


def test_known_requests_are_counted(host):
    """Statistics count a request that was not read like one that was."""
    host, address = host
    for _ in range(3):
        ask(address, INFER, infer(R3_INPUTS), oip.ModelInferResponse)
    statistics = ask(
        address, "/inference.GRPCInferenceService/ModelStatistics", oip.ModelStatisticsRequest(name="reference"),
        oip.ModelStatisticsResponse,
    ).model_stats[0]  # fmt: skip
    assert (statistics.inference_count, statistics.execution_count) == (9, 3)
    assert [batch.batch_size for batch in statistics.batch_stats] == [3]


def test_numbers_with_something_after_them(host):
    """The numbers need not be the last bytes: our own client says after them how it wants the answer."""
    host, address = host
    request = predict(R3_INPUTS, encoding=pb.TENSOR_ENCODING_RAW)
    first = ask(address, PREDICT, request, pb.PredictResponse)
    assert known(host, predict(R3_INPUTS * 2, encoding=pb.TENSOR_ENCODING_RAW))
    assert ask(address, PREDICT, request, pb.PredictResponse) == first


def test_callers_of_some_models_only(versions):
    """That others asked the same does not let in a caller who may not use the model; one who may is counted once."""
    hashes = {name: token_hash(name) for name in ("all", "other", "seldom")}
    callers = Callers(
        (
            Entry("all", ("predict",), token_sha256=hashes["all"]),
            Entry("other", ("predict",), token_sha256=hashes["other"], models=("other",)),
            Entry("seldom", ("predict", "inspect"), token_sha256=hashes["seldom"], calls_per_second=1e-6),
        ),
        listed=True,
    )
    with serving(entry("reference", "champion", v1=versions["r3-1"]), callers=callers) as (host, client):

        def call(token, request):
            with grpc.insecure_channel(client.address) as channel:
                metadata = [("authorization", f"Bearer {token}")]
                channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=60, metadata=metadata)

        request = predict(R3_INPUTS, model="reference")
        call("all", request)
        assert known(host, request)
        with pytest.raises(grpc.RpcError) as caught:
            call("other", request)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        change = pb.WeightChange(weight="output/bias", value=to_tensor(np.ones(1, np.float32)))
        moved = predict(R3_INPUTS, what_if=[change])  # it leaves the edge's thread, and begins again on another
        call("seldom", moved)
        with pytest.raises(grpc.RpcError) as caught:
            call("seldom", moved)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
