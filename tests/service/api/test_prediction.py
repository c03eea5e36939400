"""PredictionService over a real socket, with Keras as the oracle."""

import itertools
import queue
import threading

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.client import WeightChange
from service.config import Limits
from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError, NotReadyError, TimeLimitError
from service.model import proof
from service.pb import unroll_pb2 as pb
from service.serving.loaded import PROOF_FILE
from tests.service.support import R2_INPUTS, R2_OUTPUT, R2_WEIGHTS, R3_INPUTS, entry, serving, show

pytestmark = pytest.mark.usefixtures("edge")


def arrivals(arrays):
    """What comes out of a queue, until None does."""
    while (array := arrays.get()) is not None:
        yield array


def keras_output(versions, name):
    """What Keras itself answered when the version was made."""
    (output,) = proof.load(f"{versions[name].directory}/{PROOF_FILE}").outputs.values()
    return output


# Predict.


def test_predict(client, versions):
    """A prediction is Keras's, and names the model, version and tensors that made it."""
    answer = client.predict(R3_INPUTS, model="reference")
    assert np.allclose(answer.output, keras_output(versions, "r3-1"), rtol=0, atol=1e-5)
    assert (answer.model, answer.version, list(answer.outputs), answer.what_if) == ("reference", "1", ["output"], False)


@pytest.mark.parametrize("version", ["", "champion", "@champion", "1"])
def test_version_names(client, version):
    """Default, alias, forced alias and number mean the same version here."""
    assert client.predict(R3_INPUTS, model="reference", version=version).version == "1"


def test_chosen_version(client, versions):
    """A version that is named is the one that answers."""
    answer = client.predict(R3_INPUTS, model="reference", version="3")
    assert answer.version == "3"
    assert np.allclose(answer.output, keras_output(versions, "r3-3"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 2), (1, 1, 2), (1, 7, 2)])
def test_one_small_sequence(client, shape):
    """The plainest request has the answer that the same request asked in any other way has."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plain = client.predict(x, model="reference")
    asked = client.predict(x, model="reference", return_state=True)
    assert plain.output.tobytes() == asked.output.tobytes()
    assert (plain.model, plain.version, list(plain.outputs)) == (asked.model, asked.version, list(asked.outputs))
    values = pb.Tensor(shape=shape, values=x.ravel().tolist())
    request = pb.PredictRequest(model="reference", inputs=[values], encoding=pb.TENSOR_ENCODING_RAW)
    (output,) = client._turn.__next__()[0].Predict(request).outputs
    assert (output.raw, tuple(output.shape)) == (plain.output.tobytes(), plain.output.shape)
    assert output.data_type == pb.DATA_TYPE_FLOAT32


def test_state_in_and_out(client):
    """Two calls with the state handed over give exactly what one call gives."""
    whole = client.predict(R3_INPUTS, model="reference", return_state=True)
    head = client.predict(R3_INPUTS[:, :2], model="reference", return_state=True)
    tail = client.predict(R3_INPUTS[:, 2:], model="reference", initial_state=head.final_state, return_state=True)
    assert np.array_equal(tail.output, whole.output)
    assert np.array_equal(tail.final_state["simpleRNN/hidden_state"], whole.final_state["simpleRNN/hidden_state"])
    assert not client.predict(R3_INPUTS, model="reference").final_state


# What-if.


def test_what_if(client):
    """Changes count for their call only, and the answer says so."""
    before = client.predict(R3_INPUTS, model="reference")
    changed = client.predict(R3_INPUTS, model="reference", what_if=[WeightChange("output/bias", 0.5, "add")])
    assert changed.what_if
    assert np.allclose(changed.output, before.output + 0.5, atol=1e-6)
    assert np.array_equal(client.predict(R3_INPUTS, model="reference").output, before.output)


def test_what_if_whole_network(client):
    """R2: the three arrays of the linear network give exactly the known matrix."""
    changes = [WeightChange(name, value) for name, value in R2_WEIGHTS.items()]
    assert np.array_equal(client.predict(R2_INPUTS, model="linear", what_if=changes).output, R2_OUTPUT)


def test_what_if_slices(client):
    """Slices are set, added to and scaled in order; what is not selected stays."""
    changes = [
        *(WeightChange(name, value * 0) for name, value in R2_WEIGHTS.items()),
        WeightChange("rnn/bias", [1, 2], "set", [(0, 2)]),
        WeightChange("rnn/bias", 10, "add", [(1, 3)]),
        WeightChange("rnn/bias", [3], "scale", [(2, 3)]),
    ]
    output = client.predict(R2_INPUTS, model="linear", what_if=changes).output
    assert output[0, 0].tolist() == [1, 12, 30]


def test_what_ifs_do_not_mix(client):
    """Calls at the same time each see their own changes and nobody else's."""
    base = client.predict(R3_INPUTS, model="reference").output
    failures = queue.Queue()

    def ask(shift):
        for _ in range(50):
            got = client.predict(R3_INPUTS, model="reference", what_if=[WeightChange("output/bias", shift, "add")])
            if not np.allclose(got.output, base + shift, atol=1e-4):
                failures.put(got.output)

    threads = [threading.Thread(target=ask, args=(shift,)) for shift in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures.empty()


def test_ambiguous_model(client):
    """Where several models are served, a request has to name one."""
    with pytest.raises(InvalidArgumentError, match="linear, reference"):
        client.predict(R3_INPUTS)


# PredictStream.


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_chunking_equals_one_call(client, data):
    """A sequence fed in any pieces gives, to the bit, the outputs and states of one call."""
    batch, time = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    seed = data.draw(st.integers(0, 2**16))
    x = np.random.default_rng(seed).normal(size=(batch, time, 2)).astype(np.float32)
    cuts = sorted(data.draw(st.sets(st.integers(1, time - 1))) if time > 1 else ())
    for model in ("reference", "linear"):
        whole = client.predict(x, model=model, return_state=True)
        parts = list(client.stream(np.split(x, cuts, axis=1), model=model, return_state=True))
        assert [part.timesteps for part in parts] == [*cuts, time]
        output = parts[-1].output if model == "reference" else np.concatenate([p.output for p in parts], axis=1)
        assert np.array_equal(output, whole.output)
        for name, state in whole.final_state.items():
            assert np.array_equal(parts[-1].final_state[name], state)


def test_stream_resumes_elsewhere(client):
    """The state that a stream gave out resumes the sequence in another stream."""
    whole = client.predict(R3_INPUTS, model="reference").output
    (first,) = client.stream([R3_INPUTS[:, :1]], model="reference", return_state=True)
    *_, last = client.stream(np.split(R3_INPUTS[:, 1:], 2, axis=1), model="reference", initial_state=first.final_state)
    assert np.array_equal(last.output, whole)


def test_stream_answers_each_message(client):
    """An answer comes after each message, before the next one is sent."""
    steps = queue.Queue()
    stream = client.stream(arrivals(steps), model="reference")
    for t in range(3):
        steps.put(R3_INPUTS[:, t : t + 1])
        assert next(stream).timesteps == t + 1
    steps.put(None)
    assert list(stream) == []


def test_stream_keeps_its_version(versions):
    """A stream answers with the version it began with, also after the alias moved; one that follows is told."""
    v1, v2 = versions["r3-1"], versions["r3-2"]
    before = entry("reference", "champion", v1=v1)
    after = entry("reference", "champion", v2=v2)
    with serving(before) as (host, client):
        steps, following_steps = queue.Queue(), queue.Queue()
        pinned = client.stream(arrivals(steps))
        following = client.stream(arrivals(following_steps), follow=True, return_state=True)
        seen = []
        for t in range(3):
            step = R3_INPUTS[:, t : t + 1]
            if t == 1:
                show(host, after)
            steps.put(step)
            following_steps.put(step)
            kept, moved = next(pinned), next(following)
            seen.append((kept.version, moved.version, moved.version_changed))
        assert seen == [("1", "1", False), ("1", "2", True), ("1", "2", False)]
        state = client.predict(R3_INPUTS[:, :1], what_if=(), version="2", return_state=True).final_state
        assert state.keys() == moved.final_state.keys()
        steps.put(None)
        following_steps.put(None)
        assert list(pinned) == list(following) == []


def test_follow_to_other_shapes(versions):
    """A stream that follows ends with a clear status when the new network cannot take its state."""
    with serving(entry("m", "champion", v1=versions["r3-1"])) as (host, client):
        steps = queue.Queue()
        stream = client.stream(arrivals(steps), follow=True)
        steps.put(R3_INPUTS[:, :1])
        next(stream)
        show(host, entry("m", "champion", v2=versions["r2"]))
        steps.put(R3_INPUTS[:, :1])
        with pytest.raises(NotReadyError, match="other shapes"):
            next(stream)
        steps.put(None)


def test_stream_what_if(client):
    """Changes count for the whole stream, and only for it."""
    base = client.predict(R3_INPUTS, model="reference").output
    changes = [WeightChange("output/bias", 2, "add")]
    *_, last = client.stream(np.split(R3_INPUTS, 3, axis=1), model="reference", what_if=changes)
    assert last.what_if
    assert np.allclose(last.output, base + 2, atol=1e-6)


def test_empty_stream(client):
    """A stream that ends before its first message is no error, and neither is one that sends nothing but options."""
    stub = client._turn.__next__()[0]
    assert list(stub.PredictStream(iter(()))) == []
    assert list(client.stream([], model="reference")) == []


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{"inputs": [pb.Tensor(shape=(1, 1, 2), values=[1, 1])]}] * 2 + [{"options": pb.StreamOptions()}], "options"),
        ([{"inputs": [pb.Tensor(shape=(n, 1, 2), values=[1, 1] * n)]} for n in (1, 2)], "inputs"),
        ([{"options": pb.StreamOptions(initial_state=[pb.Tensor(shape=(1, 3), values=[1, 1, 1])]),
           "inputs": [pb.Tensor(shape=(1, 1, 2), values=[1, 1])]}], "initial_state[simpleRNN/hidden_state]"),
        ([{"options": pb.StreamOptions(follow=True, what_if=[pb.WeightChange()])}], "options.follow"),
        ([{}, {}], "inputs"),
    ],
    ids=["options again", "batch", "state", "follow and what-if", "nothing in the second"],
)  # fmt: skip
def test_bad_stream(bounded, messages, field):
    """A message that does not fit ends its stream with the field at fault."""
    stub = bounded._turn.__next__()[0]
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.PredictStream(iter([pb.PredictStreamRequest(**message) for message in messages])))
    assert from_rpc_error(caught.value).field == field


def test_streams_are_bounded(versions):
    """One stream too many is refused, and begins when another has ended."""
    with serving(entry("m", "champion", v1=versions["r3-1"]), limits=Limits(streams=2)) as (_, client):
        queues = queue.Queue(), queue.Queue()
        first, second = (client.stream(arrivals(steps)) for steps in queues)
        for stream, steps in zip((first, second), queues, strict=True):
            steps.put(R3_INPUTS[:, :1])
            next(stream)
        with pytest.raises(LimitExceededError, match="limit is 2") as caught:
            list(client.stream([R3_INPUTS]))
        assert caught.value.details["limit"] == "2"
        queues[0].put(None)
        assert list(first) == []
        (answer,) = client.stream([R3_INPUTS])
        assert answer.timesteps == 3
        queues[1].put(None)


def test_streams_end_in_time(versions):
    """Silence and old age end a stream, each with its own sentence, and make room for another."""
    reference = entry("m", "champion", v1=versions["r3-1"])
    with serving(reference, limits=Limits(streams=1, stream_idle_seconds=2, stream_seconds=60)) as (_, client):
        steps = queue.Queue()
        steps.put(R3_INPUTS[:, :1])
        with pytest.raises(TimeLimitError, match=r"no message for 2 s"):
            list(client.stream(arrivals(steps)))
        steps.put(None)
        (answer,) = client.stream([R3_INPUTS])
        assert answer.timesteps == 3
    with (
        serving(reference, limits=Limits(stream_idle_seconds=60, stream_seconds=0.4)) as (_, client),
        pytest.raises(TimeLimitError, match=r"lifetime of 0.4 s"),
    ):
        list(client.stream(itertools.repeat(R3_INPUTS[:, :1])))


def test_many_streams_beside_unary_calls(versions):
    """200 open streams each keep their own state, while unary calls go on being answered."""
    x = np.random.default_rng(0).normal(size=(200, 1, 6, 2)).astype(np.float32)
    with serving(entry("m", "champion", v1=versions["r3-1"]), limits=Limits(streams_of_one=200)) as (_, client):
        queues = [queue.Queue() for _ in x]
        streams = [client.stream(arrivals(q)) for q in queues]
        for t in range(6):
            for q, sequence in zip(queues, x, strict=True):
                q.put(sequence[:, t : t + 1])
            answers = [next(stream) for stream in streams]
            assert client.predict(R3_INPUTS).version == "1"
        for q in queues:
            q.put(None)
        for sequence, answer in zip(x, answers, strict=True):
            assert np.array_equal(answer.output, client.predict(sequence).output)
        assert all(list(stream) == [] for stream in streams)


def test_what_a_call_computes_is_bounded(versions):
    """A call that would make more numbers than the server allows is refused with both counts, however it is asked."""
    reference, linear = entry("m", "champion", v1=versions["r3-1"]), entry("l", "champion", v1=versions["r2"])

    def x(batch, timesteps):
        return np.ones((batch, timesteps, 2), np.float32)

    with serving(reference, linear, limits=Limits(computed=50)) as (_, client):
        assert client.predict(x(10, 3), model="m").output.shape == (10, 1)  # SimpleRNN(4) and Dense(1): 5 for each
        with pytest.raises(LimitExceededError, match="11 sequences of this length would make 55 numbers") as caught:
            client.predict(x(11, 3), model="m")
        assert caught.value.message.endswith("the limit is 50: send at most 10 in one call")
        assert (caught.value.field, caught.value.details) == (
            "inputs",
            {"limit": "50", "actual": "55", "bound": "computed"},
        )
        with pytest.raises(LimitExceededError, match="would make 55 numbers"):
            next(client.stream([x(11, 1)], model="m"))
        with pytest.raises(LimitExceededError, match=r"a trace of 1 sequences .*: send shorter ones"):
            client.trace(x(1, 3), model="m")
        # SimpleRNN(3) of sequences.
        assert client.predict(x(1, 16), model="l").output.shape == (1, 16, 3)
        with pytest.raises(LimitExceededError, match="would make 51 numbers"):
            client.predict(x(1, 17), model="l")


# Trace.


def test_trace(client, versions):
    """A trace shows the hidden state after each timestep, which are the states that prefixes of the sequence end in."""
    trace = client.trace(R3_INPUTS, model="reference")
    rnn, dense = trace.layers["simpleRNN"], trace.layers["output"]
    assert (rnn.class_name, dense.class_name) == ("SimpleRNN", "Dense")
    for t in range(3):
        prefix = client.predict(R3_INPUTS[:, : t + 1], model="reference", return_state=True)
        assert np.array_equal(rnn.tensors["hidden_state"][:, t], prefix.final_state["simpleRNN/hidden_state"])
    assert np.allclose(np.tanh(rnn.tensors["pre_activation"]), rnn.tensors["hidden_state"], atol=1e-6)
    assert np.allclose(trace.outputs["output"], keras_output(versions, "r3-1"), atol=1e-5)
    assert np.array_equal(dense.tensors["output"], trace.outputs["output"])


def test_trace_chosen_layers(client):
    """Only the layers asked for are shown; an unknown one is refused by name."""
    assert list(client.trace(R3_INPUTS, model="reference", layers=["output"]).layers) == ["output"]
    with pytest.raises(NotFoundError, match="simpleRNN, output") as caught:
        client.trace(R3_INPUTS, model="reference", layers=["output", "none"])
    assert caught.value.field == "layers[1]"


def test_trace_what_if(client):
    """A trace can be taken of a network with changes."""
    changes = [WeightChange("simpleRNN/kernel", 0), WeightChange("simpleRNN/bias", 0)]
    trace = client.trace(R3_INPUTS, model="reference", what_if=changes)
    assert trace.what_if
    assert not trace.layers["simpleRNN"].tensors["hidden_state"].any()
