"""A stream of HTTP/2, and how many frames a peer may send that cost and carry nothing."""

import time
from collections import deque
from typing import Protocol

from service.edge.frames import ENHANCE_YOUR_CALM, ProtocolError

STREAM_WINDOW = 262_144  # bytes that a peer may send on a stream before it is granted more
BURST, PER_SECOND = 1_000, 33  # of frames that cost and carry nothing: as nghttp2 has it for resets


class Allowance:
    """Frames that cost and carry nothing, of which a peer may send so many: a burst, so many a second, and earned ones.

    What a peer earns is what honest peers need more for: a WINDOW_UPDATE for data sent, a reset for calls answered.
    """

    def __init__(self) -> None:
        self.left = BURST
        self._since = time.monotonic()

    def spend(self, what: str) -> None:
        """Takes one. Raises ProtocolError where none is left."""
        self.left -= 1
        if self.left < 0:
            now = time.monotonic()
            self.left = min(BURST, self.left + int((now - self._since) * PER_SECOND))
            if self.left < 0:
                raise ProtocolError(ENHANCE_YOUR_CALM, f"too many {what}")
            self._since = now


class Carrier(Protocol):
    """A connection, as far as its streams need it."""

    initial_window: int


class Stream:
    """One request and its answer. What the server makes of it is in a class derived from this one."""

    request_ended = False  # the peer has sent all
    answer_ended = False  # we have said all there is to say, though some of it may be unsent
    credit = STREAM_WINDOW  # bytes that the peer may still send
    unsent: "deque[memoryview] | None" = None
    unsent_bytes = 0
    trailers: bytes | None = None  # the block to send when nothing else is unsent

    def __init__(self, connection: Carrier, sid: int) -> None:
        self.connection, self.sid = connection, sid
        self.window = connection.initial_window  # bytes that we may still send

    def received(self, data: bytes, ended: bool) -> None:
        """A piece of the request arrived, perhaps the last."""
        raise NotImplementedError

    def closed(self, code: int) -> None:
        """The peer, or the end of the connection, has ended it before it was answered."""
        raise NotImplementedError

    def sent(self) -> None:
        """Some of what was unsent has been sent."""
