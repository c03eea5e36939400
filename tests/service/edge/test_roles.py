"""Every RPC and its role: as docs/security.md says it, and as a server holds to it."""

from pathlib import Path

import grpc
import pytest

from service.callers import GRANTED, Callers, Entry, token_hash
from service.config import Limits
from service.edge.methods import roles_document
from service.serving.host import Host
from tests.service.support import all_methods, entry, eventually, serving

pytestmark = pytest.mark.usefixtures("edge")
METHODS = all_methods(Host(), Limits())
DENIED = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}


def test_document():
    """The table of the document is that of the code."""
    text = (Path(__file__).parent.parent.parent.parent / "docs" / "security.md").read_text()
    assert roles_document(METHODS) in text
    for role in GRANTED:
        assert f"| `{role.value}` | {role.text} |" in text


@pytest.fixture(scope="module")
def tokens():
    """For each role, the token of a caller that has all roles but this one."""
    return {role: f"all-but-{role.value}" for role in GRANTED}


@pytest.fixture
def address(versions, tokens):
    """A server with these callers."""
    entries = tuple(
        Entry(token, tuple(other.value for other in GRANTED if other is not role), token_sha256=token_hash(token))
        for role, token in tokens.items()
    )
    with serving(entry("reference", "champion", v1=versions["r3-1"]), callers=Callers(entries, listed=True)) as (
        _,
        client,
    ):
        yield client.address


def status(channel, method, token):
    """How a call with an empty message ends."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    call = channel.stream_stream if method.request_streams else channel.unary_stream
    answers = call(method.path)(iter([b""]) if method.request_streams else b"", metadata=metadata, timeout=20)
    try:
        next(answers, None)
    except grpc.RpcError as error:
        return error.code()
    finally:
        answers.cancel()
    return grpc.StatusCode.OK


def test_each_rpc_without_its_role(address, tokens):
    """Who has every role but the one that an RPC needs is refused, and so is who shows nothing; health is open."""
    with grpc.insecure_channel(address) as channel:
        for method in METHODS:
            if method.role not in GRANTED:
                assert status(channel, method, "") not in DENIED, method.path
            else:
                assert status(channel, method, tokens[method.role]) is grpc.StatusCode.PERMISSION_DENIED, method.path
                assert status(channel, method, "") is grpc.StatusCode.UNAUTHENTICATED, method.path
                other = next(role for role in GRANTED if role is not method.role)
                assert status(channel, method, tokens[other]) not in DENIED, method.path


def test_streams_of_a_caller(versions):
    """A caller with a bound of its own has so many streams open at once, and a place again when one has ended."""
    callers = Callers((Entry("a", ("observe",), token_sha256=token_hash("one"), streams=2),), listed=True)
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, callers=callers) as (_, plain), grpc.insecure_channel(plain.address) as channel:
        watch = channel.unary_stream("/unroll.v1.ModelService/WatchModel")
        metadata = [("authorization", "Bearer one")]
        streams = [watch(b"", metadata=metadata, timeout=60) for _ in range(2)]
        assert all(next(stream) for stream in streams)
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(b"", metadata=metadata, timeout=60))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "open streams of a" in caught.value.details()
        streams.pop().cancel()

        def another():
            try:
                streams.append(watch(b"", metadata=metadata, timeout=60))
                return next(streams[-1])
            except grpc.RpcError:
                return None

        eventually(another)
