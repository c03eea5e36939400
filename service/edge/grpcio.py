"""The grpcio edge: grpcio's server, with our calls on it."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc

from service.config import Limits, ServerConfig, Tls
from service.edge.calls import Calls, Failed, ServedCall, Status
from service.edge.gate import Gate
from service.edge.methods import Method, Pool
from service.edge.status import DETAILS_KEY
from service.errors import InvalidArgumentError
from service.serving.threads import Threads

MOST_THREADS = 64  # for calls that are not streams, those that wait for others included
WAITING_THREADS = 16  # calls that wait for the supervisor; more of them queue behind each other
SPARE_STREAM_THREADS = 16  # threads beyond the bound on streams, to refuse with
CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Call(ServedCall):
    """A call of grpcio."""

    def __init__(self, calls: Calls, method: Method, context: grpc.ServicerContext) -> None:
        self.method, self.path = method, method.path
        self._context = context
        self._headers: dict[str, str] = {}
        for name, value in context.invocation_metadata():
            self._headers.setdefault(name, value if isinstance(value, str) else value.decode(errors="replace"))
        self.observers = calls.observers_of(method, self._headers)

    def peer(self) -> str:
        """The address that the call came from, without the port: of `ipv4:10.0.0.7:51234` it is `ipv4:10.0.0.7`."""
        peer: str = self._context.peer()
        return peer.rpartition(":")[0] if peer.startswith("ip") else peer

    def certificate(self) -> str:
        """The name that a verified client certificate proves; empty: there is none."""
        names = list(self._context.peer_identities() or ())
        return names[0].decode(errors="replace") if names else ""

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
        return self._headers.get(key, "")


class GrpcioEdge:
    """A grpcio server with a table of methods."""

    def __init__(self, methods: Iterable[Method], config: ServerConfig, calls: Calls) -> None:
        limits = config.limits
        self._calls = calls
        self._gate = Gate()
        pools = {
            Pool.WAITING: self._gate.guard(ThreadPoolExecutor(WAITING_THREADS, "waiting")),
            Pool.STREAM: self._gate.guard(ThreadPoolExecutor(limits.streams + SPARE_STREAM_THREADS, "stream")),
        }
        self._server = grpc.server(
            self._gate.guard(Threads(config.unary_threads, MOST_THREADS, "unary")),  # type: ignore[arg-type]  # of an executor it needs `submit` alone
            maximum_concurrent_rpcs=limits.concurrent_calls,
            options=_options(limits),
        )
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for method in methods:
            _, service, name = method.path.split("/")
            streams = method.request_streams or method.response_streams
            behavior = self._stream(method) if streams else self._unary(method)
            if method.pool in pools:
                setattr(behavior, "experimental_thread_pool", pools[method.pool])  # noqa: B010  # where grpcio looks
            services.setdefault(service, {})[name] = _MAKERS[method.request_streams, method.response_streams](behavior)
        for service, handlers in services.items():
            self._server.add_registered_method_handlers(service, handlers)

    def bind(self, address: str, tls: Tls | None) -> int:
        """Puts the server on an address and returns the port. Raises OSError where it is taken."""
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def drain(self, seconds: float) -> None:
        """Lets calls that have arrived finish, within so many seconds, and sends clients elsewhere; then stops."""
        self._gate.shut(seconds)
        stopped = self._server.stop(seconds)  # tells clients that their next call goes elsewhere
        self._gate.open()
        stopped.wait(seconds + 1.0)

    def _unary(self, method: Method) -> Callable[..., Any]:
        def behavior(data: bytes, context: grpc.ServicerContext) -> bytes:
            call = _Call(self._calls, method, context)
            answer = self._calls.unary(call, data)
            if isinstance(answer, Status):
                _abort(call, context, answer)
            if call.trailing:
                context.set_trailing_metadata(tuple(call.trailing))
            return answer  # type: ignore[return-value]  # abort raises

        return behavior

    def _stream(self, method: Method) -> Callable[..., Any]:
        def behavior(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            call = _Call(self._calls, method, context)
            pump = _Pump(request) if method.request_streams else None
            one = iter([request])
            receive = pump.receive if pump else lambda _seconds: next(one, None)
            try:
                yield from self._calls.stream(call, receive)
                if call.trailing:
                    context.set_trailing_metadata(tuple(call.trailing))
            except Failed as failed:
                if context.is_active():  # else the client is gone, and so is the reason for a status
                    _abort(call, context, failed.status)
            finally:
                if pump:
                    pump.end()

        return behavior


class _Pump:
    """Waits for the messages of a stream, one ahead, on a thread of its own: grpcio waits without a limit."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._arrived: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="stream-requests", daemon=True).start()

    def receive(self, seconds: float) -> bytes | None:
        """The next message, None after the last. Raises queue.Empty where none came in so many seconds."""
        return self._arrived.get(timeout=seconds)

    def end(self) -> None:
        """Nothing more is wanted."""
        self._ended.set()

    def _run(self) -> None:
        with suppress(grpc.RpcError):  # the client is gone
            for message in self._requests:
                self._put(message)
        self._put(None)

    def _put(self, message: bytes | None) -> None:
        while not self._ended.is_set():
            with suppress(queue.Full):
                self._arrived.put(message, timeout=1.0)
                return


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _options(limits: Limits) -> list[tuple[str, int]]:
    """How grpcio is set up: among others so that clients may ping as often as is usual, and vanished ones are found."""
    silent = round(limits.silent_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.ping_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", silent),
        ("grpc.keepalive_timeout_ms", silent // 3),
    ]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Certificates that are read again for each handshake after the files have changed."""
    if tls.client_authority is not None and tls.client_optional:
        # It can require client certificates or not ask for them; it cannot ask and accept that there is none.
        raise InvalidArgumentError("client certificates that may be missing need `--edge http2`")

    def read() -> tuple[Any, tuple[Any, ...]]:
        files = (tls.key, tls.certificate, tls.client_authority)
        stamps = tuple(path.stat().st_mtime_ns if path else 0 for path in files)
        authority = tls.client_authority.read_bytes() if tls.client_authority else None
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], authority), stamps

    configuration, known = read()

    def again() -> Any:
        nonlocal known
        with suppress(OSError):
            fresh, stamps = read()
            if stamps != known:
                known = stamps
                return fresh
        return None

    return grpc.dynamic_ssl_server_credentials(configuration, again, tls.client_authority is not None)


def _abort(call: ServedCall, context: grpc.ServicerContext, status: Status) -> None:
    """Ends the call with a status; always raises, as grpcio wants it."""
    context.set_trailing_metadata((*call.trailing, (DETAILS_KEY, status.details)))
    context.abort(CODES[status.code], status.text)
