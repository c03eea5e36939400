"""Forecasts: what a version predicts after the last row of each series of a table, when, and how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from service.errors import InvalidArgumentError
from training.data import ahead, calendar, cleaning, files, past, sources
from training.data.layout import Layout
from training.data.windows import FUTURE, Array
from training.options import Format

BATCH = 128  # windows of the past that are predicted at once
LEAST_PAST = 40  # rows that are shown before a forecast, where there are so many; a longer window is shown whole
Ends = Mapping[float, tuple[Array, Array]]  # of intervals, by level


class PredictFunction(Protocol):
    """Predictions, (batch, outputs[, targets]), for inputs by name, as `Windows.feeds` has them, and intervals' ends.

    recent: the recent errors by which intervals are scaled, (batch,) or (batch, targets), NaN where unknown; None: the
    intervals are not adaptive.
    """

    def __call__(
        self, inputs: Mapping[str, Any], levels: Sequence[float], recent: Any | None = None
    ) -> tuple[Array, Ends]:
        """Predicts."""


@dataclass(frozen=True)
class Forecast:
    """What is predicted of one target of one series."""

    group: str  # name of the series; empty: the table is one series
    target: str
    times: Any  # (steps,): numbers, or pandas' DatetimeIndex; numbers of steps where the table has no times
    predicted: Array  # (steps,), or (classes,) probabilities of the classes at the last of these times
    intervals: Mapping[float, tuple[Array, Array]]  # lower and upper ends, (steps,) each, by level in percent
    past_times: Any  # of the last rows, those that were read and some before them, (rows,)
    past: Array | None  # the target in these rows, where the table has it and it is a number


@dataclass(frozen=True)
class Forecasts:
    """What is predicted for a table."""

    layout: Layout
    found: tuple[Forecast, ...]  # by series, then by target
    left_out: Mapping[str, str] = field(default_factory=dict)  # why a series has no forecast, by its name
    adaptive: int = 0  # past forecasts by whose error intervals are scaled; 0: they are not
    plain: Mapping[str, str] = field(default_factory=dict)  # why those of a series are not scaled, by its name


def forecast(
    predict: PredictFunction,
    layout: Layout,
    data: str | Path,
    *,
    how: Format | None = None,
    group: str = "",
    levels: Sequence[float] = (),
    adaptive: int = 0,
    progress: sources.Progress = lambda *_: None,
) -> Forecasts:
    """Predicts from the last window of each series, or of the series `group`.

    `how`: how the table is written; None: as the one that the version was trained on. `adaptive`: over how many past
    forecasts of a series its recent error is the mean, by which intervals are scaled; 0: they are not.

    Gaps and missing values are treated as training treated them. What is known ahead stands in the rows behind the last
    that has a target; other columns of these rows are not used.

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
    if sources.suffix(str(data)) == ".npz":
        raise InvalidArgumentError(
            f"data: a forecast needs a table with a row for each timestep; {Path(data).name} holds sequences",
            field="data",
        )
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
            known_rows = ahead.past(table, rows, layout)
            stretch = past.stretch(table, known_rows, layout)
            ends[name] = known_rows, stretch, ahead.values(table, rows, known_rows, layout, zone)
        except ValueError as error:
            left_out[name] = str(error)
    if not ends:
        name, reason = next(iter(left_out.items()))
        raise InvalidArgumentError(f"data: {f'series {name!r}: ' if name else ''}{reason}", field="data")
    inputs = past.feeds(table, layout, [(stretch, stretch.stop) for _, stretch, _ in ends.values()])
    if layout.future:
        inputs[FUTURE] = np.stack([known_ahead for *_, known_ahead in ends.values()])
    recent: Any = None
    plain: dict[str, str] = {}
    if adaptive and levels:
        stretches = {name: stretch for name, (_, stretch, _) in ends.items()}
        recent, plain = _recent_errors(predict, table, layout, known, stretches, adaptive)
    predicted, intervals = predict(inputs, levels, recent)
    found = []
    for i, (name, (rows, *_)) in enumerate(ends.items()):
        times = np.arange(rows.start - rows.stop + 1, 1) if table.times is None else table.times[rows]
        shown = max(layout.window, LEAST_PAST)
        past_times = calendar.in_zone(times[-shown:], zone)
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
                    past=table.target[rows][-shown:, known.index(target)] if target in known else None,
                )
            )
    return Forecasts(layout, tuple(found), left_out, adaptive if levels else 0, plain)


def _recent_errors(
    predict: PredictFunction,
    table: files.Table,
    layout: Layout,
    known: Sequence[str],
    stretches: Mapping[str, past.Stretch],
    forecasts: int,
) -> tuple[Any, dict[str, str]]:
    """The mean absolute error of the last forecasts of each series, and by name why it is not known.

    (series,) or (series, targets), NaN where it is not known; None: it is known of no series.
    """
    if missing := [name for name in layout.predicted if name not in known]:
        reason = f"the table has no column {missing[0]!r}, so that past errors are not known"
        return None, dict.fromkeys(stretches, reason)
    origins = {name: past.origins(table, layout, one, forecasts) for name, one in stretches.items()}
    plain = {
        name: f"it takes the errors of {forecasts} past forecasts, and the rows suffice for {len(found)}"
        for name, found in origins.items()
        if len(found) < forecasts
    }
    pairs = [(stretches[name], one) for name, found in origins.items() if name not in plain for one in found]
    if not pairs:
        return None, plain
    errors = []
    for begin in range(0, len(pairs), BATCH):
        some = pairs[begin : begin + BATCH]
        expected = past.targets(table, layout, [origin for _, origin in some])
        predicted, _ = predict(past.feeds(table, layout, some), ())
        errors.append(np.abs(predicted.reshape(expected.shape).astype(np.float64) - expected))
    each = np.concatenate(errors).mean(axis=1).reshape(-1, forecasts, len(layout.predicted)).mean(axis=1)
    recent = np.full((len(stretches), len(layout.predicted)), np.nan)
    recent[[name not in plain for name in stretches]] = each
    return (recent if layout.targets else recent[:, 0]), plain


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
