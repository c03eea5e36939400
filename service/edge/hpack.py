"""Header compression, the half that reads: from blocks of HTTP/2 headers to fields. RFC 7541 (HPACK)."""

from collections import deque
from functools import lru_cache

from service.edge import huffman
from service.edge.frames import TABLE_BYTES

ENTRY_BYTES = 32  # that a field counts besides its name and value (section 4.1)
MOST_BITS = 28  # of an index or a length: more than any that is valid
REMEMBERED, SHORT = 1_024, 64  # texts that are kept decoded, and bytes of one in code: of names, and of usual values

Field = tuple[bytes, bytes]  # name and value
Entry = tuple[Field, int]  # of a table: a field, and its size


def _entry(field: Field) -> Entry:
    return field, len(field[0]) + len(field[1]) + ENTRY_BYTES


def _static() -> tuple[Entry, ...]:
    """The fields that everybody knows, from index 1 on (appendix A)."""
    fields = (
        ";:authority;:method=GET;:method=POST;:path=/;:path=/index.html;:scheme=http;:scheme=https;:status=200;"
        ":status=204;:status=206;:status=304;:status=400;:status=404;:status=500;accept-charset;"
        "accept-encoding=gzip, deflate;accept-language;accept-ranges;accept;access-control-allow-origin;age;allow;"
        "authorization;cache-control;content-disposition;content-encoding;content-language;content-length;"
        "content-location;content-range;content-type;cookie;date;etag;expect;expires;from;host;if-match;"
        "if-modified-since;if-none-match;if-range;if-unmodified-since;last-modified;link;location;max-forwards;"
        "proxy-authenticate;proxy-authorization;range;referer;refresh;retry-after;server;set-cookie;"
        "strict-transport-security;transfer-encoding;user-agent;vary;via;www-authenticate"
    )
    parts = (field.encode().partition(b"=") for field in fields.split(";"))
    return tuple(_entry((name, value)) for name, _, value in parts)


_STATIC = _static()
_FIRST = len(_STATIC)  # the index of the newest field that the peer put into the table


class HpackError(ValueError):
    """A block that cannot be decompressed. After it the compression table is of no use."""


class OversizedError(HpackError):
    """A block of more headers than are decoded."""


class Decoder:
    """Reads the header blocks of one connection, in their order."""

    def __init__(self, most_bytes: int) -> None:
        """most_bytes: of the fields of one block, as section 4.1 counts them."""
        self.changes = 0  # of the compression table
        self.size = 0  # of the fields of the last block, in bytes
        self._most_bytes = most_bytes
        self._table: deque[Entry] = deque()  # the newest first
        self._bytes, self._most_table = 0, TABLE_BYTES

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block. Raises HpackError."""
        try:
            return self._decode(block)
        except IndexError:
            raise HpackError("the block ends within a field, or names one that the table does not have") from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        at, end, left, table = 0, len(block), self._most_bytes, self._table
        while at < end:
            first = block[at]
            at += 1
            if first >= 0x80:  # a field of the table
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                if not index:
                    raise HpackError("a field of index 0")
                field, size = _STATIC[index] if index < _FIRST else table[index - _FIRST]
            elif 0x20 <= first < 0x40:
                if fields:
                    raise HpackError("the size of the table changes behind a field")
                at = self._resize(block, at, first & 0x1F)
                continue
            else:  # a literal, which goes into the table or does not
                most = 0x3F if first >= 0x40 else 0x0F
                index = first & most
                if index == most:
                    index, at = _integer(block, at, most)
                if not index:
                    name, at = _text(block, at)
                else:
                    (name, _), _ = _STATIC[index] if index < _FIRST else table[index - _FIRST]
                value, at = _text(block, at)
                entry = field, size = _entry((name, value))
                if first >= 0x40:
                    self._add(entry)
            fields.append(field)
            left -= size
            if left < 0:
                raise OversizedError(f"headers of more than {self._most_bytes} bytes")
        self.size = self._most_bytes - left
        return fields

    def _add(self, entry: Entry) -> None:
        """Puts a field into the table."""
        self.changes += 1
        self._table.appendleft(entry)
        self._bytes += entry[1]
        self._evict()

    def _resize(self, block: bytes, at: int, size: int) -> int:
        """Changes how large the table may be, as the peer says; where the block goes on."""
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > TABLE_BYTES:
            raise HpackError(f"a table of {size} bytes; the limit is {TABLE_BYTES}")
        self.changes += 1
        self._most_table = size
        self._evict()
        return at

    def _evict(self) -> None:
        """Drops the oldest fields, as many as the table has no room for."""
        while self._bytes > self._most_table:
            _, size = self._table.pop()
            self._bytes -= size


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """A number that fills the bits of its first byte with ones, and goes on in the next; and where it ends."""
    for shift in range(0, MOST_BITS, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackError("a number that is too large")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    """A text, and where it ends."""
    first = block[at]
    at += 1
    size = first & 0x7F
    if size == 0x7F:
        size, at = _integer(block, at, 0x7F)
    end = at + size
    text = block[at:end]
    if len(text) != size:
        raise IndexError(end)
    if first < 0x80:
        return text, end
    return (_usual(text) if size <= SHORT else _from_code(text)), end


def _from_code(text: bytes) -> bytes:
    try:
        return huffman.decoded(text)
    except ValueError as error:
        raise HpackError(str(error)) from None


_usual = lru_cache(REMEMBERED)(_from_code)
