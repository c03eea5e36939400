"""Forecasts: what a version predicts after the last row of each series of a table, when, and how surely."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from training.data import ahead, calendar, cleaning, files, sources
from training.data.categories import input_name
from training.data.layout import Layout
from training.data.windows import FUTURE, SEQUENCE, Array
from training.options import Format

PredictFunction = Callable[[Mapping[str, Any], Sequence[float]], tuple[Array, Mapping[float, tuple[Array, Array]]]]
"""Predictions, (batch, outputs[, targets]), for inputs by name, as `Windows.feeds` has them, and intervals' ends."""


@dataclass(frozen=True)
class Forecast:
    """What is predicted of one target of one series."""

    group: str  # name of the series; empty: the table is one series
    target: str
    times: Any  # (steps,): numbers, or pandas' DatetimeIndex; numbers of steps where the table has no times
    predicted: Array  # (steps,), or (classes,) probabilities of the classes at the last of these times
    intervals: Mapping[float, tuple[Array, Array]]  # lower and upper ends, (steps,) each, by level in percent
    past_times: Any  # of the rows that were read, (window,)
    past: Array | None  # the target in these rows, where the table has it and it is a number


@dataclass(frozen=True)
class Forecasts:
    """What is predicted for a table."""

    layout: Layout
    found: tuple[Forecast, ...]  # by series, then by target
    left_out: Mapping[str, str] = field(default_factory=dict)  # why a series has no forecast, by its name


def forecast(
    predict: PredictFunction,
    layout: Layout,
    data: str | Path,
    *,
    how: Format | None = None,
    group: str = "",
    levels: Sequence[float] = (),
    progress: sources.Progress = lambda *_: None,
) -> Forecasts:
    """Predicts from the last window of each series, or of the series `group`.

    `how`: how the table is written; None: as the one that the version was trained on.

    Gaps and missing values are treated as training treated them. What is known ahead stands in the rows behind the last
    that holds anything else.

    Raises InvalidArgumentError for columns that are missing or of other types, for a group that the table does not
    have, and where no series has a forecast; OSError.
    """
    if layout.unit:
        raise InvalidArgumentError(
            "model: the version was trained on texts, which have no next values: unroll score labels texts, and unroll "
            "generate continues one",
            field="model",
        )
    if group and not layout.group:
        raise InvalidArgumentError("group: the version was trained on a table of one series", field="group")
    how = how or layout.format
    opened = sources.open_table(data, how)
    schema = opened.schema
    files.check(schema, time=layout.time, group=layout.group, features=layout.columns, categorical=layout.categories)
    known = tuple(name for name in layout.predicted if name in schema.names and not layout.classes)
    columns = files.Columns(
        layout.columns, known, layout.time, layout.group, time_format=how.time_format, categories=layout.categories
    )
    table = files.read(opened, columns, progress)
    table.target = table.target.reshape(len(table.features), len(known))
    cleaning.sort(table, how.duplicates, lambda _: None)
    zone = calendar.zone_of(schema, layout.time)
    local = calendar.local_zone(schema, layout)
    table.features = calendar.with_features(table.features, table.times, layout.calendar, local)

    names = table.group_names if layout.group else ("",)
    if group and group not in names:
        raise InvalidArgumentError(
            f"group: the table has no series {group!r}; it has {files.listed(names)}", field="group"
        )
    ends, left_out = {}, {}
    for code, name in enumerate(names):
        if group and name != group:
            continue
        # Sorted rows of a series lie next to each other.
        ends_at = (0, len(table.features)) if table.groups is None else np.searchsorted(table.groups, [code, code + 1])
        rows = slice(*map(int, ends_at))
        try:
            past = ahead.past(table, rows, layout)
            window = _last_window(table, past, layout)
            ends[name] = past, window, ahead.values(table, rows, past, layout, zone)
        except ValueError as error:
            left_out[name] = str(error)
    if not ends:
        name, reason = next(iter(left_out.items()))
        raise InvalidArgumentError(f"data: {f'series {name!r}: ' if name else ''}{reason}", field="data")
    inputs: dict[str, Any] = {SEQUENCE: np.stack([window for _, window, _ in ends.values()])}
    read = np.array([rows.stop for rows, *_ in ends.values()])[:, None] + np.arange(-layout.window, 0)
    inputs |= {input_name(name): one.texts(read) for name, one in table.categories.items()}
    if layout.future:
        inputs[FUTURE] = np.stack([known_ahead for *_, known_ahead in ends.values()])
    predicted, intervals = predict(inputs, levels)
    found = []
    for i, (name, (rows, *_)) in enumerate(ends.items()):
        times = np.arange(rows.start - rows.stop + 1, 1) if table.times is None else table.times[rows]
        past_times = calendar.in_zone(times[-layout.window :], zone)
        following = _times(times, layout, predicted.shape[1], zone)
        if layout.future and table.times is not None:  # which the file has, even or not
            after = calendar.in_zone(table.times[rows.stop : rows.stop + layout.horizon], zone)
            following = after[-len(following) :]
        for place, target in enumerate(layout.predicted):
            at = (i, slice(None), place) if layout.targets else i
            found.append(
                Forecast(
                    group=name,
                    target=target,
                    times=following,
                    predicted=predicted[at],
                    intervals={level: (lower[at], upper[at]) for level, (lower, upper) in intervals.items()},
                    past_times=past_times,
                    past=table.target[rows][-layout.window :, known.index(target)] if target in known else None,
                )
            )
    return Forecasts(layout, tuple(found), left_out)


def _last_window(table: files.Table, rows: slice, layout: Layout) -> Array:
    """The last rows of a series, (timesteps, features). Raises ValueError that says why there are not enough."""
    features = table.features[rows].copy()
    begin, since = 0, ""
    if table.times is not None and layout.step and layout.gaps in ("error", "split"):
        times = table.times[rows]
        uneven = np.flatnonzero(cleaning.is_uneven(times, layout.step))
        if len(uneven):
            begin = int(uneven[-1]) + 1
            since = f" since the gap before {times[begin]}"
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
    if len(features) < layout.window:
        raise ValueError(f"the network reads {layout.window} rows, and there are {len(features)}{since}")
    return features[-layout.window :]


def _times(times: Any, layout: Layout, outputs: int, zone: str) -> Any:
    """The times of what is predicted: of each step, or of the one that classes are predicted for."""
    if not layout.horizon:  # something at the end of the window
        return calendar.in_zone(times[-1:], zone)
    if layout.classes:
        return calendar.following(times, layout.horizon, zone)[-1:]
    return calendar.following(times, outputs, zone)


def as_table(forecasts: Forecasts) -> Any:
    """An Arrow table with a row for each series and step: group, time, prediction, and the ends of intervals.

    Of several targets: a row for each, with a column `target`. Of classes: the most probable one, its probability, and
    the probability of each class.
    """
    import pyarrow as pa

    layout, found = forecasts.layout, forecasts.found
    columns: dict[str, Any] = {}
    steps = [len(one.times) for one in found]
    if layout.group:
        columns[layout.group] = [one.group for one, count in zip(found, steps, strict=True) for _ in range(count)]
    if layout.targets:
        columns["target"] = [one.target for one in found for _ in one.times]
    columns[layout.time or "step"] = [time for one in found for time in one.times]
    if layout.classes:
        columns["prediction"] = [layout.classes[int(one.predicted.argmax())] for one in found]
        for i, name in enumerate(layout.classes):
            columns[f"probability_{name}"] = [float(one.predicted[i]) for one in found]
        return pa.table(columns)
    columns["prediction"] = np.concatenate([one.predicted for one in found])
    for level in found[0].intervals:
        for side, what in enumerate(("lower", "upper")):
            columns[f"{what}_{level:g}"] = np.concatenate([one.intervals[level][side] for one in found])
    return pa.table(columns)
