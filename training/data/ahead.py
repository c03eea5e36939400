"""What a table says of the rows behind the last known ones: the values of columns that are known ahead."""

from collections.abc import Callable
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from training.data import calendar, cleaning, files
from training.data.growing import blocks, release
from training.data.layout import Layout
from training.data.times import text
from training.data.windows import Array


def leave_out_planned(table: files.Table, note: Callable[[str], None]) -> None:
    """Takes the rows behind the last target of each series out of a table in order of series, and says how many."""
    count = len(table.target)
    series = np.zeros(count, np.int32) if table.groups is None else table.groups
    last = np.full(max(1, len(table.group_names)), count)  # of each series; one without a target stays whole
    for block in blocks(count):
        target = table.target[block].reshape(-1, len(table.columns.targets))
        rows = np.flatnonzero((target >= 0 if table.columns.labels else np.isfinite(target)).any(axis=1))
        last[series[block][rows]] = block.start + rows  # of several the last one stays
        release(table.target, series)
    kept = np.empty(count, bool)
    for block in blocks(count):
        kept[block] = np.arange(block.start, block.stop) <= last[series[block]]
        release(series)
    if kept.all():
        return
    table.keep(kept)
    names = ", ".join(map(repr, table.columns.targets))
    note(f"{count - np.count_nonzero(kept)} rows behind the last value of {names} are planned ones: left out")


def past(table: files.Table, rows: slice, layout: Layout) -> slice:
    """The rows of a series up to the last that has a target; those behind it are planned, whatever else they hold.

    Without the columns of the targets: up to the last that holds more than what is known ahead, or always the same.

    Raises InvalidArgumentError where no column tells which that is; ValueError where there is no such row.
    """
    if not layout.future:
        return rows
    told = [i for i, name in enumerate(layout.columns) if name not in (*layout.future, *layout.static)]
    if not told and not table.columns.targets:
        raise InvalidArgumentError(
            f"data: without the column {layout.target!r} nothing tells where the past ends", field="data"
        )
    held = np.isfinite(table.target[rows] if table.columns.targets else table.features[rows][:, told]).any(axis=1)
    if not held.any():
        raise ValueError(f"there is no row with a value of {layout.target!r}")
    return slice(rows.start, rows.start + int(np.flatnonzero(held)[-1]) + 1)


def values(table: files.Table, rows: slice, known: slice, layout: Layout, zone: str) -> Array:
    """What is known of the `horizon` rows behind `known` ones of a series, (horizon, columns); nothing: (0, 0).

    Raises ValueError that says which values are missing.
    """
    if not layout.future:
        return np.empty((0, 0), np.float32)
    after = slice(known.stop, min(known.stop + layout.horizon, rows.stop))
    count = after.stop - after.start
    if table.times is not None and layout.step and layout.gaps in ("error", "split"):
        uneven = cleaning.is_uneven(table.times[known.stop - 1 : after.stop], layout.step)
        count = int(np.argmax(uneven)) if uneven.any() else count
    if count < layout.horizon:
        names = ", ".join(map(repr, layout.future))
        missing = _when(table, slice(known.start, known.stop + count), layout.horizon - count, zone)
        raise ValueError(
            f"the network needs {names} in the {layout.horizon} rows behind the last value, and the file has "
            f"{count}; missing{missing}"
        )
    made = table.features[after][:, layout.known_ahead]
    if (empty := np.argwhere(np.isnan(made))).size:
        row, column = empty[0]
        when = (
            f"at {text(table.times[after.start + row])}"
            if table.times is not None
            else f"{row + 1} rows behind the last"
        )
        raise ValueError(f"there is no value of {layout.future[column]!r} {when}")
    return made


def _when(table: files.Table, rows: slice, count: int, zone: str) -> str:
    """The times of so many rows that should follow, or of the first and the last."""
    if table.times is None:
        return f" are the last {count}"
    found: Any = [str(time).removesuffix(" 00:00:00") for time in calendar.following(table.times[rows], count, zone)]
    return f": {found[0]}" if count == 1 else f": {found[0]} to {found[-1]}"
