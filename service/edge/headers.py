"""HTTP/2 header blocks: checked by the rules of RFC 9113, and cached.

The same bytes mean the same as long as the compression table has not changed. So what was made of a block is kept until
it does: most calls of a client cost one look into a dictionary.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from service.edge.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError
from service.edge.hpack import ENTRY_BYTES, Decoder, HpackError, OversizedError

BLOCK_BYTES = 16_384  # of a compressed block
HEADER_BYTES = 16_384  # of decoded headers, as RFC 9113 counts them; said to the peer
MOST_HEADER_BYTES = 2 * HEADER_BYTES  # beyond which a block is not even decoded to its end
REMEMBERED = 256  # blocks
REMEMBERED_FIELDS, SHORT = 1_024, 256  # fields of all connections that were checked, and bytes of one

Headers = Sequence[tuple[bytes, bytes]]


class _Other:
    """What a block means that is no request."""


TRAILERS: Final = _Other()
MALFORMED: Final = _Other()


class HeaderBlocks:
    """Decodes the header blocks of one connection."""

    def __init__(self, interpret: Callable[[Headers, bool], Any]) -> None:
        """`interpret(headers, too_large)` makes of a request's headers what they mean."""
        self._interpret = interpret
        self._decoder = Decoder(MOST_HEADER_BYTES)
        self.known: dict[bytes, Any] = {}

    def decode(self, block: bytes) -> Any:
        """What a block means that is not known: what `interpret` gave, TRAILERS or MALFORMED. Raises ProtocolError."""
        if len(block) > BLOCK_BYTES:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"headers of {len(block)} bytes; the limit is {BLOCK_BYTES}")
        changes = self._decoder.changes
        try:
            headers = self._decoder.decode(block)
        except OversizedError:
            reason = f"more than {MOST_HEADER_BYTES} bytes of headers; the limit is {HEADER_BYTES}"
            raise ProtocolError(ENHANCE_YOUR_CALM, reason) from None
        except HpackError as error:
            raise ProtocolError(COMPRESSION_ERROR, f"headers cannot be decompressed: {error}") from None
        meaning = self._meaning(headers)
        if self._decoder.changes != changes:
            self.known.clear()
        elif len(self.known) < REMEMBERED:
            self.known[block] = meaning
        return meaning

    def _meaning(self, headers: Headers) -> Any:
        if not any(name[:1] == b":" for name, _ in headers):
            return TRAILERS if all(map(_is_field, headers)) else MALFORMED
        if not _is_request(headers):
            return MALFORMED
        size = sum(len(name) + len(value) + ENTRY_BYTES for name, value in headers)
        return self._interpret(headers, size > HEADER_BYTES)


_FORBIDDEN = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
_PSEUDO = {b":method", b":scheme", b":path", b":authority"}
_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _is_field(field: tuple[bytes, bytes]) -> bool:
    """Whether a name and a value may stand in HTTP/2."""
    name, value = field
    return _may_stand(name, value) if len(name) + len(value) <= SHORT else _may_stand.__wrapped__(name, value)


@lru_cache(REMEMBERED_FIELDS)  # where one header of a call is new, as an id is, the others are not
def _may_stand(name: bytes, value: bytes) -> bool:
    return (
        bool(name)
        and _NAME.issuperset(name)
        and name not in _FORBIDDEN
        and (name != b"te" or value == b"trailers")
        and not (b"\0" in value or b"\r" in value or b"\n" in value)
    )


def _is_request(headers: Headers) -> bool:
    """Whether headers are those of a request: each pseudo-header once and first, nothing that HTTP/2 forbids."""
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for field in headers:
        name, value = field
        if name[:1] != b":":
            regular = True
            if not _is_field(field):
                return False
        elif regular or name in pseudo or name not in _PSEUDO or not _is_field((name[1:], value)):
            return False
        else:
            pseudo[name] = value
    return bool(pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path"))
