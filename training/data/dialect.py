"""How a CSV file is written: its encoding, compression, delimiter, and the marks within its numbers.

What is not given is found from the beginning of the file, and only where there is no doubt; else it is as in English.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from training.options import Format

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

LOOKED_AT = 256 * 1024  # bytes
DELIMITERS = (",", ";", "\t", "|")
GZIP = b"\x1f\x8b"
SPACES = " '\u00a0\u2009\u202f\u2019"  # between thousands: spaces, and the apostrophes of Switzerland
LINES = 20  # from which the delimiter is found


@dataclass(frozen=True)
class Dialect:
    """What a reader of a CSV file has to know."""

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf8"
    compressed: bool = False
    newlines: bool = False  # whether a value in quotes spans lines
    given: bool = field(default=False, compare=False)  # whether somebody said which mark is the decimal one
    proven: bool = field(default=False, compare=False)  # whether a number was found that has no other reading

    @property
    def thousands(self) -> str:
        """The marks of which one may stand between the thousands of a number."""
        return self.other.decimal + SPACES

    @property
    def other(self) -> "Dialect":
        """The same with the other decimal mark."""
        return replace(self, decimal="." if self.decimal == "," else ",")

    def number(self) -> re.Pattern[str]:
        """What a number with marks between its thousands looks like. No thousands begin with 0: 0,143 is a fraction."""
        marks, point = re.escape(self.thousands), re.escape(self.decimal)
        return re.compile(rf"[-+]?([1-9]\d{{0,2}}([{marks}])\d{{3}}(\2\d{{3}})*|\d+)({point}\d*)?")

    def options(self, block: int) -> dict[str, Any]:
        """As Arrow's options for reading CSV."""
        from pyarrow.csv import ParseOptions, ReadOptions

        return {
            "read_options": ReadOptions(block_size=block, encoding=self.encoding),
            "parse_options": ParseOptions(delimiter=self.delimiter, newlines_in_values=self.newlines),
        }


def find(system: "fs.FileSystem", path: str, given: Format) -> Dialect:
    """The dialect of a file, as far as it is not given. Raises OSError for what cannot be opened or decompressed."""
    with system.open_input_stream(path, compression=None) as file:
        compressed = file.read(2) == GZIP
    with system.open_input_stream(path, compression="gzip" if compressed else None) as file:
        head = file.read(LOOKED_AT)
    text, encoding = _decoded(head)
    whole = re.sub(r'(?<![^,;\t|\n])"(?:[^"]|"")*"', lambda quoted: quoted[0].replace("\n", " "), text)
    lines = [line for line in whole.splitlines()[: LINES + 1] if line.strip()][:LINES]
    delimiter = given.delimiter or _delimiter(lines)
    fields = [field.strip() for row in csv.reader(lines[1:], delimiter=delimiter) for field in row]
    made = Dialect(
        delimiter,
        given.decimal or _decimal(fields, delimiter),
        encoding,
        compressed,
        newlines=whole.count("\n") < text.count("\n"),
        given=bool(given.decimal),
    )
    ours, theirs = made.number(), made.other.number()
    return replace(made, proven=any(ours.fullmatch(text) and not theirs.fullmatch(text) for text in fields))


def opened(system: "fs.FileSystem", path: str, dialect: Dialect) -> "pa.NativeFile":
    """The bytes of a file, decompressed; what is not compressed says where it is."""
    return system.open_input_stream(path, compression="gzip") if dialect.compressed else system.open_input_file(path)


def records(system: "fs.FileSystem", path: str, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The values of the header and of each row, with the line where it begins. Slow: it is for what errors say."""
    encoding = "utf-8-sig" if dialect.encoding == "utf8" else dialect.encoding
    with (
        opened(system, path, dialect) as raw,
        io.TextIOWrapper(io.BufferedReader(raw), encoding, errors="replace", newline="") as text,
    ):
        reader, line = csv.reader(text, delimiter=dialect.delimiter), 1
        for values in reader:
            if values:  # an empty line is no row
                yield line, values
            line = reader.line_num + 1


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


def _decimal(fields: list[str], delimiter: str) -> str:
    """A comma where numbers have one and none has a point as its decimal mark.

    Between commas a number is quoted, and three digits after its comma could as well be thousands.
    """
    whole = rf"(\d{{1,3}}([.{SPACES}]\d{{3}})+|\d+)"
    commas = [field for field in fields if re.fullmatch(rf"[-+]?{whole},\d+", field)]
    if delimiter == "," and all(re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+", field) for field in commas):
        return "."
    points = any(re.fullmatch(r"[-+]?\d+\.\d+", field) for field in fields)
    return "," if commas and not points else "."
