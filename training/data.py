"""Training data: the reference sequences, and examples made of people's own files."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training import tables
from training.options import Source
from training.windows import Parts, Windows, parts_by_place, parts_by_time, slide

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
EVEN = 1.5  # times the usual step that two times may be apart


@dataclass(frozen=True)
class Dataset:
    """Sequences and what is to be predicted of each."""

    name: str
    inputs: Array  # (sequences, timesteps, features)
    targets: Array  # (sequences,)


def reference() -> Dataset:
    """Three short sequences that count upwards, with the targets 10, 20 and 30."""
    sequences = [[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]]
    return Dataset("reference", np.array(sequences, np.float32), np.array([10, 20, 30], np.float32))


@dataclass(frozen=True)
class Layout:
    """What a network's inputs and outputs mean; kept with the version, so that others can feed and read it."""

    features: tuple[str, ...]
    target: str
    window: int
    horizon: int
    classes: tuple[str, ...] = ()
    time: str = ""
    group: str = ""

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> "Layout":
        """From JSON."""
        found = json.loads(text)
        return Layout(**{**found, "features": tuple(found["features"]), "classes": tuple(found["classes"])})


@dataclass(frozen=True)
class Examples:
    """What a network learns from and is measured on."""

    name: str
    path: Path
    digest: str  # SHA-256 of the file
    layout: Layout
    parts: Parts
    findings: tuple[str, ...]  # what a reader of the file should know

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs; none: the targets are numbers."""
        return self.layout.classes

    @property
    def timesteps(self) -> int:
        """Timesteps of all series."""
        return len(self.parts.train.values)


def load(source: Source, progress: tables.Progress, found: Callable[[str], None]) -> Examples:
    """The examples that a file holds. `found` hears at once what a reader should know, `progress` how far reading is.

    Raises InvalidArgumentError, in one line that names the column, for what cannot be learned from; OSError.
    """
    path = Path(source.data)
    findings: list[str] = []

    def note(text: str) -> None:
        findings.append(text)
        found(text)

    if not path.is_file():
        raise InvalidArgumentError(f"data: there is no file {source.data}", field="data")
    make = _from_sequences if path.suffix.lower() == ".npz" else _from_table
    layout, parts = make(path, source, progress, note)
    for name, part in parts.named().items():
        if not len(part):
            raise InvalidArgumentError(
                f"window: no window of {layout.window} timesteps with horizon {layout.horizon} is left for {name}; "
                f"the file has {len(part.values)} timesteps, and the shares of validation and test are "
                f"{source.validation:g} and {source.test:g}",
                field="window",
            )
    _check_varied(layout, parts.train)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Examples(path.stem, path, digest, layout, parts, tuple(findings))


# Ready sequences.


def _from_sequences(
    path: Path, source: Source, progress: tables.Progress, note: Callable[[str], None]
) -> tuple[Layout, Parts]:
    del progress
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = {"x", "y"} - set(archive.files)
            if missing:
                raise InvalidArgumentError(f"data: {path.name} holds no array {min(missing)!r}", field="data")
            x, y = archive["x"], archive["y"]
    except (ValueError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(f"data: {path.name} cannot be read: {error}", field="data") from error
    if x.ndim != 3 or x.dtype.kind not in "fiub" or not x.size:
        raise InvalidArgumentError(
            f"data: x is {x.dtype} of shape {list(x.shape)}; expected numbers (sequences, timesteps, features)",
            field="data",
        )
    if y.ndim not in {1, 2} or len(y) != len(x):
        raise InvalidArgumentError(
            f"data: y has the shape {list(y.shape)}; expected ({len(x)},) or ({len(x)}, outputs)", field="data"
        )
    count, timesteps, width = x.shape
    finite = np.isfinite(x.astype(np.float32)).all(axis=(1, 2)) if x.dtype.kind == "f" else np.ones(count, bool)
    classify = source.task == "classification" or (source.task == "auto" and y.dtype.kind in "USb")
    classes: tuple[str, ...] = ()
    if classify:
        if y.ndim != 1:
            raise InvalidArgumentError(f"data: y has the shape {list(y.shape)}; classes need ({count},)", field="data")
        kinds, codes = np.unique(y, return_inverse=True)
        classes, y = tuple(str(kind) for kind in kinds), codes.astype(np.int32)[:, None]
    elif y.dtype.kind not in "fiub":
        raise InvalidArgumentError(f"task: y is {y.dtype}, which is no number; it can only be classified", field="task")
    else:
        y = y.astype(np.float32).reshape(count, -1)
        finite &= np.isfinite(y).all(axis=1)
    if not finite.all():
        text = f"{np.count_nonzero(~finite)} of {count} sequences have missing values"
        if source.missing != "drop":
            raise InvalidArgumentError(f"missing: {text}; for sequences there is --missing drop", field="missing")
        note(f"{text}: left out")
    outputs = y.shape[1]
    places = np.flatnonzero(finite)
    everything = Windows(
        np.ascontiguousarray(x, np.float32).reshape(-1, width), np.ascontiguousarray(y).reshape(-1),
        places * timesteps, places * outputs, timesteps, outputs,
    )  # fmt: skip
    part = parts_by_place(np.zeros(len(places), np.int32), source.validation, source.test)
    layout = Layout(tuple(f"x{i}" for i in range(width)), "y", timesteps, outputs, classes)
    return layout, Parts(*(everything.some(part == number) for number in range(3)))


# Tables.


def _from_table(
    path: Path, source: Source, progress: tables.Progress, note: Callable[[str], None]
) -> tuple[Layout, Parts]:
    if not source.target:
        raise InvalidArgumentError("target: which column is to be predicted?", field="target")
    if not source.window:
        raise InvalidArgumentError("window: how many timesteps shall the network see?", field="window")
    schema = tables.schema(path)
    chosen = _choose(schema, source)
    if not source.features:
        left = [name for name in schema.names if name not in chosen.all()]
        note(f"features: {', '.join(chosen.features)}" + (f"; left out: {', '.join(left)}" if left else ""))
    table = tables.read(path, schema, chosen, progress)
    _sort(table, note)
    segments = np.zeros(len(table.target), np.int32) if table.groups is None else table.groups
    series = segments
    segments = _split_at_gaps(table, segments, source, note)
    clock = table.times
    parts = (
        parts_by_place(series, source.validation, source.test)
        if clock is None
        else parts_by_time(clock, source.validation, source.test)
    )
    observed, segments, kept = _fill(table, segments, parts, source, note)
    if not kept.all():
        table.features, table.target = table.features[kept], table.target[kept]
        segments, parts, observed = segments[kept], parts[kept], observed[kept]
    if not len(segments):
        raise InvalidArgumentError("missing: every row has a missing value; nothing is left", field="missing")
    _check_length(segments, source)
    first = source.horizon
    outputs = 1
    if not chosen.labels and source.horizon:
        first, outputs = 1, source.horizon
    made = slide(
        table.features, table.target, segments, parts, observed, window=source.window, first=first, outputs=outputs
    )
    if chosen.labels:
        _check_classes(chosen.target, table.classes, made)
    layout = Layout(
        chosen.features, chosen.target, source.window, source.horizon, table.classes, source.time, source.group
    )
    return layout, made


def _choose(schema: Any, source: Source) -> tables.Columns:
    """Which columns are read, and whether the target names classes."""
    target = source.target
    tables.check(schema, time=source.time, group=source.group, target=target, features=source.features)
    text = tables.names_classes(schema, target)
    if text and source.task == "regression":
        raise InvalidArgumentError(
            f"task: column {target!r} holds text or truth values; it can only be classified", field="task"
        )
    labels = text or source.task == "classification"
    if target in source.features and (labels or source.horizon == 0):
        why = "holds the classes to find" if labels else "is the target, and with horizon 0 not known yet"
        raise InvalidArgumentError(f"features: column {target!r} {why}", field="features")
    unknown = {target} if labels or source.horizon == 0 else set()
    features = source.features or tables.numeric(schema, {source.time, source.group} | unknown)
    return tables.Columns(features, target, source.time, source.group, labels)


def _sort(table: tables.Table, note: Callable[[str], None]) -> None:
    """Puts rows in order of series and time. Raises InvalidArgumentError for a time that a series has twice."""
    keys = [key for key in (table.times, table.groups) if key is not None]
    if not keys:
        return
    ordered = np.ones(len(table.target) - 1, bool)
    for key in keys:  # the last one counts most
        ordered = (key[:-1] < key[1:]) | ((key[:-1] == key[1:]) & ordered)
    if not ordered.all():
        order = np.lexsort(keys)
        table.features, table.target = table.features[order], table.target[order]
        if table.groups is not None:
            table.groups = table.groups[order]
        if table.times is not None:
            table.times = table.times[order]
            note(f"rows were not in order of {table.columns.time!r}: sorted")
    if table.times is None:
        return
    twice = table.times[1:] == table.times[:-1]
    if table.groups is not None:
        twice &= table.groups[1:] == table.groups[:-1]
    if twice.any():
        at = int(np.argmax(twice))
        whose = f" for {table.group_names[table.groups[at]]!r}" if table.groups is not None else ""
        hint = "" if table.groups is not None else "; is there a column for --group?"
        raise InvalidArgumentError(
            f"time: column {table.columns.time!r} has {table.times[at]} more than once{whose}{hint}", field="time"
        )


def _split_at_gaps(table: tables.Table, segments: Ints, source: Source, note: Callable[[str], None]) -> Ints:
    """Finds uneven times, and gives the segments of rows that follow each other."""
    if table.times is None:
        return segments
    steps = np.diff(table.times).astype(np.float64)
    same = segments[1:] == segments[:-1]
    if not same.any():
        return segments
    usual = float(np.median(steps[same]))
    uneven = same & ((steps > EVEN * usual) | (steps < usual / EVEN))
    if not uneven.any():
        return segments
    at = int(np.argmax(uneven))
    text = (
        f"column {source.time!r} has {np.count_nonzero(uneven)} uneven steps, the first from "
        f"{table.times[at]} to {table.times[at + 1]}"
    )
    if source.gaps == "error":
        raise InvalidArgumentError(f"gaps: {text}; choose --gaps split (no window spans one) or keep", field="gaps")
    note(f"{text}: " + ("no window spans one" if source.gaps == "split" else "kept as they are"))
    return _numbered(segments, uneven) if source.gaps == "split" else segments


def _fill(
    table: tables.Table, segments: Ints, parts: npt.NDArray[np.int8], source: Source, note: Callable[[str], None]
) -> tuple[npt.NDArray[np.bool_], Ints, npt.NDArray[np.bool_]]:
    """Treats missing values as asked, in place.

    Gives which targets were there (what was not is never a target), segments, and which rows to keep.
    """
    columns = table.columns
    empty = np.isnan(table.features)
    observed = table.target >= 0 if columns.labels else np.isfinite(table.target)
    counts = dict(zip(columns.features, np.count_nonzero(empty, axis=0).tolist(), strict=True))
    counts[columns.target] = int(np.count_nonzero(~observed))
    rows = len(observed)
    told = ", ".join(f"{name!r} in {count} of {rows} rows" for name, count in counts.items() if count)
    kept: npt.NDArray[np.bool_] = np.ones(rows, bool)
    if not told:
        return observed, segments, kept
    if source.missing == "error":
        raise InvalidArgumentError(
            f"missing: no value for {told}; choose --missing drop, ffill or interpolate", field="missing"
        )
    bad = empty.any(axis=1)
    if source.missing == "drop":
        kept = np.logical_not(bad) & observed
        note(f"no value for {told}: {np.count_nonzero(~kept)} rows left out, and no window spans them")
    else:
        starts = np.flatnonzero(np.concatenate([[True], segments[1:] != segments[:-1]]))
        for i in np.flatnonzero(empty.any(axis=0)):
            column = table.features[:, i]
            if source.missing == "interpolate":
                _interpolate(column, empty[:, i], segments, parts, table.times)
            _forward_fill(column, starts)
        kept = np.logical_and.reduce(np.isfinite(table.features), axis=1)
        how = "the value before" if source.missing == "ffill" else (
            "interpolated for training; the value before where held out, since nobody knows the next one there"
        )  # fmt: skip
        note(f"no value for {told}: {how}; what was missing is never a target")
    if not kept.all():
        segments = _numbered(segments, ~kept[:-1] | ~kept[1:])
    return observed, segments, kept


def _forward_fill(column: Array, starts: npt.NDArray[np.int64]) -> None:
    """The last value before, within a segment; what has none stays missing."""
    places = np.where(np.isnan(column), -1, np.arange(len(column)))
    first = np.zeros(len(column), np.int64)
    first[starts] = starts
    first = np.maximum.accumulate(first)
    last = np.maximum.accumulate(places)
    known = last >= first
    column[known] = column[last[known]]


def _interpolate(
    column: Array, empty: npt.NDArray[np.bool_], segments: Ints, parts: npt.NDArray[np.int8], times: Any
) -> None:
    """Linear between the values around, in the training part and within it only."""
    clock = np.arange(len(column), dtype=np.float64) if times is None else (times - times.min()).astype(np.float64)
    for segment in np.unique(segments[empty & (parts == 0)]):
        rows = np.flatnonzero((segments == segment) & (parts == 0))
        there = rows[~empty[rows]]
        if len(there):
            gone = rows[empty[rows] & (rows > there[0]) & (rows < there[-1])]
            column[gone] = np.interp(clock[gone], clock[there], column[there])


def _numbered(segments: Ints, breaks: npt.NDArray[np.bool_]) -> Ints:
    """Segments, newly numbered, with more breaks; `breaks[i]` is one between rows i and i + 1."""
    changed = (segments[1:] != segments[:-1]) | breaks
    return np.concatenate([[0], np.cumsum(changed)]).astype(np.int32)


# What cannot be learned from.


def _check_length(segments: Ints, source: Source) -> None:
    longest = int(np.diff(np.flatnonzero(np.concatenate([[True], segments[1:] != segments[:-1], [True]]))).max())
    needed = source.window + source.horizon
    if longest < needed:
        raise InvalidArgumentError(
            f"window: {source.window} timesteps and horizon {source.horizon} need {needed} rows in a row; "
            f"the longest series without a gap has {longest}",
            field="window",
        )


def _check_classes(target: str, classes: Sequence[str], parts: Parts) -> None:
    known = np.unique(parts.train.expected()) if len(parts.train) else np.empty(0)
    if 0 < len(known) < 2:
        raise InvalidArgumentError(
            f"target: column {target!r} is always {classes[int(known[0])]!r} in the part to train on", field="target"
        )


def _check_varied(layout: Layout, train: Windows) -> None:
    """Raises InvalidArgumentError for a feature or target that says nothing in the part to train on."""
    rows = train.rows()
    for i, name in enumerate(layout.features):
        column = train.values[rows, i]
        if (column == column[0]).all():
            raise InvalidArgumentError(
                f"features: column {name!r} is constant ({column[0]:g}) in the part to train on; leave it out",
                field="features",
            )
    if not layout.classes:
        first = train.targets[train.target_starts[0]]
        if (train.targets[train.target_starts] == first).all():
            raise InvalidArgumentError(
                f"target: column {layout.target!r} is constant ({first:g}) in the part to train on", field="target"
            )
