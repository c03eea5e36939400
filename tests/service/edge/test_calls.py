"""What callers and handlers see of calls, on either edge: answers, errors, metadata, deadlines, streams, observers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from service.config import Limits
from service.edge.calls import given_id
from tests.service.edge.raw import Methods, server
from tests.service.support import eventually


@pytest.fixture
def methods():
    """The handlers, and what they saw."""
    return Methods()


class Seen:
    """An observer that keeps what it was told: of all calls, or of those with a header and as it is said."""

    def __init__(self, header="user-agent", share=0.0, *, faults=False):
        self.began_, self.ended_ = [], []
        self.header, self.share, self.faults = header, share, faults

    def watches(self, method):
        assert method is None or method.path.startswith("/t.S/")
        return False

    def began(self, call):
        self.began_.append(call)

    def ended(self, call):
        self.ended_.append(call)
        call.trailing = (*call.trailing, ("x-observed", "yes"))


@pytest.fixture
def seen():
    """What an observer was told."""
    return Seen()


@pytest.fixture
def channel(edge, methods, seen):
    """A channel to a server of these handlers."""
    limits = Limits(message_bytes=1_000_000, concurrent_calls=50, streams=20)
    with server(edge, methods=methods, limits=limits, observers=[seen]) as (port, _):
        options = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            yield channel


def unary(channel, name):
    return channel.unary_unary(f"/t.S/{name}", BytesValue.SerializeToString, BytesValue.FromString)


def stream(channel, name):
    make = channel.stream_stream if name == "Chat" else channel.unary_stream
    return make(f"/t.S/{name}", BytesValue.SerializeToString, BytesValue.FromString)


def message(value):
    return BytesValue(value=value)


@pytest.mark.parametrize("name", ["Echo", "Slow"])
@pytest.mark.parametrize("size", [0, 1, 1_000, 20_000, 300_000, 999_900])
@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_messages_of_all_sizes(channel, name, size, compression):
    """A message comes back as it was sent: empty, small, of many frames; plain or compressed."""
    value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert unary(channel, name)(message(value), timeout=60, compression=compression).value == value


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_a_message_that_is_too_large(channel, methods, compression):
    """A message above the bound is refused by its size, compressed or not, and the handler does not see it."""
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo")(message(bytes(2_000_000)), timeout=60, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not methods.calls
    assert unary(channel, "Echo")(message(b"x")).value == b"x"


@pytest.mark.parametrize("text", ["plain", "with spaces, and 100 %", "Grüße, 世界\n", "x" * 1_000, "ß" * 400])
def test_errors(channel, text):
    """An error arrives with its code, its text whatever characters it has, and its details."""
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Fail")(message(text.encode()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == text
    assert any(key == "grpc-status-details-bin" for key, _ in caught.value.trailing_metadata())


def test_an_error_of_ours(channel):
    """What is our own fault says nothing but an id."""
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Crash")(message(b""))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "division" not in caught.value.details()


def test_unknown_methods(channel):
    """A method or service that does not exist is UNIMPLEMENTED."""
    for path in ("/t.S/None", "/none/None", "/x"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata(channel):
    """Headers reach the handler, those of `-bin` keys decoded; what it adds arrives with the status."""
    sent = (("x-key", "value"), ("x-key-bin", b"\xc3\xa4"))
    for key, expected in (("x-key", "value"), ("x-key-bin", "ä"), ("x-none", "")):
        answer, call = unary(channel, "Ask").with_call(message(key.encode()), metadata=sent)
        assert answer.value.decode() == expected
        trailing = dict(call.trailing_metadata())
        assert trailing["x-text"] == "text"
        assert trailing["x-bytes-bin"] == b"\0\xff"
        assert trailing["x-observed"] == "yes"


def test_deadlines(channel, methods):
    """A handler knows what is left of a deadline; a caller whose deadline passes is not kept waiting."""
    unary(channel, "Echo")(message(b"x"), timeout=100)
    assert 10 < methods.calls[-1].remaining() <= 102  # clients round up
    unary(channel, "Echo")(message(b"x"))
    assert methods.calls[-1].remaining() is None
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Wait")(message(b"x"), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = methods.calls[-1]
    eventually(lambda: not call.active())
    methods.let.set()


def test_a_caller_that_leaves(channel, methods, seen):
    """A handler can see that its caller has left, and observers are told that the call was cancelled."""
    future = unary(channel, "Wait").future(message(b"x"))
    assert methods.begun.acquire(timeout=30)
    future.cancel()
    eventually(lambda: not methods.calls[-1].active())
    methods.let.set()
    eventually(lambda: seen.ended_)
    assert seen.ended_[-1].code == grpc.StatusCode.CANCELLED.value[0]


def test_server_streams(channel):
    """All messages of a stream arrive, in order, small or large, however slowly they are read."""
    for name, count in ((b"s", 1_000), (b"L", 40)):
        got = [len(answer.value) for answer in stream(channel, "Count")(message(name * count), timeout=60)]
        assert got == [65_536 if name == b"L" else 1] * count


def test_both_ways(channel, methods):
    """Messages of a stream are answered as they come, of whatever size; it ends when the client has said all."""
    values = [b"", b"a", bytes(70_000), bytes(600_000), b"z"]
    assert [a.value for a in stream(channel, "Chat")(map(message, values), timeout=60)] == values
    assert methods.left.acquire(timeout=30)


def test_a_stream_that_is_left(channel, methods):
    """The handler of a stream ends when its client leaves."""
    going = threading.Event()

    def requests():
        yield message(b"x")
        going.wait(60)

    call = stream(channel, "Chat")(requests())
    assert next(call).value == b"x"
    call.cancel()
    assert methods.left.acquire(timeout=30)
    going.set()


def test_many_at_once(channel, methods):
    """Calls beyond the bound are refused with it, the others are answered."""
    futures = [unary(channel, "Wait").future(message(b"%d" % i), timeout=120) for i in range(80)]
    eventually(lambda: sum(f.done() for f in futures) >= 30)
    methods.let.set()
    codes = [f.code() for f in futures]
    assert codes.count(grpc.StatusCode.OK) == 50
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 30


def test_what_observers_are_told(channel, seen):
    """Each call is told of when it begins and when it ends, with its method, code, messages and bytes."""
    unary(channel, "Echo")(message(b"12345"))
    with pytest.raises(grpc.RpcError):
        unary(channel, "Fail")(message(b"no"))
    list(stream(channel, "Chat")(map(message, [b"a", b"b", b"c"])))
    eventually(lambda: len(seen.ended_) == 3)
    assert [call.path for call in seen.began_] == ["/t.S/Echo", "/t.S/Fail", "/t.S/Chat"]
    echo, fail, chat = seen.ended_
    assert (echo.code, echo.requests, echo.responses, echo.request_bytes, echo.response_bytes) == (0, 1, 1, 7, 7)
    assert echo.began < echo.ended
    assert (fail.code, str(fail.error), fail.responses) == (3, "no", 0)
    assert (chat.code, chat.requests, chat.responses, chat.request_bytes) == (0, 3, 3, 9)
    assert echo.peer() == "ipv4:127.0.0.1"


def test_who_hears_of_which_calls(edge):
    """An observer hears of the calls with its header, of its share of the others, and of faults if it wants."""
    watching, half, faults = Seen("x-watched"), Seen("", 0.5), Seen("", faults=True)
    with (
        server(edge, observers=[watching, half, faults]) as (port, _),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for i in range(1_000):
            unary(channel, "Echo")(message(b"1"), metadata=[("x-watched", "yes")] if i % 10 == 0 else [])
        for name in ("Fail", "Crash"):  # the client's fault, and ours
            with pytest.raises(grpc.RpcError):
                unary(channel, name)(message(b"2"))
    assert len(watching.began_) == len(watching.ended_) == 100
    assert all(call.metadata("x-watched") for call in watching.ended_)
    assert len(half.began_) == len(half.ended_)
    assert 400 < len(half.ended_) < 600  # 6 standard deviations
    assert 20 < len({id(call) for call in half.ended_} & {id(call) for call in watching.ended_}) < 80
    assert (faults.began_, [call.path for call in faults.ended_]) == ([], ["/t.S/Crash"])


def test_many_callers(channel):
    """Each of many callers at a time gets its own answer."""
    with ThreadPoolExecutor(16) as pool:
        values = [b"%d" % i * (i % 50 + 1) for i in range(400)]
        asked = pool.map(
            lambda v: unary(channel, "Slow" if len(v) % 2 else "Echo")(message(v), timeout=60).value, values
        )
        assert list(asked) == values


@pytest.mark.parametrize(
    ("text", "taken"),
    [("a", True), ("!~" * 64, True), ("", False), ("a" * 129, False), ("a b", False), ("a\tb", False), ("ä", False)],
)
def test_which_ids_are_taken(text, taken):
    """A caller's id is taken where it is one to 128 printable characters of ASCII, none of them a space."""
    assert given_id(text) == (text if taken else "")
