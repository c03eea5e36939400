"""Where tables lie: in a file, in a folder of files, or behind a URI; opened, and read batch by batch with Arrow.

CSV files are read in the dialect they are written in. Parquet and Arrow files, and folders of them with partitions in
Hive's manner (`well=A/…`), are read by `pyarrow.dataset`.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from service.errors import InvalidArgumentError
from training.data import dialect, textual
from training.options import Format

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import dataset as ds
    from pyarrow import fs

BLOCK = 4 * 1024 * 1024  # bytes of a CSV file that are read at once, and from whose first ones types are inferred
ROWS = 65536  # of other files that are read at once
AHEAD = 2  # batches that are read before they are asked for
DATASETS = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".ipc": "ipc", ".feather": "feather", ".orc": "orc"
}  # fmt: skip
CREDENTIALS = "S3's credentials are read from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …)"

Progress = Callable[[int, int], None]  # done, of so many


class Opened(Protocol):
    """A table that is open for reading."""

    name: str
    schema: "pa.Schema"
    typed: bool  # whether the file says what type a column has; else that is found from its beginning

    def batches(
        self, wanted: Sequence[str], kinds: Mapping[str, Any], progress: Progress
    ) -> Iterator["pa.RecordBatch"]:
        """The `wanted` columns, some as the given kinds.

        Raises InvalidArgumentError that names the column for a value of another kind; OSError.
        """

    def place(self, row: int) -> str:
        """Where a row is, counted from 0: `in line 2`."""

    def digest(self) -> str:
        """SHA-256 of what the table consists of."""


def is_uri(where: str) -> bool:
    """Whether a place is a URI, such as s3://bucket/folder, and not a path."""
    return "://" in where


def stem(where: str) -> str:
    """The name of a place, without what stands before and after it."""
    name = Path(unquote(urlsplit(where).path) if is_uri(where) else where).name
    return Path(name.removesuffix(".gz")).stem


def suffix(where: str) -> str:
    """How the name of a place ends, in small letters."""
    return Path(urlsplit(where).path if is_uri(where) else where).suffix.lower()


def open_table(place: str | Path, how: Format) -> Opened:
    """The table at a place. Raises InvalidArgumentError for what is not there or no table, OSError."""
    from pyarrow import fs

    where = str(place)
    system, path = _located(where)
    name = Path(path).name
    with _arrow_errors(name):
        info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise InvalidArgumentError(f"data: there is no file {where}", field="data")
    if info.type == fs.FileType.Directory:
        return _Dataset(system, name, *_folder(system, path, where))
    kind = DATASETS.get(suffix(path))
    return _Dataset(system, name, kind, [path]) if kind else _Csv(system, name, path, how)


def _located(where: str) -> "tuple[fs.FileSystem, str]":
    """The file system of a place, and its path there. Raises InvalidArgumentError."""
    import pyarrow as pa
    from pyarrow import fs

    if not is_uri(where):
        return fs.LocalFileSystem(), str(Path(where).absolute())
    if "@" in urlsplit(where).netloc:
        raise InvalidArgumentError(
            f"data: a URI is recorded with the run, so it must not hold credentials; {CREDENTIALS}",
            field="data",
        )
    try:
        system, path = fs.FileSystem.from_uri(where)
    except pa.ArrowInvalid as error:
        raise InvalidArgumentError(f"data: {where} cannot be opened: {_line(error)}", field="data") from error
    return system, path


def _folder(system: "fs.FileSystem", path: str, where: str) -> tuple[str, list[str], str]:
    """The kind of the tables in a folder, their files in the order of their names, and the folder.

    Numbers in names are compared as numbers, so that month=10 follows month=9.
    """
    from pyarrow import fs

    found: dict[str, list[str]] = {}
    for info in system.get_file_info(fs.FileSelector(path, recursive=True)):
        inside = info.path[len(path) :].strip("/").split("/")
        if info.type == fs.FileType.File and not any(part.startswith(("_", ".")) for part in inside):
            found.setdefault(DATASETS.get(suffix(info.path), ""), []).append(info.path)
    kinds = sorted(set(found) - {""})
    if not kinds:
        raise InvalidArgumentError(
            f"data: the folder {where} holds no files that end in {', '.join(DATASETS)}", field="data"
        )
    if len(kinds) > 1:
        raise InvalidArgumentError(f"data: the folder {where} mixes {' and '.join(kinds)} files", field="data")
    (kind,) = kinds
    return kind, sorted(found[kind], key=_natural), path


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """A key that sorts numbers within texts as numbers."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", path)]


class _Dataset:
    """Parquet, Arrow or ORC files with the same columns."""

    typed = True

    def __init__(self, system: "fs.FileSystem", name: str, kind: str, files: list[str], folder: str = "") -> None:
        import pyarrow as pa
        from pyarrow import dataset as ds

        self.name, self._system, self._files, self._folder = name, system, files, folder
        with _arrow_errors(name):
            found = self._opened(kind)
            if len(files) > 1:  # the columns of all, as wide as the widest
                schemas = [fragment.physical_schema for fragment in found.get_fragments()]
                wide = pa.unify_schemas([*schemas, found.schema], promote_options="permissive")
                found = found if wide.equals(found.schema) else self._opened(kind, wide)
        self._dataset = found
        self.schema = _checked(found.schema)
        # Arrow keeps what it reads of a Parquet file in advance until the whole file is read.
        self._options = ds.ParquetFragmentScanOptions(pre_buffer=False) if kind == "parquet" else None

    def _opened(self, kind: str, schema: "pa.Schema | None" = None) -> "ds.Dataset":
        """The files as one table; without a schema it has the columns of the first."""
        from pyarrow import dataset as ds

        return ds.dataset(
            self._files, schema, format=kind, filesystem=self._system, partition_base_dir=self._folder or None,
            partitioning=ds.partitioning(flavor="hive") if self._folder else None,
        )  # fmt: skip

    def batches(
        self, wanted: Sequence[str], kinds: Mapping[str, Any], progress: Progress
    ) -> Iterator["pa.RecordBatch"]:
        """Batches in the order of the files."""
        with _arrow_errors(self.name):
            done, total = 0, self._dataset.count_rows()
            scanner = self._dataset.scanner(
                columns=list(wanted), batch_size=ROWS, batch_readahead=AHEAD, fragment_readahead=1,
                fragment_scan_options=self._options,
            )  # fmt: skip
            for batch in scanner.to_batches():
                for begin in range(0, batch.num_rows, ROWS):  # some formats give theirs as they are
                    piece = batch.slice(begin, ROWS)
                    done += piece.num_rows
                    progress(done, total)
                    yield _cast(piece, kinds)

    def place(self, row: int) -> str:
        """These files have no lines."""
        return f"in row {row + 1}"

    def digest(self) -> str:
        """Of a file its own; of several that of their names below the folder and their digests."""
        digests = [_digest(self._system, path) for path in self._files]
        if not self._folder:
            return digests[0]
        names = [path[len(self._folder) :].strip("/") for path in self._files]
        listed = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
        return hashlib.sha256(listed.encode()).hexdigest()


class _Csv:
    """A CSV file."""

    typed = False

    def __init__(self, system: "fs.FileSystem", name: str, path: str, how: Format) -> None:
        self.name, self._system, self._path = name, system, path
        with _arrow_errors(name):
            self._dialect = dialect.find(system, path, how)
            with self._csv_errors():
                self.schema = self._schema()

    def _schema(self) -> "pa.Schema":
        """Names and types of the columns, as the beginning of the file has them."""
        import pyarrow as pa
        from pyarrow import csv

        how = self._dialect
        convert = csv.ConvertOptions(decimal_point=how.decimal)
        with (
            dialect.opened(self._system, self._path, how) as file,
            csv.open_csv(file, convert_options=convert, **how.options(BLOCK)) as reader,
        ):
            found = _checked(reader.schema)
            try:
                first = reader.read_next_batch()
            except StopIteration:
                raise InvalidArgumentError(
                    f"data: {self.name} has no rows, only the names of columns", field="data"
                ) from None
            return pa.schema(
                [textual.looked_at(field, column, how, self.place) for field, column in zip(found, first, strict=True)]
            )

    def batches(
        self, wanted: Sequence[str], kinds: Mapping[str, Any], progress: Progress
    ) -> Iterator["pa.RecordBatch"]:
        """Batches in the order of the file; numbers that are written as text become numbers."""
        import pyarrow as pa
        from pyarrow import csv

        how, found = self._dialect, self.schema
        numbers = {name for name, kind in kinds.items() if not pa.types.is_string(kind)}
        marked = {name for name in numbers if textual.marked(found, name)}
        flags = {name for name in numbers if pa.types.is_boolean(found.field(name).type)}
        given = {name: pa.string() if name in marked else kind for name, kind in kinds.items() if name not in flags}
        options = csv.ConvertOptions(
            include_columns=list(wanted), column_types=given, strings_can_be_null=True, decimal_point=how.decimal
        )
        rows = 0
        with _arrow_errors(self.name), self._csv_errors():
            total = self._system.get_file_info(self._path).size
            with (
                dialect.opened(self._system, self._path, how) as raw,
                csv.open_csv(raw, convert_options=options, **how.options(BLOCK)) as reader,
            ):
                for batch in reader:
                    progress(total if how.compressed else min(raw.tell(), total), total)
                    yield _cast(textual.unmarked(batch, marked, how, rows, self.place), kinds)
                    rows += batch.num_rows

    def place(self, row: int) -> str:
        """The line where a row begins, blank lines and those within quotes counted."""
        line, _ = next(itertools.islice(self._records(), row + 1, None), (row + 2, []))
        return f"in line {line}"

    def digest(self) -> str:
        """That of the file."""
        return _digest(self._system, self._path)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        return dialect.records(self._system, self._path, self._dialect)

    @contextmanager
    def _csv_errors(self) -> Iterator[None]:
        """Says of what Arrow cannot read what is wrong, and in which line."""
        import pyarrow as pa

        try:
            yield
        except pa.ArrowInvalid as error:
            if why := self._explained(str(error)):
                raise InvalidArgumentError(f"data: {why}", field="data") from error
            raise

    def _explained(self, text: str) -> str:
        """What Arrow says of the file, in one line with the place; empty: nobody knows better."""
        if "Empty CSV file" in text:
            return f"{self.name} is empty; expected a line with the names of the columns, and rows"
        if match := re.search(r"Expected (\d+) columns, got (\d+)", text):
            expected = int(match[1])
            line, values = next((found for found in self._records() if len(found[1]) != expected), (0, []))
            if line:
                return f"{self.name}: expected {expected} values in line {line}, as many as columns, got {len(values)}"
        if match := re.search(r"column #(\d+): .*CSV conversion error to \S+ invalid value '(.*)'", text, re.DOTALL):
            place, value = int(match[1]), match[2]
            line = next((line for line, values in self._records() if values[place : place + 1] == [value]), 0)
            where = f" in line {line}" if line else ""
            return f"column {self.schema.names[place]!r} mixes types: expected numbers, got {value[:40]!r}{where}"
        return ""


def _checked(found: "pa.Schema") -> "pa.Schema":
    """Raises InvalidArgumentError where two columns have one name."""
    twice = next((name for name in found.names if found.names.count(name) > 1), None)
    if twice is not None:
        raise InvalidArgumentError(f"data: there are two columns {twice!r}; rename one", field="data")
    return found


def _cast(batch: "pa.RecordBatch", kinds: Mapping[str, Any]) -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pc.cast(column, kinds[name], safe=False) if kinds.get(name, column.type) != column.type else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def digest(path: Path) -> str:
    """SHA-256 of a file on this machine."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(system: "fs.FileSystem", path: str) -> str:
    """SHA-256 of a file."""
    made = hashlib.sha256()
    with system.open_input_stream(path, compression=None) as file:
        while block := file.read(BLOCK):
            made.update(block)
    return made.hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def _arrow_errors(name: str) -> Iterator[None]:
    """Turns what Arrow says of a table into one line."""
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        hint = f"; {CREDENTIALS}" if "ACCESS_DENIED" in str(error) else ""
        raise OSError(f"data: {name} cannot be read: {_line(error)}{hint}") from error
    except pa.ArrowException as error:
        raise InvalidArgumentError(f"data: {name} cannot be read: {_line(error)}", field="data") from error
