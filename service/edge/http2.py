"""An HTTP/2 server connection without sockets, and independent of what it carries: bytes in, events and bytes out.

RFC 9113. Requests open a `Stream`; what the server is made of derives its own from it. What a peer may cost is bounded
here: see `service.edge.streams`, the sizes below, and those in `service.edge.headers`. `service.edge.sending` has the
half that sends.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from service.edge.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME,
    FRAME_SIZE_ERROR,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    LAST_STREAM,
    MAX_FRAME,
    MAX_HEADERS,
    MAX_STREAMS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    TABLE_BYTES,
    WINDOW_UPDATE,
    ProtocolError,
    StreamError,
    frame,
    without_padding,
)  # fmt: skip
from service.edge.headers import (
    BLOCK_BYTES,
    HEADER_BYTES,
    MALFORMED,
    NONE,
    TRAILERS,
    HeaderBlocks,
    Headers,
    Varying,
)  # fmt: skip
from service.edge.sending import Sending
from service.edge.streams import BURST, STREAM_WINDOW

CONNECTION_WINDOW = 4_194_304  # the same for all streams of a connection together
LOW_WINDOW = CONNECTION_WINDOW // 2  # below which it is filled up
FRAMES_BETWEEN_LOOKS = 2  # at the clock
REQUEST_SECONDS, REQUESTS_SECONDS = 3e-5, 1e-3  # more for each whole request, and at most: floods have few of them
STRIKES = 2  # pings that come too soon, before another is one too many


class Connection(Sending):
    """One connection of a server: `receive` bytes, send what is in `out`, and ask `pump` for more when that is gone."""

    def __init__(
        self,
        interpret: Callable[[Headers, bool], Any],
        open_stream: Callable[["Connection", int, Any, bool], None],
        most_streams: int,
        ping_seconds: float = 0.0,
        varying: Varying = NONE,
    ) -> None:
        """`interpret(headers, too_large)` makes of a request's headers what `open_stream` is given as their meaning.

        varying: headers that are likely to be other ones with every request.

        `open_stream(connection, sid, meaning, ended)` puts a stream into `streams`, and may answer it at once.
        most_streams: at a time. ping_seconds: least pause between two pings while nothing is sent.
        """
        super().__init__()
        self._open, self._most, self._ping_seconds = open_stream, most_streams, ping_seconds
        self.out.append(_hello(most_streams))
        self.requests = 0  # that arrived whole
        self.progress = 0  # changes whenever a frame has arrived, and nothing is to follow it
        self._granted = 65_535  # by the peer, from the beginning: what is no longer in the window was sent
        self.initial_window = 65_535
        self.table_bytes = TABLE_BYTES
        self.pong: Callable[[bytes], None] = _ignore
        self._credit = CONNECTION_WINDOW
        self._rest = b""
        self.more = False  # whether something is left that there was no time for
        self._expected: int | None = -1  # the only kind of frame that may come; -1: the preface
        self._block, self._block_of, self._block_flags = b"", 0, 0
        self._blocks = HeaderBlocks(interpret, varying)
        self._known = self._blocks.known
        self._pinged, self._strikes = (0.0, (0, 0)), 0  # when, and what had been begun and sent then

    def receive(self, data: bytes, until: float = math.inf) -> None:
        """Takes what came from the socket. Where the peer broke the protocol the connection is `ended`.

        until: a time of `time.monotonic`, put off a little by requests. What is left then is `more`, and `receive(b"")`
        goes on with it.
        """
        self.more = False
        if self.ended:
            return
        try:
            self._receive(self._rest + data if self._rest else data, until)
        except ProtocolError as error:
            self.fail(error.code, str(error))

    def _receive(self, data: bytes, until: float) -> None:
        at, end, streams, unpack, monotonic = 0, len(data), self.streams, FRAME.unpack_from, time.monotonic
        frames = flags = 0
        latest = until + REQUESTS_SECONDS
        if self._expected == -1:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ProtocolError(PROTOCOL_ERROR, "this is not HTTP/2")
            if end < len(PREFACE):
                self._rest = data
                return
            at, self._expected = len(PREFACE), SETTINGS
        while end - at >= 9:
            if frames and not frames % FRAMES_BETWEEN_LOOKS and monotonic() > until:
                self.more = True
                break
            frames += 1
            high, low, kind, flags, sid = unpack(data, at)
            size = high << 16 | low
            if size > LARGEST_FRAME:
                raise ProtocolError(FRAME_SIZE_ERROR, f"a frame of {size} bytes; the limit is {LARGEST_FRAME}")
            begin = at + 9
            if begin + size > end:
                break
            at = begin + size
            sid &= LAST_STREAM
            if self._expected is not None:
                self._check_expected(kind, flags, sid)
            if kind == DATA:
                self._credit -= size
                if self._credit < LOW_WINDOW:
                    self._grant_connection()
                stream = streams.get(sid)
                if stream is None:
                    self._check_begun(sid)
                    self._control.spend("frames for streams that have ended")
                    continue
                stop = at
                if flags & PADDED:
                    begin, stop = without_padding(data, begin, stop)
                try:
                    if stream.request_ended:
                        raise StreamError(STREAM_CLOSED)
                    stream.credit -= size
                    if stream.credit < 0:
                        raise StreamError(FLOW_CONTROL_ERROR)
                    if flags & END_STREAM:
                        stream.request_ended = True
                        until += REQUEST_SECONDS
                        if until > latest:
                            until = latest
                        self.requests += 1
                        stream.received(data[begin:stop], True)
                    elif begin == stop:
                        self._control.spend("empty frames")
                    else:
                        stream.received(data[begin:stop], False)
                except StreamError as error:
                    self._end(stream, error.code)
            elif kind == HEADERS:
                stop = at
                if flags & (PADDED | PRIORITIZED):
                    if flags & PADDED:
                        begin, stop = without_padding(data, begin, stop)
                    if flags & PRIORITIZED:
                        begin += 5
                    if begin > stop:
                        raise ProtocolError(FRAME_SIZE_ERROR, "HEADERS without room for what its flags promise")
                if flags & END_HEADERS:
                    self._headers(sid, flags, data[begin:stop])
                else:
                    self._block, self._block_of, self._block_flags = data[begin:stop], sid, flags
                    self._expected = CONTINUATION
            else:
                _OTHERS[kind if kind < 10 else 10](self, flags, sid, data[begin:at])
            if self.ended:
                return
        self._rest = data[at:] if at < end else b""
        if at and self._expected is None:
            self.progress += 1

    def is_between_frames(self) -> bool:
        """Whether nothing has been begun that the peer is to go on with."""
        return not self._rest and self._expected is None

    def _check_expected(self, kind: int, flags: int, sid: int) -> None:
        if kind != self._expected or (kind == SETTINGS and flags & ACK):
            raise ProtocolError(PROTOCOL_ERROR, "another frame was expected here")
        if kind == SETTINGS:
            self._expected = None

    def _check_begun(self, sid: int) -> None:
        """Raises ProtocolError where a stream has not been begun."""
        if not sid & 1 or sid > self.last:
            raise ProtocolError(PROTOCOL_ERROR, "a frame for a stream that was not begun")

    def _headers(self, sid: int, flags: int, block: bytes) -> None:
        """A whole header block: of a request, or the trailers of one."""
        meaning = self._known.get(block)
        if meaning is None:
            meaning = self._blocks.decode(block)
        ended = bool(flags & END_STREAM)
        if sid > self.last:
            if not sid & 1:
                raise ProtocolError(PROTOCOL_ERROR, "clients begin streams of odd numbers")
            self.last = sid
            if sid > self.accepts:
                return  # begun before the peer saw that we go: it knows from GOAWAY that nobody looked at it
            if len(self.streams) >= self._most:
                self._resets.spend("streams at once")
                self._reset(sid, REFUSED_STREAM)
            elif meaning is MALFORMED or meaning is TRAILERS:
                self._resets.spend("malformed requests")
                self._reset(sid, PROTOCOL_ERROR)
            else:
                self._open(self, sid, meaning, ended)
            return
        self._check_begun(sid)
        stream = self.streams.get(sid)
        if stream is None:
            self._control.spend("frames for streams that have ended")
        elif stream.request_ended:
            self._end(stream, STREAM_CLOSED)
        elif not ended or meaning is not TRAILERS:
            self._end(stream, PROTOCOL_ERROR)
        else:
            stream.request_ended = True
            stream.received(b"", True)

    def _on_continuation(self, flags: int, sid: int, payload: bytes) -> None:
        if self._expected is None or sid != self._block_of:
            raise ProtocolError(PROTOCOL_ERROR, "CONTINUATION of nothing")
        if not payload:
            self._control.spend("empty frames")
        self._block += payload
        if len(self._block) > BLOCK_BYTES:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"headers of more than {BLOCK_BYTES} bytes")
        if flags & END_HEADERS:
            block, self._block, self._expected = self._block, b"", None
            self._headers(sid, self._block_flags, block)

    def _on_priority(self, _flags: int, sid: int, payload: bytes) -> None:
        self._control.spend("PRIORITY frames")
        if not sid:
            raise ProtocolError(PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise ProtocolError(FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")

    def _on_reset(self, _flags: int, sid: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        self._check_begun(sid)
        self._resets.spend("resets")
        stream = self.streams.get(sid)
        if stream is not None:
            self._forget(stream)
            stream.closed(int.from_bytes(payload, "big"))

    def _on_settings(self, flags: int, sid: int, payload: bytes) -> None:
        self._control.spend("SETTINGS frames")
        if sid:
            raise ProtocolError(PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % 6 or (flags & ACK and payload):
            raise ProtocolError(FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & ACK:
            return
        for key, value in SETTING.iter_unpack(payload):
            if key == INITIAL_WINDOW:
                if value > LARGEST_WINDOW:
                    raise ProtocolError(FLOW_CONTROL_ERROR, "a window is at most 2^31 - 1")
                for stream in self.streams.values():
                    stream.window += value - self.initial_window
                    if stream.window > LARGEST_WINDOW:
                        raise ProtocolError(FLOW_CONTROL_ERROR, "a window is at most 2^31 - 1")
                self.initial_window = value
            elif key == MAX_FRAME:
                if not 16_384 <= value < 1 << 24:
                    raise ProtocolError(PROTOCOL_ERROR, "frames have 16384 to 2^24 - 1 bytes")
                self.largest_frame = value
            elif key == ENABLE_PUSH and value > 1:
                raise ProtocolError(PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
            elif key == MAX_HEADERS:
                self.most_header_bytes = value
            elif key == HEADER_TABLE_SIZE and value < self.table_bytes:
                self.table_bytes, self._shrink = value, b"\x20"
        self.out.append(frame(0, SETTINGS, ACK, 0))

    def _on_push(self, _flags: int, _sid: int, _payload: bytes) -> None:
        raise ProtocolError(PROTOCOL_ERROR, "clients do not push")

    def _on_ping(self, flags: int, sid: int, payload: bytes) -> None:
        self._control.spend("PING frames")
        if sid:
            raise ProtocolError(PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ProtocolError(FRAME_SIZE_ERROR, "PING has 8 bytes")
        if flags & ACK:
            self.pong(payload)
            return
        now, sent = time.monotonic(), (self.last, self._granted - self.window)
        if sent != self._pinged[1]:  # it may measure the line whenever something was sent
            self._strikes = 0
        elif now - self._pinged[0] < self._ping_seconds:
            self._strikes += 1
            if self._strikes > STRIKES:
                raise ProtocolError(ENHANCE_YOUR_CALM, "too_many_pings")  # as clients of gRPC expect it to be said
        self._pinged = (now, sent)
        self.out.append(frame(8, PING, ACK, 0) + payload)

    def _on_goaway(self, _flags: int, sid: int, payload: bytes) -> None:
        self._control.spend("GOAWAY frames")
        if sid:
            raise ProtocolError(PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ProtocolError(FRAME_SIZE_ERROR, "GOAWAY has at least 8 bytes")

    def _on_window(self, _flags: int, sid: int, payload: bytes) -> None:
        self._control.spend("WINDOW_UPDATE frames")
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        more = int.from_bytes(payload, "big") & LARGEST_WINDOW
        if not sid:
            self.window += more
            self._granted += more
            if not more or self.window > LARGEST_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR, "a window cannot grow by that")
            return
        self._check_begun(sid)
        stream = self.streams.get(sid)
        if stream is not None:
            stream.window += more
            if not more or stream.window > LARGEST_WINDOW:
                self._end(stream, FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR)

    def _on_unknown(self, _flags: int, _sid: int, _payload: bytes) -> None:
        self._control.spend("frames of unknown kinds")

    def _grant_connection(self) -> None:
        if self._credit < 0:
            raise ProtocolError(FLOW_CONTROL_ERROR, "more data than the window of the connection allows")
        more, self._credit = CONNECTION_WINDOW - self._credit, CONNECTION_WINDOW
        self.out.append(frame(4, WINDOW_UPDATE, 0, 0) + more.to_bytes(4, "big"))
        self._control.left = BURST  # who sends so much data may send other frames


_OTHERS: tuple[Callable[[Connection, int, int, bytes], None], ...] = (
    Connection._on_unknown,  # DATA and HEADERS do not come this way
    Connection._on_unknown,
    Connection._on_priority,
    Connection._on_reset,
    Connection._on_settings,
    Connection._on_push,
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window,
    Connection._on_continuation,
    Connection._on_unknown,
)


def _hello(most_streams: int) -> bytes:
    """The first frames of a server."""
    settings = ((MAX_STREAMS, most_streams), (INITIAL_WINDOW, STREAM_WINDOW), (MAX_HEADERS, HEADER_BYTES))
    return b"".join(
        (
            frame(6 * len(settings), SETTINGS, 0, 0),
            *(SETTING.pack(*pair) for pair in settings),
            frame(4, WINDOW_UPDATE, 0, 0),
            (CONNECTION_WINDOW - 65_535).to_bytes(4, "big"),
        )
    )


def _ignore(_payload: bytes) -> None:
    pass
