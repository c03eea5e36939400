"""Generate over gRPC, on both edges: characters as they are drawn, and the ends of a stream."""

import itertools
from dataclasses import replace

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.config import Limits
from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError, NotReadyError, TimeLimitError
from service.model import keras_file
from service.model.generation import Sampling, writer_of
from service.model.proof import Proof
from service.pb import unroll_pb2 as pb
from service.serving.loaded import MODEL_FILE, PROOF_FILE
from service.snapshot import VersionEntry
from tests.service import writers
from tests.service.support import entry, eventually, serving

LIMITS = Limits(timesteps=20_000)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A version of a network of characters, and the network."""
    folder = tmp_path_factory.mktemp("writer")
    writers.write(folder / MODEL_FILE)
    network = keras_file.read(folder / MODEL_FILE)
    inputs = {writers.INPUT: np.array([["a", "b"]], object)}
    result = network.forward(inputs)
    Proof(inputs, result.outputs, result.final_state, "unroll").save(folder / PROOF_FILE)
    return VersionEntry("1", f"{1:064}", str(folder), engines=("numpy", "numpy")), network


@pytest.fixture(scope="module")
def client(version, versions, edge):  # noqa: ARG001 - it must be there before
    """A server of that network and of the reference network."""
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(entry("writer", "champion", v1=version[0]), reference, limits=LIMITS) as (_, client):
        yield client


def test_a_client_gets_each_character_as_it_is_drawn(client, version):
    """The stream holds what the network writes with that seed, and each message names the version and the seed."""
    _, network = version
    answers = list(client.generate("ab", model="writer", length=30, temperature=0.8, top_k=2, seed=5))
    expected = list(writer_of(network).write(network.forward, "ab", 30, Sampling(0.8, 2, 5)))
    assert [answer.text for answer in answers] == [character.text for character in expected]
    assert [answer.probability for answer in answers] == [character.probability for character in expected]
    assert {(answer.model, answer.version, answer.seed) for answer in answers} == {("writer", "1", 5)}


def test_a_text_without_a_seed_can_be_repeated(client):
    """The server draws a seed and names it: with it, the same text comes again."""
    first = list(client.generate("a", model="writer", length=20))
    again = client.generate("a", model="writer", length=20, seed=first[0].seed)
    assert [answer.text for answer in again] == [answer.text for answer in first]


@pytest.mark.usefixtures("edge")
def test_a_caller_who_leaves_ends_the_text(version):
    """Whoever leaves the loop gives the place of the stream back, long before the text is at its end."""
    limits = replace(LIMITS, streams_of_one=1)
    with serving(entry("writer", "champion", v1=version[0]), limits=limits) as (_, client):
        assert len(list(itertools.islice(client.generate("a", model="writer", length=20_000), 3))) == 3

        def free():
            try:
                return len(list(client.generate("a", model="writer", length=1))) == 1
            except LimitExceededError:  # the stream that was left has its place for another moment
                return False

        eventually(free)


def test_a_deadline_ends_the_text(client):
    """What is drawn until then arrives, and then the status."""
    request = pb.GenerateRequest(model="writer", prompt="a", length=20_000)
    call = next(client._turn)[0].Generate(request, timeout=0.3)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert type(from_rpc_error(caught.value)) is TimeLimitError


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"model": "reference"}, NotReadyError, "the network does not continue texts: it does not take one sequence"),
        ({"model": "none"}, NotFoundError, "no model 'none'"),
        ({"version": "7"}, NotFoundError, ""),
        ({"prompt": ""}, InvalidArgumentError, "prompt: expected one character or more"),
        ({"prompt": "a" * 2000}, InvalidArgumentError, "prompt: 2000 characters, the limit is 1024"),
        ({"length": 20_001}, InvalidArgumentError, "length: expected 1 to 20000 characters"),
        ({"length": -1}, InvalidArgumentError, "length: expected 1 to 20000 characters"),
        ({"temperature": float("inf")}, InvalidArgumentError, "temperature: expected 0 to 100"),
        ({"top_k": -2}, InvalidArgumentError, "top_k: expected 0 or more"),
        ({"seed": -2}, InvalidArgumentError, "seed: expected 0 to"),
    ],
)
def test_mistakes_end_the_stream_with_a_reason(client, options, kind, message):
    """Each is a status that names the field, or says why the network does not continue texts."""
    with pytest.raises(kind) as caught:
        list(client.generate(**{"prompt": "a", "model": "writer", **options}))
    assert caught.value.message.startswith(message)


def test_the_command_prints_the_text_of_a_server(client, version):
    """`unroll generate --address` writes the prompt, what follows it with that seed, and a line's end."""
    options = ["--model", "writer", "--address", client.address, "--prompt", "ab", "--length", "12", "--seed", "3"]
    done = CliRunner().invoke(app, ["generate", *options])
    _, network = version
    expected = writer_of(network).write(network.forward, "ab", 12, Sampling(seed=3))
    assert (done.exit_code, done.stdout) == (0, "ab" + "".join(c.text for c in expected) + "\n"), done.output


def test_a_network_of_characters_is_fed_piece_by_piece(client, version):
    """PredictStream takes characters as it takes any sequence."""
    _, network = version
    pieces = [np.array([list(piece)], object) for piece in ("ab", "c", "ba")]
    found = [answer.output for answer in client.stream(pieces, model="writer")]
    expected = network.forward({writers.INPUT: np.array([list("abcba")], object)}).outputs[writers.OUTPUT]
    assert np.array_equal(np.concatenate(found, axis=1), expected)
