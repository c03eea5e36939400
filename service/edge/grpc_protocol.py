"""gRPC over HTTP/2, as bytes: request headers, trailers and message framing.

As the protocol's document has it (PROTOCOL-HTTP2.md of grpc/grpc). No sockets, no threads.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from service.edge.headers import Headers
from service.errors import InvalidArgumentError, LimitExceededError, NotSupportedError

PREFIX = Struct(">BI")  # before each message: whether it is compressed, and its length
PREFIX_BYTES = PREFIX.size
UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
ENCODINGS = {"gzip": 31, "deflate": 15}  # zlib's window bits, which say what wraps the data
ACCEPTED = ((b"grpc-accept-encoding", b"identity,deflate,gzip"),)
VARYING = frozenset((b"grpc-timeout", b"x-request-id", b"traceparent", b"tracestate"))  # which most clients send anew
RESERVED = ("te", "content-type", "content-length", "user-agent")  # headers that are not metadata, besides grpc-…
MOST_TRAILER_BYTES = 8_192  # which every client takes; some answer RESOURCE_EXHAUSTED for more

OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 1, 3, 4, 8, 12


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class Request:
    """What the headers of a request mean."""

    path: str
    timeout: float | None  # seconds
    metadata: Mapping[str, str]  # as sent; of several with one name, the first
    encoding: str = ""  # of compressed messages
    http_status: int = 200  # another: this is not gRPC
    error: InvalidArgumentError | LimitExceededError | NotSupportedError | None = None  # it is, and cannot be answered


def interpret(headers: Headers, too_large: bool) -> Request:
    """The meaning of a request's headers; a pure function, so what it gives may be kept."""
    path, timeout, encoding, status = "", None, "", 200
    metadata: dict[str, str] = {}
    error: InvalidArgumentError | LimitExceededError | NotSupportedError | None = None
    content_type = b""
    for name_bytes, value_bytes in headers:
        name, value = name_bytes.decode("ascii"), value_bytes.decode("latin-1")
        if name == ":path":
            path = value
        elif name == ":method":
            if value != "POST":
                status = 405
        elif name == "content-type":
            content_type = value_bytes
        elif name == "grpc-timeout":
            try:
                timeout = seconds(value)
            except ValueError:
                error = error or InvalidArgumentError(
                    f"grpc-timeout: {value[:20]!r} is no duration", field="grpc-timeout"
                )
        elif name == "grpc-encoding":
            if value in ENCODINGS:
                encoding = value
            elif value != "identity":
                error = NotSupportedError(f"messages compressed by {value[:20]!r} are not read")
        elif (name[0] != ":" and name not in RESERVED and not name.startswith("grpc-")) or name == "user-agent":
            metadata.setdefault(name, value)
    subtype = content_type[len(b"application/grpc") :]
    if not content_type.startswith(b"application/grpc") or subtype[:1] not in (b"", b"+", b";"):
        status = 415
    if too_large:
        error = LimitExceededError("the headers of this call are too large; the limit is 16384 bytes")
        path, metadata = path[:1024], {}
    return Request(path, timeout, metadata, encoding, status, error)


def with_headers(request: Request, headers: Headers) -> Request:
    """The meaning of a request's headers and of these besides, which are among VARYING."""
    more = interpret(headers, False)
    metadata = {**request.metadata, **more.metadata}
    return Request(
        request.path, more.timeout, metadata, request.encoding, request.http_status, request.error or more.error
    )


def seconds(text: str) -> float:
    """A duration as `grpc-timeout` has it, such as `100m`. Raises ValueError."""
    digits, unit = text[:-1], text[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and unit in UNITS):
        raise ValueError(text)
    return int(digits) * UNITS[unit]


def metadata_value(key: str, value: str) -> str:
    """A value as text; those of `-bin` keys are base64 on the wire. What cannot be decoded is empty."""
    if not key.endswith("-bin"):
        return value
    return b"".join(map(binary, value.split(","))).decode(errors="replace")


def binary(value: str) -> bytes:
    """The bytes of one base64 value, with or without padding; empty where it is none."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


# What an answer is made of. Two header fields are put into the peer's compression table by the first answer of a
# connection, and named by index after: no other field ever goes in, so their places stay.

_STATUS_200 = b"\x88"
_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"
FIRST_HEADERS, NEXT_HEADERS = b"\x88\x5f\x10application/grpc", b"\x88\xbf"
FIRST_TRAILERS, NEXT_TRAILERS = b"\x40\x0bgrpc-status\x010", b"\xbe"
REMEMBERED, MOST_SHORT = 1_024, 256  # fields of trailers that are kept as literals, and characters of one
SMALL_TABLE = 128  # bytes of a compression table below which the two may not fit


def _length(size: int) -> bytes:
    """An integer as HPACK writes it in seven bits."""
    if size < 127:
        return bytes((size,))
    encoded, size = [127], size - 127
    while size >= 128:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes((*encoded, size))


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that leaves the compression table as it is."""
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


PLAIN_HEADERS, PLAIN_TRAILERS = _STATUS_200 + _CONTENT_TYPE, literal(b"grpc-status", b"0")


def trailers(code: int, text: str, details: bytes, extra: Iterable[tuple[str, str | bytes]], most: int) -> bytes:
    """The block that ends an answer. Fields that would make it larger than clients take are left out, details first."""
    fields = [(b"grpc-status", str(code).encode())]
    if text:
        fields.append((b"grpc-message", percent_encoded(text)))
    others = [_metadata(name, value) for name, value in extra]
    if details:
        others.append((b"grpc-status-details-bin", base64.b64encode(details).rstrip(b"=")))
    if code == UNIMPLEMENTED:
        others += ACCEPTED
    limit = min(most or MOST_TRAILER_BYTES, MOST_TRAILER_BYTES) - 64
    left = limit - sum(len(name) + len(value) + 32 for name, value in fields)
    if left < 0 and text:  # a text that alone is too long
        fields[1] = (fields[1][0], fields[1][1][: max(left, -len(fields[1][1]))])
    for name, value in others:
        size = len(name) + len(value) + 32
        if size <= left:
            fields.append((name, value))
            left -= size
    return b"".join(literal(name, value) for name, value in fields)


def success(extra: Sequence[tuple[str, str | bytes]], most: int) -> bytes:
    """The block that ends an answer with the status OK; quickly where all metadata is short and ASCII."""
    try:
        block = PLAIN_TRAILERS + b"".join(map(_short, extra))
    except ValueError:
        return trailers(OK, "", b"", extra, most)
    if len(block) + 32 * (len(extra) + 1) > min(most or MOST_TRAILER_BYTES, MOST_TRAILER_BYTES) - 64:
        return trailers(OK, "", b"", extra, most)
    return block


@lru_cache(REMEMBERED)
def _short(field: tuple[str, str | bytes]) -> bytes:
    """A field of metadata that is short and ASCII, as a literal. Raises ValueError for others."""
    name, value = field
    if isinstance(value, bytes) or not value.isascii() or len(value) > MOST_SHORT or name.endswith("-bin"):
        raise ValueError(name)
    return literal(name.encode(), value.encode())


def http_headers(status: int) -> bytes:
    """The headers of an answer to what is not gRPC."""
    return literal(b":status", str(status).encode())


def percent_encoded(text: str) -> bytes:
    """A text as `grpc-message` has it."""
    data = text.encode(errors="replace")
    if data.isascii() and data.isalnum():
        return data
    return "".join(chr(byte) if 32 <= byte < 127 and byte != 37 else f"%{byte:02X}" for byte in data).encode()


def decompressed(data: bytes, encoding: str, most: int) -> bytes:
    """A message that came compressed. Raises LimitExceededError where it has more than `most` bytes."""
    if not encoding:
        raise InvalidArgumentError("a message is compressed, and grpc-encoding does not say how")
    inflate = zlib.decompressobj(ENCODINGS[encoding])
    try:
        message = inflate.decompress(data, most + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"a message is not compressed by {encoding}: {error}") from None
    if len(message) > most:
        raise too_large(len(message), most)
    if not inflate.eof:
        raise InvalidArgumentError(f"a message compressed by {encoding} is cut off")
    return message


def too_large(size: int, most: int) -> LimitExceededError:
    """The error for a message above the bound."""
    return LimitExceededError(f"a message of at least {size} bytes; the limit is {most}", limit=most, actual=size)


def _metadata(name: str, value: str | bytes) -> tuple[bytes, bytes]:
    data = value.encode() if isinstance(value, str) else value
    return name.encode(), base64.b64encode(data).rstrip(b"=") if name.endswith("-bin") else data
