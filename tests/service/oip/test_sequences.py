"""Streams of the standard client, and the sequences that it sends through them."""

import dataclasses
import time

import numpy as np
import pytest

from service.config import Limits
from tests.service.oip.standard import ONE, Stream, steps
from tests.service.support import R3_INPUTS, entry, serving, show

pytestmark = pytest.mark.usefixtures("edge")


@pytest.fixture
def stream(server):
    """An open stream."""
    with Stream(server[1].address) as stream:
        yield stream


@pytest.mark.parametrize("identity", [7, "seven", 2**62])
def test_sequence(stream, server, identity):
    """A sequence sent timestep by timestep ends with the bits that the whole gives; its id may be a number or text."""
    *head, last = steps(R3_INPUTS)
    for i, piece in enumerate(head):
        stream.step(piece, sequence_id=identity, sequence_start=i == 0)
    found = stream.step(last, sequence_id=identity, sequence_end=True)
    assert found.tobytes() == server[1].predict(R3_INPUTS, model="reference").output.tobytes()
    assert "did not begin in this stream" in stream.step(last, sequence_id=identity)


def test_interleaved_sequences_do_not_mix(stream, server):
    """Sequences of several ids and models in one stream each go on from their own state, in the order sent."""
    rng = np.random.default_rng(0)
    data = {i: rng.normal(size=(1, 6, 2)).astype(np.float32) for i in range(1, 9)}
    order = [(i, t) for t in range(6) for i in rng.permutation(list(data))]
    for i, t in order:
        model = "reference" if i % 2 else "linear"
        stream.send(
            data[i][:, t : t + 1], model, sequence_id=int(i), sequence_start=t == 0, sequence_end=t == 5,
            request_id=f"{i}-{t}",
        )  # fmt: skip
    last = {}
    for i, t in order:
        result, error = stream.receive()
        assert error is None
        assert result.get_response().id == f"{i}-{t}"
        last[i] = result.as_numpy("output" if i % 2 else "rnn")
    for i, x in data.items():
        whole = server[1].predict(x, model="reference" if i % 2 else "linear").output
        assert last[i].tobytes() == whole[:, -1:].tobytes() if i % 2 == 0 else last[i].tobytes() == whole.tobytes()


def test_wrong_steps_leave_the_stream_open(stream):
    """A step without a start, of another batch, or of wrong data is answered with what is wrong; the rest goes on."""
    first, second, third = steps(ONE)
    assert "sequence_start" in stream.step(first, sequence_id=1)
    good = stream.step(first, sequence_id=1, sequence_start=True)
    assert "began with a batch of 1" in stream.step(R3_INPUTS[:, 1:2], sequence_id=1)
    assert "no model" in stream.step(first, model="other", sequence_id=1, sequence_start=True)
    assert "expected shape" in stream.step(np.ones((1, 1, 3), np.float32), sequence_id=1)
    expected = stream.step(second, sequence_id=2, sequence_start=True)
    assert stream.step(second, sequence_id=1).tobytes() != expected.tobytes()
    assert stream.step(first, sequence_id=1, sequence_start=True).tobytes() == good.tobytes()  # a second start: anew
    assert stream.step(third).shape == (1, 1)  # without a sequence


def test_a_sequence_stays_with_its_version(versions):
    """A sequence ends on the version it began with, when the alias moves meanwhile."""
    numbered = {"v1": versions["r3-1"], "v2": versions["r3-2"]}
    first, *rest = steps(ONE)
    with serving(entry("reference", "champion", **numbered)) as (host, ours), Stream(ours.address) as stream:
        stream.step(first, sequence_id=1, sequence_start=True)
        moved = entry("reference", "champion", **numbered)
        show(host, dataclasses.replace(moved, aliases={"champion": "2"}, default_version="2"))
        for piece in rest:
            stream.send(piece, sequence_id=1)
            result, _ = stream.receive()
            assert result.get_response().model_version == "1"
        assert result.as_numpy("output").tobytes() == ours.predict(ONE, version="1").output.tobytes()
        stream.send(first, sequence_id=1, sequence_start=True)
        assert stream.receive()[0].get_response().model_version == "2"


def test_sequences_are_bounded(stream):
    """One sequence more than may be open is refused, and begins when another has ended."""
    for i in range(1, 1025):
        stream.send(ONE, sequence_id=i, sequence_start=True)
    assert all(stream.receive()[1] is None for _ in range(1024))
    assert "the limit is 1024" in stream.step(ONE, sequence_id=2000, sequence_start=True)
    assert stream.step(ONE, sequence_id=5, sequence_end=True).shape == (1, 1)
    assert stream.step(ONE, sequence_id=2000, sequence_start=True).shape == (1, 1)


def test_idle_sequences_end(versions):
    """A sequence that is not fed for as long as a stream may be silent is let go of, while others go on."""
    limits = Limits(stream_idle_seconds=3)  # far more than a step takes on a machine that others use
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, limits=limits) as (_, ours), Stream(ours.address) as stream:
        stream.step(ONE, sequence_id=1, sequence_start=True)
        stream.step(ONE, sequence_id=2, sequence_start=True)
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            assert stream.step(ONE, sequence_id=2).shape == (1, 1)
        assert "was idle for 3 s" in stream.step(ONE, sequence_id=1)


def test_errors_as_status(server):
    """A client that asks for it gets what is wrong as the status of the stream, which ends."""
    with Stream(server[1].address, headers={"triton_grpc_error": "true"}) as stream:
        assert stream.step(ONE).shape == (1, 1)
        stream.send(ONE, model="other")
        _, error = stream.receive()
        assert error.status() == "StatusCode.NOT_FOUND"


def test_final_response(stream):
    """Every answer in a stream says that it is the last of its request, as Triton's do, asked for it or not."""
    for options in ({"enable_empty_final_response": True}, {}):
        stream.send(ONE, **options)
        result, _ = stream.receive()
        assert result.get_response().parameters["triton_final_response"].bool_param


def test_states_of_sequences_are_bounded(versions):
    """What the sequences of a stream keep together has a bound; one that ends makes room, one that fails stays."""
    first, second, *_ = steps(np.repeat(ONE, 8, axis=0))
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, limits=Limits(elements=70)) as (_, ours), Stream(ours.address) as stream:
        for i in (1, 2):  # 8 sequences of 4 units each
            assert stream.step(first, sequence_id=i, sequence_start=True).shape == (8, 1)
        assert "keep 96 elements of states; the limit is 70" in stream.step(first, sequence_id=3, sequence_start=True)
        assert "sequence_start" in stream.step(second, sequence_id=3)
        assert stream.step(second, sequence_id=1, sequence_end=True).shape == (8, 1)
        assert stream.step(first, sequence_id=3, sequence_start=True).shape == (8, 1)
        assert stream.step(second, sequence_id=2).shape == (8, 1)
