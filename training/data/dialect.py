"""How a CSV file is written: its encoding, compression, delimiter, and the marks within its numbers.

All of it is found from the beginning of the file, and only where there is no doubt; else it is as in English.
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_AT = 256 * 1024  # bytes
DELIMITERS = (",", ";", "\t", "|")
GZIP = b"\x1f\x8b"
LINES = 20  # from which the delimiter is found


@dataclass(frozen=True)
class Dialect:
    """What a reader of a CSV file has to know."""

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf8"
    compressed: bool = False

    @property
    def thousands(self) -> str:
        """What may stand between the thousands of a number."""
        return "." if self.decimal == "," else ","

    def number(self) -> re.Pattern[str]:
        """What a number with marks between its thousands looks like."""
        mark, point = re.escape(self.thousands), re.escape(self.decimal)
        return re.compile(rf"[-+]?(\d{{1,3}}({mark}\d{{3}})+|\d+)({point}\d*)?")

    def options(self, block: int) -> dict[str, Any]:
        """As Arrow's options for reading CSV."""
        from pyarrow import csv

        return {
            "read_options": csv.ReadOptions(block_size=block, encoding=self.encoding),
            "parse_options": csv.ParseOptions(delimiter=self.delimiter),
        }


def find(path: Path) -> Dialect:
    """The dialect of a file. Raises OSError for one that cannot be opened or decompressed."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    with gzip.open(path) if compressed else path.open("rb") as file:
        try:
            head = file.read(LOOKED_AT)
        except EOFError as error:
            raise OSError("the compressed file ends too early") from error
    text, encoding = _decoded(head)
    lines = [line for line in text.splitlines()[: LINES + 1] if line.strip()][:LINES]
    delimiter = _delimiter(lines)
    return Dialect(delimiter, _decimal(lines, delimiter), encoding, compressed)


def opened(path: Path, dialect: Dialect) -> "pa.NativeFile":
    """The bytes of a file, decompressed."""
    import pyarrow as pa

    return pa.input_stream(str(path), compression="gzip" if dialect.compressed else None)


def _decoded(head: bytes) -> tuple[str, str]:
    """The beginning of a file as text, and its encoding: UTF-8, UTF-16 by its mark, or else Latin-1."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head.decode("utf-16", errors="ignore"), "utf-16"
    try:
        return head.decode("utf-8-sig"), "utf8"
    except UnicodeDecodeError as error:
        if error.start >= len(head) - 3:  # a character that is cut by the end of what was read
            return head[: error.start].decode("utf-8-sig"), "utf8"
        return head.decode("latin-1"), "latin-1"


def _delimiter(lines: list[str]) -> str:
    """The one that stands in each line equally often, outside of quotes; a comma where several or none do."""
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines]
    found = {mark: {line.count(mark) for line in bare} for mark in DELIMITERS}
    regular = [mark for mark, counts in found.items() if len(counts) == 1 and 0 not in counts]
    # A comma as delimiter is never in doubt with others: in the header of a file with decimal commas there is none.
    return regular[0] if len(regular) == 1 or "," in regular else ","


def _decimal(lines: list[str], delimiter: str) -> str:
    """A comma where numbers have one and none has a point as its decimal mark."""
    if delimiter == ",":
        return "."
    fields = [field.strip().strip('"') for line in lines[1:] for field in line.split(delimiter)]
    commas = sum(bool(re.fullmatch(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+", field)) for field in fields)
    points = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)
    return "," if commas and not points else "."
