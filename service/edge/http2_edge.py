"""The http2 edge: gRPC calls on our own HTTP/2. Short calls run on the edge's thread, others in a pool."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from service.config import Limits, ServerConfig, Tls
from service.edge import grpc_protocol as grpc
from service.edge.calls import REQUEST_ID, Calls, Failed, Status, given_id, status_of
from service.edge.frames import CANCEL, TABLE_BYTES
from service.edge.headers import Headers, Varying
from service.edge.http2 import Connection
from service.edge.http2_calls import GrpcConnection, Route, StreamCall, UnaryCall
from service.edge.loop import Loop
from service.edge.methods import Method, Pool
from service.edge.sockets import Listener
from service.edge.transport import Transport
from service.errors import InvalidArgumentError, LimitExceededError, NotSupportedError, TimeLimitError
from service.serving.threads import Moved, Threads, settle

INLINE_BYTES = 16_384  # of a request that is read on the edge's thread
MOST_THREADS = 256  # for calls that are not streams, those that wait for others included
WAITING_THREADS = 16  # calls that wait for the supervisor; more of them queue behind each other
SPARE_STREAM_THREADS = 16  # threads beyond the bound on streams, to refuse with
SLOW_SECONDS, SLOW_BYTES = 10.0, 1_024  # a request gets so long, and a second for each so many bytes
STALLED_SECONDS = 60.0  # without a byte taken of an answer


class Http2Edge:
    """A table of methods on our own HTTP/2 server."""

    def __init__(self, methods: Iterable[Method], config: ServerConfig, calls: Calls) -> None:
        self.limits: Limits = config.limits
        self._calls = calls
        self._methods = {method.path: method for method in methods}
        self._threads = Threads(config.unary_threads, MOST_THREADS, "call")
        self._pools: dict[Pool, Executor] = {
            Pool.WAITING: ThreadPoolExecutor(WAITING_THREADS, "waiting"),
            Pool.STREAM: ThreadPoolExecutor(config.limits.streams + SPARE_STREAM_THREADS, "stream"),
        }
        self._varying = Varying(grpc.VARYING, self._add_varying)
        self._in_progress = 0
        self.loop = Loop(
            self,
            silent_seconds=config.limits.silent_seconds,
            age_seconds=config.connection_age_seconds,
            idle_seconds=config.connection_idle_seconds,
        )
        self.loop.post(settle, self)

    def bind(self, address: str, tls: Tls | None) -> int:
        """Puts the server on an address and returns the port. Raises OSError where it is taken."""
        listener = Listener(address, tls)
        self.loop.listen(listener)
        return listener.port()

    def start(self) -> None:
        """Begins to answer."""
        self.loop.start()

    def drain(self, seconds: float) -> None:
        """Accepts no more connections, answers all calls that were begun, then stops."""
        self.loop.drain(seconds)

    # For the loop

    def connect(self, transport: Transport) -> Connection:
        """The connection of a socket that was accepted."""
        # Twice as many as may be: those beyond are told the bound, where they would wait without a word.
        most = 2 * self.limits.concurrent_calls
        connection = GrpcConnection(self._interpret, self._open, most, self.limits.ping_seconds, self._varying)
        connection.transport = transport
        return connection

    def held(self, connection: Connection) -> int:
        """Bytes of unfinished requests that a connection holds, or may send."""
        streams: Sequence[Any] = list(connection.streams.values())
        return sum(max(len(call.body or b""), call.size) + getattr(call, "waiting", 0) for call in streams)

    def look(self, transport: Transport, now: float) -> None:
        """Ends calls whose deadline has passed, requests that do not arrive, and answers that are not taken."""
        streams: Sequence[Any] = list(transport.connection.streams.values())
        for call in streams:
            if call.unsent:
                call.stalled_since = call.stalled_since or now
                if now - call.stalled_since > STALLED_SECONDS:
                    transport.connection.cancel(call, CANCEL)
                    self.left(call)
            elif call.over:
                continue
            elif call.deadline is not None and now > call.deadline:
                self.refuse(call, TimeLimitError("the deadline of the call has passed"))
            elif not call.running and call.body is not None:
                allowed = SLOW_SECONDS + len(call.body) / SLOW_BYTES
                if now - call.since > allowed:
                    self.refuse(call, TimeLimitError(f"the request did not arrive within {allowed:.0f} s"))

    def leave(self) -> None:
        """Of a call on the edge's thread: goes on elsewhere. See `service.serving.threads`."""
        raise Moved

    # Calls, on the edge's thread

    def _interpret(self, headers: Headers, too_large: bool) -> Route:
        return self._route(grpc.interpret(headers, too_large))

    def _add_varying(self, route: Route, headers: Headers) -> Route:
        return self._route(grpc.with_headers(route.request, headers))

    def _route(self, request: grpc.Request) -> Route:
        method = self._methods.get(request.path)
        refused: Exception | None = request.error
        if refused is None and method is None:
            refused = NotSupportedError(f"there is no method {request.path[:200]!r}")
        streams = method is not None and (method.request_streams or method.response_streams)
        inline = method is not None and method.pool is Pool.EDGE
        observers = self._calls.observers_of(method, request.metadata)
        request_id = given_id(request.metadata.get(REQUEST_ID, ""))
        return Route(request, method, inline, streams, refused, observers, request_id)

    def _open(self, connection: Any, sid: int, route: Route, ended: bool) -> None:
        call = (StreamCall if route.streams else UnaryCall)(self, connection, sid, route)
        connection.streams[sid] = call
        self._in_progress += 1
        if route.request.timeout is not None:
            call.deadline = time.monotonic() + route.request.timeout
        if ended:
            call.request_ended = True
        if route.request.http_status != 200:
            self._finish(call)
            connection.finish(call, grpc.http_headers(route.request.http_status))
        elif route.refused is not None:
            self.refuse(call, route.refused)
        elif self._in_progress > self.limits.concurrent_calls:
            most = self.limits.concurrent_calls
            self.refuse(
                call,
                LimitExceededError(
                    f"calls in progress in this worker: {self._in_progress}; the limit is {most}",
                    limit=most,
                    actual=self._in_progress,
                ),
            )
        else:
            if route.streams:
                assert isinstance(call, StreamCall)
                call.running = True
                assert route.method is not None
                self._pools[Pool.STREAM].submit(self._run_stream, call)
            if ended:
                call.received(b"", True)

    def whole(self, call: UnaryCall, data: bytes | bytearray) -> None:
        """A request with one message has arrived."""
        size = len(data) - grpc.PREFIX_BYTES
        if size < 0 or int.from_bytes(data[: grpc.PREFIX_BYTES], "big") != size:  # in a first byte of 0, and the length
            if size < 0 or data[0] != 1 or int.from_bytes(data[1:5], "big") != size:
                self.refuse(call, InvalidArgumentError("the call wants one message, whole and with its length"))
                return
        elif size <= INLINE_BYTES and call.route.inline:
            try:
                message = data[grpc.PREFIX_BYTES :]
                answer = self._calls.unary(call, message if isinstance(message, bytes) else bytes(message))
            except Moved:
                pass
            else:
                self._answer(call, answer)
                return
        if size > self.limits.message_bytes:
            self.refuse(call, grpc.too_large(size, self.limits.message_bytes))
            return
        call.running = True
        assert call.method is not None
        call.body = None
        self._pools.get(call.method.pool, self._threads).submit(self._run, call, data)

    def refuse(self, call: UnaryCall, error: Exception) -> None:
        """Ends a call with an error of ours, whatever its handler still does."""
        if call.over:
            return
        if call.running:  # its own end comes later
            call.over = True
            if isinstance(call, StreamCall):
                call.wake()
            self._send_status(call, status_of(error))
        else:
            self._answer(call, self._calls.failed(call, error))

    def left(self, call: UnaryCall) -> None:
        """Nobody waits for a call any more."""
        if call.over:
            return
        if call.running:
            call.over = True
            if isinstance(call, StreamCall):
                call.wake()
        else:
            self._finish(call)
            self._calls.left(call)

    def _finish(self, call: UnaryCall) -> None:
        """The end of a call that no thread has."""
        call.over = True
        call.body = None
        self._in_progress -= 1

    def _answer(self, call: UnaryCall, answer: bytes | Status) -> None:
        """The end of a call with one message each way."""
        if call.over:
            return
        self._finish(call)
        if answer.__class__ is not bytes:
            self._send_status(call, answer)  # type: ignore[arg-type]
            return
        connection = call.connection
        size = len(answer)
        if connection.headed and not call.trailing and connection.table_bytes == TABLE_BYTES:
            first, last = grpc.NEXT_HEADERS, grpc.NEXT_TRAILERS
        else:
            first, last = connection.blocks(call, size + grpc.PREFIX_BYTES)
        connection.reply(call, first, b"\0" + size.to_bytes(4, "big"), answer, last)
        if call.unsent:
            self.loop.hold(size)

    def _send_status(self, call: UnaryCall, status: Status) -> None:
        """The end of an answer with another status than OK; where it has not begun, all there is of it."""
        connection = call.connection
        block = grpc.trailers(*status, call.trailing, connection.most_header_bytes)
        if not getattr(call, "headed", False):
            block = grpc.PLAIN_HEADERS + block
        connection.finish(call, block)
        self.loop.touched.add(connection.transport)

    def send(self, call: StreamCall, message: bytes) -> None:
        """A message of a stream."""
        if call.over:
            return
        connection = call.connection
        if not call.headed:
            call.headed = True
            connection.send_headers(call, grpc.PLAIN_HEADERS)
        call.accepted += len(message)
        connection.send(call, grpc.PREFIX.pack(0, len(message)) + message)
        self.loop.touched.add(connection.transport)

    def _ran(self, call: UnaryCall, answer: bytes | Status | None) -> None:
        """A thread is done with a call. None: it ended while nobody waited for it, or its answers are sent."""
        call.running = False
        if call.over:
            self._in_progress -= 1
            return
        if isinstance(call, StreamCall):
            self._finish(call)
            if isinstance(answer, Status):
                self._send_status(call, answer)
                return
            if not call.headed:
                call.connection.send_headers(call, grpc.PLAIN_HEADERS)
            call.connection.finish(call, grpc.success(call.trailing, call.connection.most_header_bytes))
        else:
            assert answer is not None
            self._answer(call, answer)
        self.loop.touched.add(call.connection.transport)

    # Calls, on other threads

    def _run(self, call: UnaryCall, data: bytes | bytearray) -> None:
        """A call with one message each way."""
        answer: bytes | Status
        try:
            message = bytes(memoryview(data)[grpc.PREFIX_BYTES :])
            if data[0]:
                message = grpc.decompressed(message, call.route.request.encoding, self.limits.message_bytes)
            answer = self._calls.unary(call, message)
        except Exception as error:
            answer = self._calls.failed(call, error)
        self.loop.post(self._ran, call, answer)

    def _run_stream(self, call: StreamCall) -> None:
        """A call with streams."""
        status: Status | None = None
        answers = self._calls.stream(call, call.receive)
        try:
            for answer in answers:
                if not call.send(answer):
                    break
        except Failed as failed:
            status = failed.status
        finally:
            answers.close()
        self.loop.post(self._ran, call, status)
