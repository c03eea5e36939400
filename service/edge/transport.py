"""A socket with its connection, as the event loop holds it: what it may carry, and when it is too slow or too old."""

import socket
from enum import Enum
from typing import Protocol

from service.edge.frames import ENHANCE_YOUR_CALM
from service.edge.http2 import Connection

SLOW_SECONDS = 10.0  # for a handshake, a preface, one frame, the headers of a request
ACKNOWLEDGE_SECONDS = 5.0  # for a peer to acknowledge that we go: calls that it begins until then are answered
GOODBYE_SECONDS = 1.0  # for a peer to close what has ended
PATIENCE = 64  # times as long as a connection had the thread, others may come first
PATIENCE_WITHOUT_REQUESTS = 512  # the same, where no request arrived meanwhile
MOST_PATIENCE_SECONDS = 0.1  # the same at a beginning: who is cut off gains nothing by coming again


class Protocol_(Protocol):  # noqa: N801  # typing has the other
    """What the connections of a loop carry."""

    def connect(self, transport: "Transport") -> Connection:
        """The connection of a socket that was accepted."""

    def look(self, transport: "Transport", now: float) -> None:
        """Is called now and then, to end what is too slow."""

    def held(self, connection: Connection) -> int:
        """Bytes of unfinished requests that a connection holds."""


class Transport:
    """A socket with its connection."""

    connection: Connection
    certificate = ""  # the name that the peer's certificate proves
    shaking = False  # TLS is not there yet
    blocked = False  # the socket takes nothing more for now
    leaving = 0.0  # since when we have been saying goodbye; 0: we have not
    last_word = False  # whether the second GOAWAY was sent
    ending = 0.0  # since when nothing but the peer's end is waited for
    slow_since = 0.0  # since when the same frame has been arriving
    progress = 0  # of the connection, at the last look
    pinged = False
    _requests = 0  # of the connection, when it last had the thread
    rest: "memoryview | bytes" = b""

    def __init__(self, sock: socket.socket, peer: str, now: float) -> None:
        self.sock, self.fd, self.peer = sock, sock.fileno(), peer
        self.since = self.heard = now
        self.due = now + MOST_PATIENCE_SECONDS  # of all that are ready, the one that is due earliest is served next

    def had(self, begun: float, ended: float) -> bool:
        """Notes when the connection had the thread, and says whether requests arrived meanwhile.

        What takes little is due again soon, and what took long a little later, but never much: a short call waits for
        the piece of work in progress, and not for all that others sent.
        """
        requests = self.connection.requests
        arrived = requests > self._requests
        self._requests = requests
        times = PATIENCE if arrived else PATIENCE_WITHOUT_REQUESTS
        self.due = ended + min((ended - begun) * times, MOST_PATIENCE_SECONDS)
        return arrived


class Verdict(Enum):
    """What is to become of a connection."""

    KEEP = 0
    LEAVE = 1  # say goodbye, and answer the calls that it has
    CLOSE = 2


class Patience:
    """How long a connection may take, say nothing, and live."""

    def __init__(self, silent_seconds: float, age_seconds: float, idle_seconds: float) -> None:
        """silent_seconds: after which a peer is pinged. age_seconds, idle_seconds: of connections; 0: no limit."""
        self._silent, self._age, self._idle = silent_seconds, age_seconds, idle_seconds

    def judge(self, transport: Transport, now: float) -> Verdict:
        """What is to become of a connection at this time. To be called once in a while; it may ping or fail it."""
        if transport.shaking:
            return Verdict.CLOSE if now - transport.since > SLOW_SECONDS else Verdict.KEEP
        if transport.ending:
            return Verdict.CLOSE if now - transport.ending > GOODBYE_SECONDS else Verdict.KEEP
        connection = transport.connection
        moved, transport.progress = connection.progress != transport.progress, connection.progress
        if moved or connection.is_between_frames():
            transport.slow_since = 0.0
        elif not transport.slow_since:
            transport.slow_since = now
        elif now - transport.slow_since > SLOW_SECONDS:
            connection.fail(ENHANCE_YOUR_CALM, f"what was begun took more than {SLOW_SECONDS:g} s to arrive")
        silent = now - transport.heard
        if silent > self._silent * 4 / 3 and transport.pinged:
            return Verdict.CLOSE
        if silent > self._silent and not transport.pinged:
            transport.pinged = True
            connection.ping(b"are you?")
        too_old = self._age and now - transport.since > self._age
        idle = self._idle and silent > self._idle and not connection.streams
        return Verdict.LEAVE if too_old or idle else Verdict.KEEP
