"""Cleaning of a table: order, gaps and missing values, as the options ask."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data import files, times
from training.data.growing import Growing, blocks, pairs, release
from training.data.windows import Array, Ints
from training.options import Source

SAMPLED = 1_000_000  # pairs of neighbours that the usual step is taken from, at most
EVEN = 1.5  # times the usual step that two times may be apart


def sort(table: files.Table, duplicates: str, note: Callable[[str], None]) -> None:
    """Puts rows in order of series and time, and makes one of the rows of one time in a series, as asked.

    Raises InvalidArgumentError for a time that a series has twice, unless the mean or the last one is asked for.
    """
    keys = [key for key in (table.times, table.groups) if key is not None]
    if not keys:
        return
    if not _in_order(keys):
        table.keep(np.lexsort(keys))
        if table.times is not None:
            note(f"rows were not in order of {table.columns.time!r}: sorted")
    if table.times is None:
        return
    twice = _repeated(table.times, table.groups)
    if not twice.any():
        return
    at, count = int(np.argmax(twice)), int(np.count_nonzero(twice))
    whose = f" for {table.group_names[table.groups[at]]!r}" if table.groups is not None else ""
    first = f"column {table.columns.time!r} has {times.text(table.times[at])} more than once{whose}"
    if duplicates == "error":
        hint = "choose --duplicates mean or last"
        if table.groups is None:
            hint = f"if a column tells series apart, name it in --group; else {hint}"
        raise InvalidArgumentError(f"time: {first}; {hint}", field="time")
    if duplicates == "mean" and table.columns.labels:
        raise InvalidArgumentError(
            f"duplicates: {first}, and classes have no mean; choose --duplicates last", field="duplicates"
        )
    if duplicates == "mean":
        _average(table, twice)
    table.keep(~np.append(twice, False))
    used = "their mean is used" if duplicates == "mean" else "the last one is used"
    note(f"{first}; {count} such row{'' if count == 1 else 's'}: {used}")


def _in_order(keys: list[npt.NDArray[Any]]) -> bool:
    """Whether rows are in order of some keys, of which the last one counts most."""
    for _, rows in pairs(len(keys[0])):
        ordered = np.ones(rows.stop - rows.start - 1, bool)
        for key in keys:
            before, after = key[rows][:-1], key[rows][1:]
            ordered = (before < after) | ((before == after) & ordered)
        release(*keys)
        if not ordered.all():
            return False
    return True


def _repeated(times: npt.NDArray[Any], groups: Ints | None) -> npt.NDArray[np.bool_]:
    """Which rows are followed by one of the same time and series, (rows - 1,)."""
    twice = np.empty(max(0, len(times) - 1), bool)
    for block, rows in pairs(len(times)):
        twice[block] = times[rows][1:] == times[rows][:-1]
        if groups is not None:
            twice[block] &= groups[rows][1:] == groups[rows][:-1]
        release(times, groups)
    return twice


def _average(table: files.Table, twice: npt.NDArray[np.bool_]) -> None:
    """Gives the last row of each run of rows of one time the mean of what the run has; `twice[i]` joins i and i + 1."""
    first = np.flatnonzero(np.append(twice, False) & ~np.append(False, twice))
    last = np.flatnonzero(np.append(False, twice) & ~np.append(twice, False))
    for begin, end in zip(first, last, strict=True):
        rows = slice(begin, end + 1)
        table.features[end] = mean(table.features[rows])
        targets = table.target[rows].reshape(end + 1 - begin, -1)
        table.target[end] = mean(targets).reshape(table.target[end].shape)


def mean(rows: Array) -> Array:
    """The mean of each column's values; NaN where there are none."""
    there = np.isfinite(rows)
    count = np.maximum(there.sum(axis=0), 1)
    made: Array = (np.where(there, rows, 0).sum(axis=0, dtype=np.float64) / count).astype(np.float32)
    made[~there.any(axis=0)] = np.nan
    return made


def usual_step(times: npt.NDArray[Any] | None, segments: Ints) -> float:
    """The median distance of two times of a series, in seconds where they are dates; 0 where there is none.

    Of very long tables that of a million pairs of neighbours, evenly spread.
    """
    if times is None:
        return 0.0
    places = np.arange(0, len(times) - 1, 1 + len(times) // SAMPLED)
    places = places[segments[places] == segments[places + 1]]
    steps = _seconds(times[places + 1] - times[places])
    release(times, segments)
    return float(np.median(steps)) if len(steps) else 0.0


def is_uneven(times: npt.NDArray[Any], usual: float) -> npt.NDArray[np.bool_]:
    """Between which neighbours, (rows - 1,), the distance is not about the usual one."""
    steps = _seconds(np.diff(times))
    uneven: npt.NDArray[np.bool_] = (steps > EVEN * usual) | (steps < usual / EVEN)
    return uneven


def _seconds(steps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    steps = steps / np.timedelta64(1, "s") if steps.dtype.kind == "m" else steps
    return steps.astype(np.float64)


def split_at_gaps(table: files.Table, segments: Ints, source: Source, note: Callable[[str], None]) -> Ints:
    """Finds uneven times, and gives the segments of rows that follow each other."""
    if table.times is None:
        return segments
    usual = usual_step(table.times, segments)
    uneven = np.empty(len(segments) - 1, bool)
    for block, rows in pairs(len(segments)):
        uneven[block] = is_uneven(table.times[rows], usual) & (segments[rows][1:] == segments[rows][:-1])
        release(table.times, segments)
    if not uneven.any():
        return segments
    at, count = int(np.argmax(uneven)), np.count_nonzero(uneven)
    text = (
        f"column {source.time!r} has {count} uneven step{'' if count == 1 else 's'}, the first from "
        f"{times.text(table.times[at])} to {times.text(table.times[at + 1])}"
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
    rows = len(table.target)
    observed, bad = np.empty(rows, bool), np.empty(rows, bool)
    empty, unknown = np.zeros(len(columns.features), np.int64), np.zeros(len(columns.targets), np.int64)
    for block in blocks(rows):
        target, missing = table.target[block].reshape(-1, len(columns.targets)), np.isnan(table.features[block])
        there = target >= 0 if columns.labels else np.isfinite(target)  # (rows, targets)
        observed[block], bad[block] = there.all(axis=1), missing.any(axis=1)
        empty += np.count_nonzero(missing, axis=0)
        unknown += np.count_nonzero(~there, axis=0)
        release(table.features, table.target)
    counts = dict(zip(columns.features, empty.tolist(), strict=True))
    counts |= dict(zip(columns.targets, unknown.tolist(), strict=True))
    listed = ", ".join(f"{name!r} in {count} of {rows} rows" for name, count in counts.items() if count)
    kept: npt.NDArray[np.bool_] = np.ones(rows, bool)
    if not listed:
        return observed, segments, kept
    if source.missing == "error":
        raise InvalidArgumentError(
            f"missing: no value for {listed}; choose --missing drop, ffill or interpolate", field="missing"
        )
    if source.missing == "drop":
        kept = np.logical_not(bad) & observed
        gone = np.count_nonzero(~kept)
        note(f"no value for {listed}: {gone} row{'' if gone == 1 else 's'} left out, and no window spans them")
    else:
        starts = np.flatnonzero(np.concatenate([[True], segments[1:] != segments[:-1]]))
        for i in np.flatnonzero(empty):
            column = table.features[:, i]
            if source.missing == "interpolate":
                _interpolate(column, np.isnan(column), segments, parts, table.times)
            forward_fill(column, starts)
        for block in blocks(rows):
            kept[block] = np.isfinite(table.features[block]).all(axis=1)
            release(table.features)
        how = "the value before" if source.missing == "ffill" else (
            "interpolated for training; the value before where held out, since nobody knows the next one there"
        )  # fmt: skip
        note(f"no value for {listed}: {how}; what was missing is never a target")
    if not kept.all():
        segments = _numbered(segments, ~kept[:-1] | ~kept[1:])
    return observed, segments, kept


def forward_fill(column: Array, starts: npt.NDArray[np.int64]) -> None:
    """The last value before, within a segment; what has none stays missing."""
    begins = np.zeros(len(column), bool)
    begins[starts] = True
    before = np.float32(np.nan)  # the last value of the segment in the blocks before
    for block in blocks(len(column)):
        values, begin = column[block], begins[block]
        places = np.arange(len(values))
        last = np.maximum.accumulate(np.where(np.isnan(values), -1, places))
        first = np.maximum.accumulate(np.where(begin, places, -1))
        known = (last >= 0) & (last >= first)
        values[known] = values[last[known]]
        values[~known & (first < 0)] = before
        before = values[-1]
        release(column)


def _interpolate(
    column: Array, empty: npt.NDArray[np.bool_], segments: Ints, parts: npt.NDArray[np.int8], times: Any
) -> None:
    """Linear between the values around, in the training part and within it only."""
    for segment in np.unique(segments[empty & (parts == 0)]):
        begin, end = np.searchsorted(segments, [segment, segment + 1])  # sorted rows of a segment lie together
        rows = begin + np.flatnonzero(parts[begin:end] == 0)
        clock = (rows if times is None else times[rows] - times[begin]).astype(np.float64)
        missing = empty[rows]
        there = np.flatnonzero(~missing)
        if len(there):
            gone = there[0] + np.flatnonzero(missing[there[0] : there[-1]])
            column[rows[gone]] = np.interp(clock[gone], clock[there], column[rows[there]])
        release(times, segments, column)


def _numbered(segments: Ints, breaks: npt.NDArray[np.bool_]) -> Ints:
    """Segments, newly numbered, with more breaks; `breaks[i]` is one between rows i and i + 1."""
    made, number = Growing(), np.zeros(1, np.int32)
    made.append(number)
    for block, rows in pairs(len(segments)):
        changed = (segments[rows][1:] != segments[rows][:-1]) | breaks[block]
        numbers = (number[-1] + np.cumsum(changed)).astype(np.int32)
        made.append(numbers)
        number = numbers[-1:]
        release(segments)
    return made.array()
