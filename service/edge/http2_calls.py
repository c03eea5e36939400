"""Calls of gRPC on streams of HTTP/2: how a request becomes messages, and who waits for whom."""

import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from service.config import Limits
from service.edge import grpc_protocol as grpc
from service.edge.access import ANONYMOUS
from service.edge.calls import Observer, ServedCall
from service.edge.frames import TABLE_BYTES
from service.edge.http2 import Connection
from service.edge.loop import Loop
from service.edge.methods import Method
from service.edge.streams import STREAM_WINDOW, Stream
from service.edge.transport import Transport

STREAM_HELD = 262_144  # bytes of answers that a stream may be ahead of its client


@dataclass(slots=True)  # whose fields are read three times as quickly as those of a tuple
class Route:
    """What the headers of a request mean here; kept with them, see `service.edge.http2`."""

    request: grpc.Request
    method: Method | None
    inline: bool  # whether it may begin on the edge's thread
    streams: bool
    refused: Exception | None
    observers: tuple[Observer, ...]  # who hears of each such call
    request_id: str


class GrpcConnection(Connection):
    """A connection that carries gRPC."""

    transport: Transport
    headed = False  # whether the two usual fields are in the client's compression table

    def blocks(self, call: "UnaryCall", size: int) -> tuple[bytes, bytes]:
        """Headers and trailers of a successful answer of so many bytes, where they are not those that follow others."""
        if call.trailing:
            return grpc.PLAIN_HEADERS, grpc.success(call.trailing, self.most_header_bytes)
        if self.table_bytes < TABLE_BYTES or self.headed or not self.goes_at_once(call, size):
            return grpc.PLAIN_HEADERS, grpc.PLAIN_TRAILERS
        self.headed = True
        return grpc.FIRST_HEADERS, grpc.FIRST_TRAILERS


class Edge(Protocol):
    """The edge, as far as its calls need it."""

    limits: Limits
    loop: Loop

    def whole(self, call: "UnaryCall", data: bytes | bytearray) -> None:
        """A request with one message has arrived."""

    def refuse(self, call: "UnaryCall", error: Exception) -> None:
        """Ends a call with an error of ours."""

    def left(self, call: "UnaryCall") -> None:
        """Nobody waits for a call any more."""

    def send(self, call: "StreamCall", message: bytes) -> None:
        """A message of a stream."""


class UnaryCall(Stream, ServedCall):
    """A call on a stream of HTTP/2, with one message each way."""

    connection: GrpcConnection

    over: bool  # nobody waits for it any more: it is answered, or was left
    running = False  # a thread has it
    deadline: float | None
    body: bytearray | None  # what arrived of a request that came in several frames
    size = 0  # of the message with its prefix, when that is known
    stalled_since = 0.0

    def __init__(self, edge: Edge, connection: GrpcConnection, sid: int, route: Route) -> None:
        self.connection, self.sid, self.window = connection, sid, connection.initial_window
        self.edge, self.route, self.method = edge, route, route.method
        self.observers, self.request_id = route.observers, route.request_id
        # What is read of each call is kept with it: the default of a class is found four times as slowly.
        self.over = self.request_ended = False
        self.deadline = self.lifetime = self.error = self.body = self.unsent = None
        self.began, self.credit, self.trailing, self.who = 0, STREAM_WINDOW, (), ANONYMOUS

    @property
    def path(self) -> str:  # type: ignore[override]
        """The method that was asked for, as it was written."""
        return self.route.request.path

    def peer(self) -> str:
        """The address that the call came from, without the port."""
        return self.connection.transport.peer

    def certificate(self) -> str:
        """The name that a verified client certificate proves; empty: there is none."""
        return self.connection.transport.certificate

    def remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it set none."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def check(self) -> None:
        """As of any call. Most have no deadline, and are asked while they are begun."""
        if self.over or self.deadline is not None or self.lifetime is not None:
            super().check()

    def active(self) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.over

    def metadata(self, key: str) -> str:
        """A header of the call; empty if it was not sent."""
        value = self.route.request.metadata.get(key)
        return grpc.metadata_value(key, value) if value else ""

    def received(self, data: bytes, ended: bool) -> None:
        """A piece of the request arrived, perhaps the last."""
        if self.over:
            return
        if self.body is None:
            if ended:
                self.edge.whole(self, data)
                return
            self.body, self.since = bytearray(), time.monotonic()
        self.body += data
        if not self.size and len(self.body) >= grpc.PREFIX_BYTES:
            self._expect(*grpc.PREFIX.unpack_from(self.body))
        if ended and not self.over:
            self.edge.whole(self, self.body)

    def _expect(self, _compressed: int, size: int) -> None:
        """The length of the message is known: it is let in as a whole, or not at all."""
        most = self.edge.limits.message_bytes
        if size > most:
            self.edge.refuse(self, grpc.too_large(size, most))
            return
        self.size = size + grpc.PREFIX_BYTES
        assert self.body is not None
        # And a byte, because Envoy says the end of a request, which takes none, only while its window has room.
        more = self.size - len(self.body) - self.credit + 1
        if more > 0:
            self.edge.loop.hold(self.size)
            self.connection.grant(self, more)

    def closed(self, code: int) -> None:
        """The peer has left it."""
        self.edge.left(self)


class StreamCall(UnaryCall):
    """A call with streams: its handler runs on a thread, and takes messages from a queue."""

    headed = False  # whether the headers of the answer were sent
    posted = 0  # bytes of answers, as the handler's thread counts them
    accepted = 0  # the same, as the edge's does
    gone = 0  # those that were sent
    wants_room = False

    def __init__(self, edge: Edge, connection: GrpcConnection, sid: int, route: Route) -> None:
        super().__init__(edge, connection, sid, route)
        self.messages: SimpleQueue[bytes | None] = SimpleQueue()
        self.room = threading.Event()
        self.body = bytearray()
        self.waiting = 0  # bytes in `messages`
        self.owed = 0  # bytes that the client may send again

    def received(self, data: bytes, ended: bool) -> None:
        """A piece of the stream arrived. Messages that are whole go to the handler."""
        if self.over:
            return
        body, prefix = self.body, grpc.PREFIX_BYTES
        assert body is not None
        body += data
        while len(body) >= prefix:
            compressed, size = grpc.PREFIX.unpack_from(body)
            if size > self.edge.limits.message_bytes or compressed > 1:
                self.edge.refuse(self, grpc.too_large(size, self.edge.limits.message_bytes))
                return
            if len(body) < prefix + size:
                if not self.waiting:  # the handler waits for this one
                    self._let(prefix + size - len(body))
                break
            self.messages.put(bytes(body[:1]) + bytes(body[prefix : prefix + size]))
            self.waiting += prefix + size
            del body[: prefix + size]
        if ended:
            self.messages.put(None)

    def receive(self, seconds: float) -> bytes | None:
        """The next message, None after the last. Raises queue.Empty where none came in so many seconds."""
        message = self.messages.get(timeout=seconds)
        if message is None:
            return None
        self.edge.loop.post(self.took, len(message) - 1 + grpc.PREFIX_BYTES)
        if message[0]:
            return grpc.decompressed(message[1:], self.route.request.encoding, self.edge.limits.message_bytes)
        return message[1:]

    def took(self, size: int) -> None:
        """The handler has taken a message of so many bytes: the client may send as many."""
        self.waiting -= size
        self.owed += size
        if self.over:
            return
        if not self.waiting and self.body is not None and len(self.body) >= grpc.PREFIX_BYTES:
            self._let(grpc.PREFIX_BYTES + grpc.PREFIX.unpack_from(self.body)[1] - len(self.body))
        if self.owed >= STREAM_WINDOW // 4:
            self._let(0)

    def _let(self, wanted: int) -> None:
        """Lets the client send what it is owed, and the rest of the message that the handler waits for."""
        more = max(wanted - self.credit, min(self.owed, STREAM_WINDOW - self.credit), 0)
        self.owed = max(self.owed - more, 0)
        if more:
            self.edge.loop.hold(more)
            self.connection.grant(self, more)
            self.edge.loop.touched.add(self.connection.transport)

    def send(self, message: bytes) -> bool:
        """From the handler's thread: sends a message, waits for a slow client, and says whether there still is one."""
        if self.over:
            return False
        self.posted += len(message)
        self.edge.loop.post(self.edge.send, self, message)
        while self.posted - self.gone > STREAM_HELD and not self.over:
            self.room.clear()
            self.wants_room = True
            if self.posted - self.gone > STREAM_HELD and not self.over:
                self.room.wait(1.0)
            self.wants_room = False
        return not self.over

    def sent(self) -> None:
        """The client took some."""
        self.gone = self.accepted - self.unsent_bytes
        self.stalled_since = 0.0
        if self.wants_room:
            self.room.set()

    def wake(self) -> None:
        """Lets the handler's thread see that nobody waits any more."""
        self.messages.put(None)
        self.room.set()
