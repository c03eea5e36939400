"""Long tables in CSV and Parquet files, read in batches with Arrow: one row for each timestep."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data import dialect, textual
from training.data.textual import is_number
from training.data.times import times as times_of

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 4 * 1024 * 1024  # bytes of a CSV file that are read at once, and from whose first ones types are inferred
ROWS = 65536  # of a Parquet file that are read at once
LARGEST = float(np.finfo(np.float32).max)
NAMED = 12  # columns that an error names

Progress = Callable[[int, int], None]  # done, of so many


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; empty: there is none."""

    features: tuple[str, ...]
    targets: tuple[str, ...] = ()
    time: str = ""
    group: str = ""
    labels: bool = False  # whether the one target names classes

    def all(self) -> list[str]:
        """Every column once."""
        return list(dict.fromkeys(name for name in (*self.features, *self.targets, self.time, self.group) if name))


def schema(path: Path) -> "pa.Schema":
    """Names and types of the columns, as the beginning of a file has them. Raises InvalidArgumentError, OSError."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    with _arrow_errors(path):
        if _is_parquet(path):
            return _checked(parquet.read_schema(path))
        how = dialect.find(path)
        convert = csv.ConvertOptions(decimal_point=how.decimal)
        with (
            dialect.opened(path, how) as file,
            csv.open_csv(file, convert_options=convert, **how.options(BLOCK)) as reader,
        ):
            found = _checked(reader.schema)
            try:
                first = reader.read_next_batch()
            except StopIteration:
                return found
            return pa.schema(
                [textual.looked_at(field, column, how) for field, column in zip(found, first, strict=True)]
            )


def _checked(found: "pa.Schema") -> "pa.Schema":
    """Raises InvalidArgumentError where two columns have one name."""
    twice = next((name for name in found.names if found.names.count(name) > 1), None)
    if twice is not None:
        raise InvalidArgumentError(f"data: there are two columns {twice!r}; rename one", field="data")
    return found


def check(found: "pa.Schema", *, time: str, group: str, targets: Sequence[str], features: Sequence[str]) -> None:
    """Raises InvalidArgumentError for columns that are not there, and for features that are not numbers."""
    named = [("time", time), ("group", group), *(("target", t) for t in targets), *(("features", f) for f in features)]
    for option, name in named:
        if name and name not in found.names:
            near = difflib.get_close_matches(name, found.names, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {listed(found.names)}"
            raise InvalidArgumentError(f"{option}: there is no column {name!r}{hint}", field=option)
    for name in features:
        if not _is_numeric(found, name):
            kind = found.field(name).type
            if spoiler := textual.spoiler(found, name):
                raise InvalidArgumentError(f"features: column {name!r} holds numbers, but {spoiler}", field="features")
            what = "text, or numbers and text" if str(kind) in {"string", "large_string"} else str(kind)
            raise InvalidArgumentError(f"features: column {name!r} holds {what}; expected numbers", field="features")


def numeric(found: "pa.Schema", without: Collection[str]) -> tuple[str, ...]:
    """The columns that hold numbers, without some. Raises InvalidArgumentError where none is left."""
    chosen = tuple(name for name in found.names if name not in without and _is_numeric(found, name))
    if not chosen:
        spoiled = [
            f"{name!r} does but for {textual.spoiler(found, name)}"
            for name in found.names
            if textual.spoiler(found, name)
        ]
        why = f": {'; '.join(spoiled[:3])}" if spoiled else ""
        raise InvalidArgumentError(f"features: no column is left that holds numbers{why}", field="features")
    return chosen


def names_classes(found: "pa.Schema", target: str) -> bool:
    """Whether a column is text or truth values, so that its values are classes and not numbers."""
    from pyarrow import types

    kind = found.field(target).type
    if spoiler := textual.spoiler(found, target):
        raise InvalidArgumentError(f"target: column {target!r} holds numbers, but {spoiler}", field="target")
    if types.is_temporal(kind):
        raise InvalidArgumentError(f"target: column {target!r} holds times, not numbers or classes", field="target")
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
                or types.is_dictionary(kind))  # fmt: skip


def batches(path: Path, found: "pa.Schema", columns: Columns, progress: Progress) -> Iterator["pa.RecordBatch"]:
    """The chosen columns, batch by batch: features and a numeric target as float64, group and labels as text.

    Raises InvalidArgumentError that names the column for what is no number where one is expected.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    wanted = columns.all()
    texts = {columns.group, *(columns.targets if columns.labels else ())} - {""}
    numbers = {*columns.features, *columns.targets} - texts - {columns.time, columns.group}
    marked = {name for name in numbers if textual.marked(found, name)}
    flags = {name for name in numbers if pa.types.is_boolean(found.field(name).type)}
    kinds = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(texts, pa.string())
    with _arrow_errors(path, found):
        if _is_parquet(path):
            with parquet.ParquetFile(path) as file:
                done, total = 0, file.metadata.num_rows
                for batch in file.iter_batches(ROWS, columns=wanted):
                    done += batch.num_rows
                    progress(done, total)
                    yield _cast(batch, kinds)
            return
        how = dialect.find(path)
        given = {name: pa.string() if name in marked else kind for name, kind in kinds.items() if name not in flags}
        options = csv.ConvertOptions(
            include_columns=wanted, column_types=given, strings_can_be_null=True, decimal_point=how.decimal
        )
        total = path.stat().st_size
        with (
            dialect.opened(path, how) as raw,
            csv.open_csv(raw, convert_options=options, **how.options(BLOCK)) as reader,
        ):
            for batch in reader:
                progress(total if how.compressed else min(raw.tell(), total), total)
                yield _cast(textual.unmarked(batch, marked, how), kinds)


@dataclass
class Table:
    """A whole table in memory, in the order of the file."""

    columns: Columns
    features: npt.NDArray[np.float32]  # (rows, features), NaN where there is nothing
    target: npt.NDArray[Any]  # (rows,) or, of several, (rows, targets); places in `classes` if there are any, or -1
    classes: tuple[str, ...]
    times: npt.NDArray[Any] | None  # (rows,) numbers or datetime64
    groups: npt.NDArray[np.int32] | None  # (rows,) places in `group_names`
    group_names: tuple[str, ...]


def read(path: Path, found: "pa.Schema", columns: Columns, progress: Progress) -> Table:
    """A table in memory, with no more than its numbers. Raises InvalidArgumentError, OSError."""
    features: list[npt.NDArray[np.float32]] = []
    targets: list[npt.NDArray[Any]] = []
    times: list[npt.NDArray[Any]] = []
    groups: list[npt.NDArray[np.int32]] = []
    classes, names = Codes(), Codes()
    for batch in batches(path, found, columns, progress):
        features.append(matrix(batch, columns.features))
        if columns.labels:
            targets.append(classes.of(batch.column(columns.targets[0])))
        elif columns.targets:
            each = [single(batch.column(name), name) for name in columns.targets]
            targets.append(each[0] if len(each) == 1 else np.stack(each, axis=1))
        if columns.time:
            times.append(times_of(batch.column(columns.time), columns.time, sum(map(len, times))))
        if columns.group:
            codes = names.of(batch.column(columns.group))
            if (codes < 0).any():
                raise InvalidArgumentError(f"group: column {columns.group!r} has rows without a value", field="group")
            groups.append(codes)
    if not sum(map(len, features)):
        raise InvalidArgumentError(f"data: {path.name} has no rows", field="data")
    target = _joined(targets)
    ordered: tuple[str, ...] = ()
    if columns.labels:
        ordered, places = classes.ordered(columns.targets[0])
        target = np.append(places, np.int32(-1))[target]
    return Table(
        columns,
        _joined(features),
        target.astype(np.int32 if columns.labels else np.float32, copy=False),
        ordered,
        _joined(times) if times else None,
        _joined(groups) if groups else None,
        tuple(names.places),
    )


def distinct(path: Path, name: str, like: float) -> tuple[float, float]:
    """The least and the greatest of a column's numbers that are `like` in single precision; reads the file again."""
    least, greatest = np.inf, -np.inf
    for batch in batches(path, schema(path), Columns((name,)), lambda *_: None):
        values = batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        values = values[values.astype(np.float32) == np.float32(like)]
        if len(values):
            least, greatest = min(least, float(values.min())), max(greatest, float(values.max()))
    return least, greatest


class Codes:
    """Texts as numbers, in the order in which they appear."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def of(self, column: Any) -> npt.NDArray[np.int32]:
        """The numbers of a column of texts; -1 where there is none."""
        encoded = column.dictionary_encode()
        lookup = [self.places.setdefault(text, len(self.places)) for text in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(len(lookup)).to_numpy(zero_copy_only=False)
        numbers: npt.NDArray[np.int32] = np.array([*lookup, -1], np.int32)[codes]
        return numbers

    def ordered(self, name: str) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """The texts in order, numbers by value, and the place of each in it.

        Raises InvalidArgumentError where some are numbers and some are not.
        """
        words = [text for text in self.places if not is_number(text)]
        if words and len(words) < len(self.places):
            raise InvalidArgumentError(
                f"target: column {name!r} mixes numbers and text, {words[0][:40]!r} for instance", field="target"
            )
        texts = sorted(self.places) if words else sorted(self.places, key=float)
        places = np.empty(len(texts), np.int32)
        places[[self.places[text] for text in texts]] = np.arange(len(texts))
        return tuple(texts), places


def matrix(batch: "pa.RecordBatch", names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Columns of a batch side by side, (rows, columns); NaN where there is no finite number."""
    made = np.empty((batch.num_rows, len(names)), np.float32)
    for i, name in enumerate(names):
        made[:, i] = single(batch.column(name), name)
    made[~np.isfinite(made)] = np.nan
    return made


def single(column: Any, name: str) -> npt.NDArray[np.float32]:
    """A column in single precision, in which networks compute.

    Raises InvalidArgumentError for a finite number that is too large for it.
    """
    values = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    check_range(values, name)
    made: npt.NDArray[np.float32] = values.astype(np.float32)
    return made


def check_range(values: npt.NDArray[np.float64], name: str) -> None:
    """Raises InvalidArgumentError for a finite number that single precision does not hold."""
    large = (np.abs(values) > LARGEST) & np.isfinite(values)
    if large.any():
        raise InvalidArgumentError(
            f"data: column {name!r} has the value {values[large][0]:g}; networks compute in float32, which ends at "
            f"{LARGEST:.3g}: divide the column by a constant",
            field="data",
        )


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays after each other; each is let go once it is copied."""
    if not parts:
        return np.empty(0, np.float32)
    made = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    at = 0
    for i, part in enumerate(parts):
        made[at : at + len(part)] = part
        at += len(part)
        parts[i] = part[:0].copy()
    return made


def _cast(batch: "pa.RecordBatch", kinds: dict[str, Any]) -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pc.cast(column, kinds[name], safe=False) if kinds.get(name, column.type) != column.type else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _is_numeric(found: "pa.Schema", name: str) -> bool:
    from pyarrow import types

    kind = found.field(name).type
    return any(f(kind) for f in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in {".parquet", ".pq"}


def listed(names: Sequence[str]) -> str:
    """Names for an error: the first ones, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


class _arrow_errors:  # noqa: N801 - used as a context manager, like contextlib.suppress
    """Turns what Arrow says of a file into one line that names the column."""

    def __init__(self, path: Path, found: "pa.Schema | None" = None) -> None:
        self._path, self._found = path, found

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises InvalidArgumentError for what Arrow raised."""
        import pyarrow as pa

        if not isinstance(error, pa.ArrowException) or isinstance(error, OSError):
            return
        text = " ".join(str(error).split())
        if self._found is not None and (
            match := re.search(
                r"column #(\d+): (?:Row #(\d+): )?CSV conversion error to \S+ invalid value '(.*)'", text
            )
        ):
            name = self._found.names[int(match[1])]
            where = f" in line {match[2]}" if match[2] else ""
            raise InvalidArgumentError(
                f"data: column {name!r} mixes types: expected numbers, got {match[3][:40]!r}{where}", field="data"
            ) from error
        raise InvalidArgumentError(f"data: {self._path.name} cannot be read: {text[:300]}", field="data") from error
