"""HTTP/2 header blocks: checked by the rules of RFC 9113, and cached.

The same bytes mean the same as long as the compression table has not changed. So what was made of a block is kept until
it does: most calls of a client cost one look into a dictionary. Where one header is another one with every request, as
an id is, what was made of the others is kept.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from service.edge.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError
from service.edge.hpack import Decoder, Field, HpackError, OversizedError

BLOCK_BYTES = 16_384  # of a compressed block
HEADER_BYTES = 16_384  # of decoded headers, as RFC 9113 counts them; said to the peer
MOST_HEADER_BYTES = 2 * HEADER_BYTES  # beyond which a block is not even decoded to its end
REMEMBERED_BYTES = 65_536  # of the headers of a connection whose meaning is kept, decoded
REMEMBERED_FIELDS, SHORT = 1_024, 256  # fields of all connections that were checked, and bytes of one

Headers = Sequence[tuple[bytes, bytes]]


class _Other:
    """What a block means that is no request."""


TRAILERS: Final = _Other()
MALFORMED: Final = _Other()


class Varying(NamedTuple):
    """Headers that are likely to be other ones with every request."""

    names: frozenset[bytes]
    add: Callable[[Any, Headers], Any]  # from what the other headers of a request mean, and these, to what all mean


NONE = Varying(frozenset(), lambda meaning, _: meaning)


class _Meanings:
    """Meanings that are kept, as long as what they are of has not too many bytes."""

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}
        self._bytes = 0

    def keep(self, key: Hashable, meaning: Any, size: int) -> None:
        """Keeps one of so many bytes."""
        self._bytes += size
        if self._bytes > REMEMBERED_BYTES:
            self.clear()
        else:
            self.known[key] = meaning

    def clear(self) -> None:
        """Forgets all."""
        self.known.clear()
        self._bytes = 0


class HeaderBlocks:
    """Decodes the header blocks of one connection."""

    def __init__(self, interpret: Callable[[Headers, bool], Any], varying: Varying = NONE) -> None:
        """`interpret(headers, too_large)` makes of a request's headers what they mean."""
        self._interpret, self._varying = interpret, varying
        self._decoder = Decoder(MOST_HEADER_BYTES)
        self._blocks, self._usual = _Meanings(), _Meanings()
        self.known: dict[bytes, Any] = self._blocks.known  # by their bytes
        self.usual: dict[Headers, Any] = self._usual.known  # by their fields, without varying ones

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
        meaning, size = self._meaning(headers), self._decoder.size
        if self._decoder.changes != changes:
            self._blocks.clear()
        else:
            self._blocks.keep(block, meaning, size)
        return meaning

    def _meaning(self, headers: list[Field]) -> Any:
        """What the headers mean that were just decoded."""
        if self._decoder.size > HEADER_BYTES:
            return self._checked(headers, True)
        names = self._varying.names
        usual = tuple([field for field in headers if field[0] not in names])
        meaning = self.usual.get(usual)
        if meaning is None:
            meaning = self._checked(usual, False)
            self._usual.keep(usual, meaning, self._decoder.size)
        if len(usual) == len(headers) or meaning is MALFORMED:
            return meaning
        varying = [field for field in headers if field[0] in names]
        after = headers[headers.index(varying[0]) :]
        if any(name[:1] == b":" for name, _ in after) or not all(_is_value(value) for _, value in varying):
            return MALFORMED
        return meaning if meaning is TRAILERS else self._varying.add(meaning, varying)

    def _checked(self, headers: Headers, too_large: bool) -> Any:
        if not any(name[:1] == b":" for name, _ in headers):
            return TRAILERS if all(map(_is_field, headers)) else MALFORMED
        return self._interpret(headers, too_large) if _is_request(headers) else MALFORMED


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
        and _is_value(value)
    )


def _is_value(value: bytes) -> bool:
    return not (b"\0" in value or b"\r" in value or b"\n" in value)


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
