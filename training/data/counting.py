"""Columns that count rows: a number of the row, or a year. What they have in rows to come, training has never seen."""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from training.data import files
from training.data.growing import Growing, blocks, release
from training.data.windows import Array, Ints

LOOKED_AT = 10_000  # rows at the beginning, by which a column is suspected; the others must not turn back


def counters(table: files.Table, series: Ints | None) -> set[str]:
    """The features, targets aside, that grow or fall by the same whole number from row to row, within each series."""
    found = set()
    for i, name in enumerate(table.columns.features):
        if name not in table.columns.targets and _counts(table.features[:, i], series):
            found.add(name)
    release(table.features, series)
    return found


def _counts(column: Array, series: Ints | None) -> bool:
    begin = column[:LOOKED_AT]
    steps = np.diff(begin)
    if series is not None:
        steps = steps[np.diff(series[:LOOKED_AT]) == 0]
    if len(steps) < 2 or not steps[0] or (steps != steps[0]).any() or (begin != np.round(begin)).any():
        return False
    for block in blocks(len(column) - 1):
        rows = slice(block.start, block.stop + 1)
        turns = np.diff(column[rows]) * steps[0] < 0
        if series is not None:
            turns &= np.diff(series[rows]) == 0
        if turns.any() or np.isnan(column[rows]).any():
            return False
    return True


def leave_out(names: Collection[str], table: files.Table, note: Callable[[str], None]) -> None:
    """Takes features out of a table, unless no other is left, and says so."""
    features = table.columns.features
    kept = [i for i, name in enumerate(features) if name not in names]
    if not names:
        return
    listed = [repr(name) for name in features if name in names]
    several = len(listed) > 1
    subject = f"{', '.join(listed[:-1])} and {listed[-1]} count" if several else f"{listed[0]} counts"
    if not kept:
        note(f"{subject} rows, and there is no other feature")
        return
    made = Growing()
    for block in blocks(len(table.features)):
        made.append(table.features[block][:, kept])
        release(table.features)
    table.features = made.array()
    table.columns = replace(table.columns, features=tuple(features[i] for i in kept))
    left, it = ("are left out", "them") if several else ("is left out", "it")
    note(f"{subject} rows and {left}; name {it} in --features to predict from {it}")
