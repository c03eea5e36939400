"""The last rows of a series that follow each other, as a network reads them, and past forecasts within them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data import cleaning, files
from training.data.categories import input_name
from training.data.layout import Layout
from training.data.times import text
from training.data.windows import FUTURE, SEQUENCE, Array


@dataclass(frozen=True)
class Stretch:
    """Rows of a table without a gap or a missing value."""

    begin: int
    features: Array  # (rows, features), with missing values filled as training filled them

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.begin + len(self.features)


def stretch(table: files.Table, rows: slice, layout: Layout) -> Stretch:
    """The last such rows of a series. Raises ValueError that says why there are not enough for a window."""
    features = table.features[rows].copy()
    begin, since = 0, ""
    if table.times is not None and layout.step and layout.gaps in ("error", "split"):
        times = table.times[rows]
        uneven = np.flatnonzero(cleaning.is_uneven(times, layout.step))
        if len(uneven):
            begin = int(uneven[-1]) + 1
            since = f" since the gap before {text(times[begin])}"
    features = features[begin:]
    if layout.missing in ("ffill", "interpolate"):
        for i in range(features.shape[1]):
            cleaning.forward_fill(features[:, i], np.zeros(1, np.int64))
    missing = np.flatnonzero(np.isnan(features).any(axis=1))
    if len(missing):
        at = int(missing[-1])
        column = layout.features[int(np.flatnonzero(np.isnan(features[at]))[0])]
        when = f" at {table.times[rows][begin + at]}" if table.times is not None else ""
        features, since = features[at + 1 :], f" since the missing value of {column!r}{when}"
        begin += at + 1
    if len(features) < layout.window:
        raise ValueError(f"the network reads {layout.window} rows, and there are {len(features)}{since}")
    return Stretch(rows.start + begin, features)


def origins(table: files.Table, layout: Layout, rows: Stretch, most: int) -> list[int]:
    """The rows behind the windows of the last forecasts whose targets are all known, the latest first."""
    found: list[int] = []
    for origin in range(rows.stop - max(1, layout.horizon), rows.begin + layout.window - 1, -1):
        if len(found) == most:
            break
        if np.isfinite(targets(table, layout, [origin])).all():
            found.append(origin)
    return found


def targets(table: files.Table, layout: Layout, behind: Sequence[int]) -> Array:
    """What was to be predicted from the windows that end before these rows, (windows, steps, targets)."""
    first = np.asarray(behind) - (0 if layout.horizon else 1)
    gathered: Array = table.target[first[:, None] + np.arange(max(1, layout.horizon))]
    return gathered


def feeds(table: files.Table, layout: Layout, ends: Sequence[tuple[Stretch, int]]) -> dict[str, Any]:
    """What the inputs of a network get for the windows before these rows, as `Windows.feeds` has it.

    What is known ahead is there where the rows have it.
    """
    places = [(rows, slice(behind - rows.begin - layout.window, behind - rows.begin)) for rows, behind in ends]
    made: dict[str, Any] = {SEQUENCE: np.stack([rows.features[place] for rows, place in places])}
    read = np.array([behind for _, behind in ends])[:, None] + np.arange(-layout.window, 0)
    made |= {input_name(name): one.texts(read) for name, one in table.categories.items()}
    after = [rows.features[place.stop : place.stop + layout.horizon] for rows, place in places]
    if layout.future and all(len(one) == layout.horizon for one in after):
        made[FUTURE] = np.stack(after)[..., layout.known_ahead]
    return made
