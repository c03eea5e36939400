"""HTTP/2 frames (RFC 9113): types, flags, error codes, settings and layout."""

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
(
    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM,
) = range(12)  # fmt: skip
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = range(1, 7)

FRAME = Struct(">BHBBI")  # the length in two parts, the kind, the flags, the stream
SETTING = Struct(">HI")
LARGEST_FRAME = 16_384  # bytes of a frame that every peer takes, and the largest we take
LARGEST_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1
TABLE_BYTES = 4_096  # of a compression table, unless a peer says otherwise


class ProtocolError(Exception):
    """The peer broke the protocol, or a bound; the connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StreamError(Exception):
    """One stream ends with this code; the connection goes on."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def frame(size: int, kind: int, flags: int, sid: int) -> bytes:
    """The header of a frame."""
    return FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, sid)


def without_padding(data: bytes, begin: int, stop: int) -> tuple[int, int]:
    """Where the content of a padded frame begins and stops. Raises ProtocolError where there is no room for it."""
    if begin == stop:
        raise ProtocolError(FRAME_SIZE_ERROR, "padding without its length")
    stop -= data[begin]
    if stop <= begin:
        raise ProtocolError(PROTOCOL_ERROR, "more padding than there is room for")
    return begin + 1, stop
