"""What bounds every call, whichever method it is: texts, bytes that are no message, streams by caller, pings."""

import threading
from contextlib import ExitStack

import grpc
import psutil
import pytest
from google.protobuf import message_factory

from service.config import DEFAULT_LIMITS, Limits
from service.edge import texts
from service.edge.methods import Bound
from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from tests.service.support import R3_INPUTS, all_methods, entry, eventually, serving

pytestmark = pytest.mark.usefixtures("edge")

METHODS = {method.path: method for method in all_methods(Host(), DEFAULT_LIMITS)}
NAME = "n" * 6_000


@pytest.fixture(scope="module")
def client(versions, edge):  # noqa: ARG001 - it must be there before
    """A server of the reference network."""
    with serving(entry("reference", "champion", v1=versions["r3-1"])) as (_, client):
        yield client


def send(client, path, data):
    """Sends bytes to a method; gives the bytes of its first answer. Raises grpc.RpcError."""
    method, channel = METHODS[path], client._channels[0]
    if method.request_streams:
        return next(channel.stream_stream(path)(iter([data]), timeout=60))
    if method.response_streams:
        return next(channel.unary_stream(path)(data, timeout=60))
    return channel.unary_unary(path)(data, timeout=60)


def status_of(client, path, message):
    """The status of a call."""
    try:
        send(client, path, message.SerializeToString())
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def each_text(descriptor, text):
    """Messages of a type, each with one of its string fields set, those of messages in it too; with their paths.

    Elements of tensors have a bound of their own.
    """
    make = message_factory.GetMessageClass(descriptor)
    for field in descriptor.fields:
        if field.full_name in texts.ELEMENTS:
            continue
        if field.type == field.TYPE_STRING:
            message = make()
            setattr(message, field.name, text) if not field.is_repeated else getattr(message, field.name).append(text)
            yield field.name, message
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            message, value = make(), field.message_type.fields_by_name["value"].message_type
            getattr(message, field.name)[text].SetInParent()
            yield f"{field.name} (key)", message
            for name, inner in each_text(value, text):
                message = make()
                getattr(message, field.name)["key"].CopyFrom(inner)
                yield f"{field.name}.{name}", message
        elif field.message_type is not None:
            for name, inner in each_text(field.message_type, text):
                message = make()
                place = getattr(message, field.name)
                (place.add() if field.is_repeated else place).CopyFrom(inner)
                yield f"{field.name}.{name}", message


def test_every_method_states_its_bound():
    """Each method of the table, of whatever service, says what bounds its cost; streams are those that are counted."""
    for path, method in METHODS.items():
        assert isinstance(method.bound, Bound), path
        assert (method.bound is Bound.STREAM) == (method.request_streams or method.response_streams), path


@pytest.mark.parametrize("path", METHODS)
def test_long_names(client, path):
    """A name of 6,000 characters, in any field of any method, is refused as what it is, with its place and length."""
    for field, message in each_text(METHODS[path].request.DESCRIPTOR, NAME):
        with pytest.raises(grpc.RpcError) as caught:
            send(client, path, message.SerializeToString())
        error = from_rpc_error(caught.value)
        assert type(error) is InvalidArgumentError, (field, error)
        assert error.details["actual"] == "6000", field
        assert error.field.startswith(field.partition(".")[0].partition(" ")[0]), field
        assert len(error.message) < 300


@pytest.mark.parametrize("path", METHODS)
def test_names_at_the_bound(client, path):
    """A name as long as names may be has the status that a short one has, however many bytes its characters are."""
    for text in ("n" * texts.LONGEST, "名" * texts.LONGEST):
        for field, message in each_text(METHODS[path].request.DESCRIPTOR, text):
            status = status_of(client, path, message)
            assert status not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), field
            assert status is not grpc.StatusCode.RESOURCE_EXHAUSTED, field  # as which clients see trailers too long


@pytest.mark.parametrize("path", METHODS)
def test_no_message(client, path, caplog):
    """Bytes that are no message are INVALID_ARGUMENT, and nothing is logged for them."""
    with pytest.raises(grpc.RpcError) as caught:
        send(client, path, b"\xff" * 100)
    assert type(from_rpc_error(caught.value)) is InvalidArgumentError
    assert METHODS[path].request.DESCRIPTOR.full_name in caught.value.details()
    assert not caplog.records


def test_many_names(client):
    """A list of more names than any network has is refused by their number."""
    request = pb.TraceRequest(layers=["output"] * (texts.MOST + 1))
    with pytest.raises(grpc.RpcError) as caught:
        send(client, "/unroll.v1.PredictionService/Trace", request.SerializeToString())
    error = from_rpc_error(caught.value)
    assert (type(error), error.field) == (InvalidArgumentError, "layers")


def watching(client, path):
    """An open stream of a method that answers at once, after its first answer."""
    channel = client._channels[0]
    if METHODS[path].request_streams:
        end = threading.Event()

        def requests():
            request = METHODS[path].request()
            if hasattr(request, "options"):
                request.options.model = ""
            if hasattr(request, "list_services"):
                request.list_services = "*"
            if hasattr(request, "model_name"):
                request.inputs.add(name="none")
            yield request.SerializeToString()
            end.wait()

        call = channel.stream_stream(path)(requests())
        call.add_callback(end.set)
    else:
        call = channel.unary_stream(path)(METHODS[path].request().SerializeToString())
    next(call)
    return call


COUNTED = [path for path, method in METHODS.items() if method.bound is Bound.STREAM]
AT_END = ["/unroll.v1.InsightService/Summarize", "/unroll.v1.PredictionService/Generate"]  # answer no empty request
STREAMS = [path for path in COUNTED if path not in AT_END]


@pytest.mark.parametrize("path", STREAMS)
def test_streams_of_one_caller(versions, path):
    """One caller has only so many streams open, of all kinds together; the places of those that ended are free."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(streams=8, streams_of_one=2)) as (_, client), ExitStack() as stack:
        calls = [watching(client, path), watching(client, "/grpc.health.v1.Health/Watch")]
        stack.callback(lambda: [call.cancel() for call in calls])
        with pytest.raises(grpc.RpcError) as caught:
            watching(client, path)
        error = from_rpc_error(caught.value)
        assert type(error) is LimitExceededError
        assert error.message == "open streams of one caller in this worker: 3; the limit is 2"
        assert client.predict(R3_INPUTS).version == "1"
        calls.pop().cancel()

        def again():
            try:
                calls.append(watching(client, path))
            except grpc.RpcError:  # the one that was cancelled has its place for another moment
                return False
            return True

        eventually(again)


@pytest.mark.parametrize("path", AT_END)
def test_streams_that_answer_at_their_end(versions, path):
    """A stream that does not answer at once is counted with the others, from its beginning."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(streams=8, streams_of_one=1)) as (_, client):
        call = watching(client, "/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.RpcError, match="open streams of one caller in this worker: 2; the limit is 1"):
            send(client, path, METHODS[path].request().SerializeToString())
        call.cancel()


def test_streams_of_all(versions):
    """All callers together have only so many streams."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(streams=1, streams_of_one=8)) as (_, client):
        call = watching(client, STREAMS[0])
        with pytest.raises(grpc.RpcError, match="open streams in this worker: 2; the limit is 1"):
            watching(client, "/grpc.health.v1.Health/Watch")
        call.cancel()


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Watch", "/unroll.v1.ModelService/WatchModel"])
def test_watches_have_a_lifetime(versions, path):
    """A stream to which nothing happens ends when it has reached its lifetime, too."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(stream_seconds=0.5)) as (_, client):
        call = watching(client, path)
        with pytest.raises(grpc.RpcError, match=r"lifetime of 0\.5 s") as caught:
            next(call)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_health_is_open(versions):
    """Health is answered without a token where reading needs one; an unknown service is NOT_FOUND."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, reader_token="secret") as (_, client):
        assert client.health()
        with pytest.raises(NotFoundError):
            client.health("none")


def test_memory_of_streams_comes_back(versions):
    """Thousands of streams that were opened and left, most of them refused, leave nothing behind."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    path = "/grpc.health.v1.Health/Watch"
    with serving(model, limits=Limits(streams=20, streams_of_one=20)) as (_, client):

        def left(count):
            for _ in range(count):
                client._channels[0].unary_stream(path)(b"").cancel()

            calls = []

            def all_open():
                call = client._channels[0].unary_stream(path)(b"")
                try:
                    next(call)
                except grpc.RpcError:  # those that were left have their places for another moment
                    return False
                calls.append(call)
                return len(calls) == 20

            eventually(all_open)
            for call in calls:
                call.cancel()
            return psutil.Process().memory_info().rss

        before = left(1_000)
        assert left(4_000) - before < 32e6


@pytest.mark.parametrize(("seconds", "lives"), [(0.1, True), (60.0, False)])
def test_pings(versions, seconds, lives):
    """A client that pings no faster than it may keeps its quiet stream; one that pings faster is cut off."""
    model = entry("reference", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(ping_seconds=seconds)) as (_, client):
        options = [
            ("grpc.keepalive_time_ms", 250),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        with grpc.insecure_channel(client.address, options) as channel:
            call = channel.unary_stream("/unroll.v1.ModelService/WatchModel")(b"")
            next(call)
            ended = threading.Event()
            call.add_callback(ended.set)
            assert ended.wait(4 if lives else 60) is not lives
            if not lives:
                assert call.code() is grpc.StatusCode.UNAVAILABLE
                assert "pings" in call.details()
            call.cancel()


def test_pings_every_ten_seconds():
    """Clients that ping every ten seconds, as many do, are within what is allowed unless somebody says otherwise."""
    assert DEFAULT_LIMITS.ping_seconds < 10
