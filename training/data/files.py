"""Long tables, with one row for each timestep: which columns mean what, and their numbers as arrays."""

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data import textual
from training.data.categories import MOST_WORDS, Category
from training.data.growing import Growing, blocks, taken
from training.data.sources import Opened, Progress
from training.data.textual import is_number
from training.data.times import times as times_of

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST = float(np.finfo(np.float32).max)
NAMED = 12  # columns that an error names


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; empty: there is none."""

    features: tuple[str, ...]
    targets: tuple[str, ...] = ()
    time: str = ""
    group: str = ""
    labels: bool = False  # whether the one target names classes
    time_format: str = ""  # how times are written; empty: as they are recognized
    categories: tuple[str, ...] = ()  # texts that are inputs

    def all(self) -> list[str]:
        """Every column once."""
        return list(dict.fromkeys(name for name in self._named() if name))

    def _named(self) -> tuple[str, ...]:
        return *self.features, *self.categories, *self.targets, self.time, self.group


def check(
    found: "pa.Schema",
    *,
    time: str = "",
    group: str = "",
    targets: Sequence[str] = (),
    features: Sequence[str] = (),
    future: Sequence[str] = (),
    categorical: Sequence[str] = (),
    static: Sequence[str] = (),
) -> None:
    """Raises InvalidArgumentError for columns that are not there, and for features that are not numbers."""
    numbers = [("features", name) for name in features] + [("future", name) for name in future]
    texts = [("categorical", name) for name in categorical] + [("static", name) for name in static]  # or numbers
    others = [("target", name) for name in targets] + texts
    for option, name in (("time", time), ("group", group), *others, *numbers):
        if name and name not in found.names:
            near = difflib.get_close_matches(name, found.names, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {listed(found.names)}"
            raise InvalidArgumentError(f"{option}: there is no column {name!r}{hint}", field=option)
    for option, name in numbers:
        if not _is_numeric(found, name):
            kind = found.field(name).type
            if spoiler := textual.spoiler(found, name):
                raise InvalidArgumentError(f"{option}: column {name!r} holds numbers, but {spoiler}", field=option)
            what = "text, or numbers and text" if str(kind) in {"string", "large_string"} else str(kind)
            hint = "; --categorical takes text" if what != str(kind) else ""
            raise InvalidArgumentError(f"{option}: column {name!r} holds {what}; expected numbers{hint}", field=option)


def numeric(found: "pa.Schema", without: Collection[str]) -> tuple[str, ...]:
    """The columns that hold numbers, without some.

    Raises InvalidArgumentError where none is left, and for a column of numbers that a value spoils.
    """
    for name in found.names:
        if name not in without and (spoiler := textual.spoiler(found, name)):
            raise InvalidArgumentError(
                f"features: column {name!r} holds numbers, but {spoiler}; to leave the column out, name the "
                "others in --features",
                field="features",
            )
    chosen = tuple(name for name in found.names if name not in without and _is_numeric(found, name))
    if not chosen:
        raise InvalidArgumentError("features: no column is left that holds numbers", field="features")
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


def batches(table: Opened, columns: Columns, progress: Progress) -> Iterator["pa.RecordBatch"]:
    """The chosen columns, batch by batch: features and a numeric target as float64, group and labels as text.

    Raises InvalidArgumentError that names the column for what is no number where one is expected.
    """
    import pyarrow as pa

    texts = {columns.group, *columns.categories, *(columns.targets if columns.labels else ())} - {""}
    if columns.time_format and not (table.typed and pa.types.is_temporal(table.schema.field(columns.time).type)):
        texts.add(columns.time)
    numbers = {*columns.features, *columns.targets} - texts - {columns.time, columns.group}
    kinds = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(texts, pa.string())
    return table.batches(columns.all(), kinds, progress)


@dataclass
class Table:
    """A whole table, in the order of the file. Its arrays may be longer than memory; see `training.data.growing`."""

    columns: Columns
    features: npt.NDArray[np.float32]  # (rows, features), NaN where there is nothing
    target: npt.NDArray[Any]  # (rows,) or, of several, (rows, targets); places in `classes` if there are any, or -1
    classes: tuple[str, ...]
    times: npt.NDArray[Any] | None  # (rows,) numbers or datetime64
    groups: npt.NDArray[np.int32] | None  # (rows,) places in `group_names`
    group_names: tuple[str, ...]
    categories: dict[str, Category]  # by column

    def keep(self, rows: npt.NDArray[Any]) -> None:
        """Some rows only, or in another order."""
        self.features, self.target = taken(self.features, rows), taken(self.target, rows)
        self.times = None if self.times is None else taken(self.times, rows)
        self.groups = None if self.groups is None else taken(self.groups, rows)
        self.categories = {name: replace(one, codes=taken(one.codes, rows)) for name, one in self.categories.items()}


def read(source: Opened, columns: Columns, progress: Progress) -> Table:
    """A whole table, with no more than its numbers. Raises InvalidArgumentError, OSError."""
    import pyarrow as pa

    features, targets, times, groups = Growing(), Growing(), Growing(), Growing()
    classes, names = Codes(), Codes()
    texts = {name: Codes() for name in columns.categories}
    codes = {name: Growing() for name in texts}
    for batch in batches(source, columns, progress):
        features.append(matrix(batch, columns.features))
        if columns.labels:
            targets.append(classes.of(batch.column(columns.targets[0])))
        elif columns.targets:
            each = [single(batch.column(name), name) for name in columns.targets]
            targets.append(each[0] if len(each) == 1 else np.stack(each, axis=1))
        for name, known in texts.items():
            codes[name].append(known.of(batch.column(name)))
            if len(known.places) > MOST_WORDS:
                raise InvalidArgumentError(
                    f"categorical: column {name!r} has more than {MOST_WORDS} different texts", field="categorical"
                )
        if columns.time:
            column = batch.column(columns.time)
            times.append(times_of(column, columns.time, len(times), source.place, columns.time_format))
        if columns.group:
            series = names.of(batch.column(columns.group))
            if (series < 0).any():
                raise InvalidArgumentError(f"group: column {columns.group!r} has rows without a value", field="group")
            groups.append(series)
    pa.default_memory_pool().release_unused()  # of long tables Arrow keeps hundreds of megabytes otherwise
    if not len(features):
        raise InvalidArgumentError(f"data: {source.name} has no rows", field="data")
    target = targets.array()
    ordered: tuple[str, ...] = ()
    if columns.labels:
        ordered, places = classes.ordered(columns.targets[0])
        places = np.append(places, np.int32(-1))
        for rows in blocks(len(target)):
            target[rows] = places[target[rows]]
    return Table(
        columns,
        features.array(),
        target,
        ordered,
        times.array() if len(times) else None,
        groups.array() if len(groups) else None,
        tuple(names.places),
        {name: Category.of(codes[name].array(), tuple(known.places)) for name, known in texts.items()},
    )


def distinct(source: Opened, name: str, like: float) -> tuple[float, float]:
    """The least and the greatest of a column's numbers that are `like` in single precision; reads the file again."""
    least, greatest = np.inf, -np.inf
    for batch in batches(source, Columns((name,)), lambda *_: None):
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


def _is_numeric(found: "pa.Schema", name: str) -> bool:
    from pyarrow import types

    kind = found.field(name).type
    return any(f(kind) for f in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))


def listed(names: Sequence[str]) -> str:
    """Names for an error: the first ones, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
