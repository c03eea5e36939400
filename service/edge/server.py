"""The gRPC edge: puts a table of methods on a grpcio server. The only file that hands a call's fate to gRPC."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from service.config import Limits, ServerConfig, Tls
from service.edge.access import ANONYMOUS, Access
from service.edge.methods import Call, Caller, Lifetime, Method, Pool, Role
from service.edge.status import DETAILS_KEY, to_status
from service.errors import TimeLimitError, UnavailableError
from service.serving.quota import Quota
from service.serving.threads import WorkingThreads

Pools = TypeVar("Pools", bound=Executor)

WAITING_THREADS = 16  # calls that wait for the supervisor; more of them queue behind each other
STOPPING = "this server is stopping"
SPARE_STREAM_THREADS = 16  # threads beyond the bound on streams, to refuse with


class GrpcCall(Call):
    """What a handler may ask of a call of grpcio."""

    def __init__(self, context: grpc.ServicerContext, caller: Caller) -> None:
        self._context = context
        self._caller = caller

    def caller(self) -> Caller:
        """Who calls."""
        return self._caller

    def peer(self) -> str:
        """The address that the call came from, without the port: of `ipv4:10.0.0.7:51234` it is `ipv4:10.0.0.7`."""
        return _peer(self._context)

    def remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it set none."""
        remaining = self._context.time_remaining()
        # Without a deadline grpcio says some hundred billion years, more than a thread can wait.
        return None if remaining is None or remaining > threading.TIMEOUT_MAX else remaining

    def active(self) -> bool:
        """Whether anybody still waits for the answer."""
        return self._context.is_active()

    def metadata(self, key: str) -> str:
        """A header of the call; empty if it was not sent."""
        return _header(self._context, key)


class Gate:
    """Lets calls in until the server drains; what was let in is finished."""

    def __init__(self) -> None:
        self.closed = False
        self._pools: list[Executor] = []

    def guard(self, pool: Pools) -> Pools:
        """Counts a pool in, whose waiting calls are let in before the gate closes."""
        self._pools.append(pool)
        return pool

    def close(self, seconds: float) -> None:
        """Refuses calls that arrive from now on; those that wait for a thread already are served.

        A pool starts its calls in order: when the mark has run, all that waited before it have started.
        """
        wait([pool.submit(lambda: None) for pool in self._pools], seconds)
        self.closed = True


def build_server(methods: Iterable[Method], config: ServerConfig, gate: Gate | None = None) -> grpc.Server:
    """A server, not started and on no port, that answers the methods."""
    access, limits = Access(config), config.limits
    gate = gate or Gate()
    streams = Quota(limits.streams, limits.streams_of_one, "open streams")
    threads = gate.guard(WorkingThreads(config.unary_threads, "unary"))
    server = grpc.server(
        threads,  # type: ignore[arg-type]  # of an executor it needs `submit` alone
        maximum_concurrent_rpcs=limits.concurrent_calls,
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
            *_pings(limits),
        ],
    )
    pools = {
        Pool.WAITING: gate.guard(ThreadPoolExecutor(WAITING_THREADS, "waiting")),
        Pool.STREAM: ThreadPoolExecutor(limits.streams + SPARE_STREAM_THREADS, "stream"),
    }
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method in methods:
        _, service, name = method.path.split("/")
        behavior: Callable[..., Any]
        if method.request_streams or method.response_streams:
            behavior = _stream(method, access, gate, streams, limits)
        else:
            behavior = _unary(method, access, gate)
        if method.pool in pools:
            setattr(behavior, "experimental_thread_pool", pools[method.pool])  # noqa: B010  # where grpcio looks for it
        make = _MAKERS[method.request_streams, method.response_streams]
        services.setdefault(service, {})[name] = make(
            behavior,
            response_serializer=method.response.SerializeToString,
        )
    for service, handlers in services.items():
        server.add_registered_method_handlers(service, handlers)
    return server


def _pings(limits: Limits) -> list[tuple[str, int]]:
    """Options by which clients may ping as often as is usual, and clients that are gone are found."""
    silent = round(limits.silent_seconds * 1000)
    return [
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.ping_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", silent),
        ("grpc.keepalive_timeout_ms", silent // 3),
    ]


def bind(server: grpc.Server, address: str, tls: Tls | None) -> int:
    """Puts the server on an address and returns the port. Raises OSError where it is taken."""
    try:
        if tls is None:
            return server.add_insecure_port(address)
        authority = tls.client_authority.read_bytes() if tls.client_authority else None
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        # grpcio can require client certificates or not ask for them; it cannot ask and accept that there is none.
        credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _unary(method: Method, access: Access, gate: Gate) -> Callable[[bytes, grpc.ServicerContext], Message]:
    handler, role, parse = method.handler, method.role, method.parse

    def behavior(data: bytes, context: grpc.ServicerContext) -> Message:
        try:
            if gate.closed:
                raise UnavailableError(STOPPING)
            call = _admitted(access, context, role)
            message = parse(data)
            access.check_model(call.caller(), message)
            return handler(message, call)  # type: ignore[no-any-return]  # a row's handler gives its response type
        except Exception as error:  # whatever it is, the client gets a status for it
            _abort(context, error)
            raise  # unreachable: abort raises

    return behavior


def _stream(
    method: Method, access: Access, gate: Gate, streams: Quota, limits: Limits
) -> Callable[..., Iterator[Message]]:
    handler, role = method.handler, method.role

    def checked(caller: Caller, data: bytes) -> Message:
        message = method.parse(data)
        access.check_model(caller, message)
        return message

    def behavior(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        try:
            if gate.closed:
                raise UnavailableError(STOPPING)
            call = _admitted(access, context, role)
            call.lifetime = Lifetime(limits.stream_seconds)
            parse = partial(checked, call.caller())
            with streams.take(call.identity()):
                argument: Any
                if method.request_streams:
                    argument = map(parse, _arriving(request, limits, call.lifetime))
                else:
                    argument = parse(request)
                yield from handler(argument, call)
        except Exception as error:
            if context.is_active():  # else the client is gone, and so is the reason for a status
                _abort(context, error)

    return behavior


def _admitted(access: Access, context: grpc.ServicerContext, role: Role) -> GrpcCall:
    """The call, of a caller who may make it and still waits for the answer."""
    caller = ANONYMOUS if role is Role.ANYONE else _caller(access, context)
    access.check(caller, role)
    access.count(caller)
    call = GrpcCall(context, caller)
    call.check()
    return call


def _arriving(requests: Iterator[bytes], limits: Limits, lifetime: Lifetime) -> Iterator[bytes]:
    """The messages of a stream, as they arrive; TimeLimitError when the client is silent or the stream old.

    grpcio waits for a message without a limit, so another thread does that waiting, one message ahead.
    """
    arrived: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
    ended = threading.Event()

    def put(message: bytes | None) -> None:
        while not ended.is_set():
            with suppress(queue.Full):
                arrived.put(message, timeout=1.0)
                return

    def pump() -> None:
        with suppress(grpc.RpcError):  # the client is gone
            for message in requests:
                put(message)
        put(None)

    threading.Thread(target=pump, name="stream-requests", daemon=True).start()
    try:
        while True:
            left = lifetime.left()
            try:
                message = arrived.get(timeout=min(limits.stream_idle_seconds, max(left, 0.0)))
            except queue.Empty:
                if left <= limits.stream_idle_seconds:
                    raise lifetime.error() from None
                raise TimeLimitError(
                    f"no message for {limits.stream_idle_seconds:g} s", limit=limits.stream_idle_seconds
                ) from None
            if message is None:
                return
            if left <= 0:
                raise lifetime.error()
            yield message
    finally:
        ended.set()


def _caller(access: Access, context: grpc.ServicerContext) -> Caller:
    if access.everybody is not None:
        return access.everybody
    names = list(context.peer_identities() or ()) if access.certificates else []
    certificate = names[0].decode(errors="replace") if names else ""
    return access.caller(_header(context, "authorization"), certificate, _peer(context))


def _peer(context: grpc.ServicerContext) -> str:
    peer: str = context.peer()
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer


def _header(context: grpc.ServicerContext, key: str) -> str:
    for name, value in context.invocation_metadata():
        if name == key:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""


def _abort(context: grpc.ServicerContext, error: Exception) -> None:
    """Ends the call with the status of an error; always raises, as grpcio wants it."""
    code, message, details = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, details),))
    context.abort(code, message)
