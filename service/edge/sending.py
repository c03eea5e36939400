"""The half of an HTTP/2 connection that sends: answers, as far as the peer's windows let them through, and its end.

RFC 9113. `service.edge.http2` has the other half, which reads what arrives.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from service.edge.frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LARGEST_FRAME,
    LAST_STREAM,
    NO_ERROR,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
)  # fmt: skip
from service.edge.streams import BURST, Allowance, Stream

PUMPED = 262_144  # bytes of answers that are made into frames at a time
REMEMBERED = 1_024  # sizes of answers


class Sending:
    """What a connection of a server has to send: in `out` as frames, and unsent on its streams until windows open."""

    def __init__(self) -> None:
        self.out: list[bytes | memoryview] = []
        self.streams: dict[int, Stream] = {}
        self.blocked: dict[int, Stream] = {}  # those with something unsent
        self.unsent_bytes = 0
        self.last = 0  # the highest stream that was begun
        self.accepts = LAST_STREAM  # the highest that may be begun
        self.ended = False  # nothing more is read
        self.reason = ""  # why it ended, where that was the peer's fault
        self.window = 65_535  # bytes that we may still send
        self.most_header_bytes = 0  # that the peer takes; 0: it did not say
        self.largest_frame = LARGEST_FRAME
        self._shrink = b""  # what has to be said before the next block: that we use no table from now on
        self._control, self._resets = Allowance(), Allowance()

    def grant(self, stream: Stream, size: int) -> None:
        """Lets the peer send so many bytes more on a stream."""
        if not stream.request_ended and size > 0:
            stream.credit += size
            self.out.append(frame(4, WINDOW_UPDATE, 0, stream.sid) + size.to_bytes(4, "big"))

    def goes_at_once(self, stream: Stream, size: int) -> bool:
        """Whether an answer with so many bytes of data need not wait for anything."""
        return size <= self.window and size <= stream.window and size <= LARGEST_FRAME and not self.blocked

    def reply(self, stream: Stream, headers: bytes, prefix: bytes, data: bytes, trailers: bytes) -> None:
        """A whole answer: compressed blocks of headers and trailers, and between them data in two parts."""
        size = len(prefix) + len(data)
        if (
            size <= self.window
            and size <= stream.window
            and size <= LARGEST_FRAME
            and not self.blocked
            and not self._shrink
        ):
            self.window -= size
            sid = stream.sid
            pack, first, second, third = _answer_of(len(headers), len(prefix), len(data), len(trailers))
            self.out.append(pack(first, sid, headers, second, sid, prefix, data, third, sid, trailers))
            self._answered(stream)
        else:
            self.send_headers(stream, headers)
            self.send(stream, prefix)
            self.send(stream, data)
            self.finish(stream, trailers)

    def send_headers(self, stream: Stream, block: bytes) -> None:
        """The headers of an answer."""
        self._out_headers(stream.sid, END_HEADERS, block)

    def send(self, stream: Stream, data: bytes) -> None:
        """Data of an answer, which waits until the windows let it through."""
        if not data:
            return
        if stream.unsent is None:
            stream.unsent = deque()
        stream.unsent.append(memoryview(data))
        stream.unsent_bytes += len(data)
        self.unsent_bytes += len(data)
        self.blocked[stream.sid] = stream

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """The end of an answer, when its data is sent."""
        if stream.unsent:
            stream.trailers, stream.answer_ended = trailers, True
        else:
            self._out_headers(stream.sid, END_HEADERS | END_STREAM, trailers)
            self._answered(stream)

    def _out_headers(self, sid: int, flags: int, block: bytes) -> None:
        block, self._shrink = self._shrink + block, b""
        self.out.append(frame(len(block), HEADERS, flags, sid) + block)

    def drop_unsent(self, stream: Stream) -> None:
        """Forgets what was not sent yet of an answer."""
        if stream.unsent:
            self.unsent_bytes -= stream.unsent_bytes
            stream.unsent, stream.unsent_bytes = None, 0
            self.blocked.pop(stream.sid, None)

    def cancel(self, stream: Stream, code: int) -> None:
        """Ends a stream without an answer. `closed` is not called."""
        self._forget(stream)
        self._reset(stream.sid, code)

    def pump(self) -> bool:
        """Makes frames of what the windows let through, a part at a time; whether there was any."""
        left = PUMPED
        for stream in list(self.blocked.values()):
            if self.window <= 0 or left <= 0:
                break
            done = self._pump(stream, min(left, LARGEST_FRAME * 4))
            left -= done
            if stream.sid in self.blocked and done:  # its turn comes again after that of the others
                self.blocked[stream.sid] = self.blocked.pop(stream.sid)
        return left < PUMPED

    def _pump(self, stream: Stream, most: int) -> int:
        parts, sent = stream.unsent, 0
        while parts and sent < most and stream.window > 0 and self.window > 0:
            part = parts[0]
            size = min(len(part), stream.window, self.window, self.largest_frame, most - sent)
            self.out.append(frame(size, DATA, 0, stream.sid))
            self.out.append(part[:size])
            stream.window -= size
            self.window -= size
            sent += size
            if size == len(part):
                parts.popleft()
            else:
                parts[0] = part[size:]
            self._control.left += 2  # the peer says for each that it may be followed by more
        stream.unsent_bytes -= sent
        self.unsent_bytes -= sent
        if not parts:
            self.blocked.pop(stream.sid, None)
            if stream.trailers is not None:
                self.finish(stream, stream.trailers)
        if sent:
            stream.sent()
        return sent

    def ping(self, payload: bytes) -> None:
        """A PING; `pong` is called with the payload when it is answered."""
        self.out.append(frame(8, PING, 0, 0) + payload)

    def go_away(self, last: int) -> None:
        """Says that streams beyond `last` are not answered."""
        self.out.append(frame(8, GOAWAY, 0, 0) + last.to_bytes(4, "big") + bytes(4))
        self.accepts = last

    def close(self) -> None:
        """The connection is gone: ends all of its streams."""
        self.ended = True
        streams = list(self.streams.values())
        self.streams.clear()
        self.blocked.clear()
        self.unsent_bytes = 0
        for stream in streams:
            stream.unsent = None
            stream.closed(CANCEL)

    def _answered(self, stream: Stream) -> None:
        """An answer was sent to its end."""
        stream.answer_ended = True
        if not stream.request_ended:  # nothing more of it is wanted
            self._reset(stream.sid, NO_ERROR)
        if self._control.left < BURST:
            self._control.left += 4  # which a peer sends for an answer: windows, and a ping to measure the line
        if self._resets.left < BURST:
            self._resets.left += 1
        self.streams.pop(stream.sid, None)

    def _end(self, stream: Stream, code: int) -> None:
        """Ends a stream by the peer's fault."""
        self._resets.spend("faults on streams")
        self._forget(stream)
        self._reset(stream.sid, code)
        stream.closed(code)

    def _forget(self, stream: Stream) -> None:
        self.streams.pop(stream.sid, None)
        self.drop_unsent(stream)

    def _reset(self, sid: int, code: int) -> None:
        self.out.append(frame(4, RST_STREAM, 0, sid) + code.to_bytes(4, "big"))

    def fail(self, code: int, reason: str) -> None:
        """Ends the connection with a GOAWAY that names the code."""
        if not self.ended:
            text = reason.encode()
            self.out.append(frame(8 + len(text), GOAWAY, 0, 0) + self.last.to_bytes(4, "big") + code.to_bytes(4, "big"))
            self.out.append(text)
            self.ended, self.reason = True, reason


@lru_cache(REMEMBERED)
def _answer_of(headers: int, prefix: int, data: int, trailers: int) -> tuple[Callable[..., bytes], bytes, bytes, bytes]:
    """What packs three frames with parts of such sizes at once, and the beginnings of the frames, up to the stream."""
    ends = END_HEADERS | END_STREAM
    sizes = (headers, HEADERS, END_HEADERS), (prefix + data, DATA, 0), (trailers, HEADERS, ends)
    first, second, third = (frame(size, kind, flags, 0)[:-4] for size, kind, flags in sizes)
    return Struct(f">5sI{headers}s5sI{prefix}s{data}s5sI{trailers}s").pack, first, second, third
