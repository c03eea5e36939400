"""Cleaning of a table: order, gaps and missing values, as the options ask."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data import files
from training.data.windows import Array, Ints
from training.options import Source

EVEN = 1.5  # times the usual step that two times may be apart


def sort(table: files.Table, note: Callable[[str], None]) -> None:
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


def usual_step(times: npt.NDArray[Any] | None, segments: Ints) -> float:
    """The median distance of two times of a series, in seconds where they are dates; 0 where there is none."""
    if times is None:
        return 0.0
    same = segments[1:] == segments[:-1]
    return float(np.median(_steps(times)[same])) if same.any() else 0.0


def is_uneven(times: npt.NDArray[Any], usual: float) -> npt.NDArray[np.bool_]:
    """Between which neighbours, (rows - 1,), the distance is not about the usual one."""
    steps = _steps(times)
    uneven: npt.NDArray[np.bool_] = (steps > EVEN * usual) | (steps < usual / EVEN)
    return uneven


def _steps(times: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    steps = np.diff(times)
    steps = steps / np.timedelta64(1, "s") if steps.dtype.kind == "m" else steps
    return steps.astype(np.float64)


def split_at_gaps(table: files.Table, segments: Ints, source: Source, note: Callable[[str], None]) -> Ints:
    """Finds uneven times, and gives the segments of rows that follow each other."""
    if table.times is None:
        return segments
    same = segments[1:] == segments[:-1]
    usual = usual_step(table.times, segments)
    uneven = same & is_uneven(table.times, usual)
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


def fill(
    table: files.Table, segments: Ints, parts: npt.NDArray[np.int8], source: Source, note: Callable[[str], None]
) -> tuple[npt.NDArray[np.bool_], Ints, npt.NDArray[np.bool_]]:
    """Treats missing values as asked, in place.

    Gives which targets were there (what was not is never a target), segments, and which rows to keep.
    """
    columns = table.columns
    empty = np.isnan(table.features)
    rows = len(table.target)
    there = (table.target >= 0 if columns.labels else np.isfinite(table.target)).reshape(rows, -1)  # (rows, targets)
    observed: npt.NDArray[np.bool_] = np.logical_and.reduce(there, axis=1)
    counts = dict(zip(columns.features, np.count_nonzero(empty, axis=0).tolist(), strict=True))
    counts |= dict(zip(columns.targets, np.count_nonzero(~there, axis=0).tolist(), strict=True))
    listed = ", ".join(f"{name!r} in {count} of {rows} rows" for name, count in counts.items() if count)
    kept: npt.NDArray[np.bool_] = np.ones(rows, bool)
    if not listed:
        return observed, segments, kept
    if source.missing == "error":
        raise InvalidArgumentError(
            f"missing: no value for {listed}; choose --missing drop, ffill or interpolate", field="missing"
        )
    bad = empty.any(axis=1)
    if source.missing == "drop":
        kept = np.logical_not(bad) & observed
        note(f"no value for {listed}: {np.count_nonzero(~kept)} rows left out, and no window spans them")
    else:
        starts = np.flatnonzero(np.concatenate([[True], segments[1:] != segments[:-1]]))
        for i in np.flatnonzero(empty.any(axis=0)):
            column = table.features[:, i]
            if source.missing == "interpolate":
                _interpolate(column, empty[:, i], segments, parts, table.times)
            forward_fill(column, starts)
        kept = np.logical_and.reduce(np.isfinite(table.features), axis=1)
        how = "the value before" if source.missing == "ffill" else (
            "interpolated for training; the value before where held out, since nobody knows the next one there"
        )  # fmt: skip
        note(f"no value for {listed}: {how}; what was missing is never a target")
    if not kept.all():
        segments = _numbered(segments, ~kept[:-1] | ~kept[1:])
    return observed, segments, kept


def forward_fill(column: Array, starts: npt.NDArray[np.int64]) -> None:
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
