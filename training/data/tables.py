"""Windows from a CSV or Parquet table with one row for each timestep."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.calendar_features import calendar_columns
from service.errors import InvalidArgumentError
from training.data import ahead, calendar, categories, cleaning, counting, files, sources, static
from training.data.layout import Layout
from training.data.windows import FUTURE, NONE, SEQUENCE, Ahead, Ints, Parts, Timeline, parts_by_share, slide
from training.options import Source

MEASURED = 1_000_000  # predictions on which a network is judged, at most: more would say nothing else

Cut = Callable[[Timeline, Source], npt.NDArray[np.int8]]
"""The part of each row: 0 to train on, 1 for validation, 2 to test; rows of other numbers are never targets."""


def by_shares(timeline: Timeline, source: Source) -> npt.NDArray[np.int8]:
    """The parts that the options ask for."""
    return parts_by_share(timeline, source.validation, source.test)


def read(
    opened: sources.Opened,
    source: Source,
    progress: sources.Progress,
    note: Callable[[str], None],
    cut: Cut = by_shares,
) -> tuple[Layout, Parts]:
    """Windows and their layout. Raises InvalidArgumentError, in one line that names the column; OSError."""
    if not source.target:
        raise InvalidArgumentError("target: name the column to predict", field="target")
    if not source.window:
        raise InvalidArgumentError("window: give the number of timesteps that the network reads", field="window")
    schema = opened.schema
    chosen = _choose(schema, source)
    table = files.read(opened, chosen, progress)
    counters = set() if source.features else counting.counters(table, None)
    cleaning.sort(table, source.duplicates, note)
    if source.future and source.missing == "error":  # the other ways of treating missing values fill or drop these rows
        ahead.leave_out_planned(table, note)
    if not source.features:
        counters |= counting.counters(table, table.groups)
        counting.leave_out(counters - {*source.future, *source.static}, table, note)
        left = [name for name in schema.names if name not in table.columns.all()]
        note(f"features: {', '.join(table.columns.features)}" + (f"; left out: {', '.join(left)}" if left else ""))
        if texts := categories.texts(schema, left):
            note(f"--categorical takes text: {', '.join(texts)}")
    static.check(table, source.static)
    zone = calendar.zone_of(schema, source.time)
    if source.calendar:
        table.features = calendar.with_features(table.features, table.times, source.calendar, zone)
        table.columns = replace(table.columns, features=(*table.columns.features, *calendar_columns(source.calendar)))
    segments = np.zeros(len(table.target), np.int32) if table.groups is None else table.groups
    series = segments
    step = cleaning.usual_step(table.times, segments)
    segments = cleaning.split_at_gaps(table, segments, source, note)
    timeline = Timeline.of(table.times, series, table.group_names or ("",), step)
    parts = cut(timeline, source)
    observed, segments, kept = cleaning.fill(table, segments, parts, source, note)
    if not kept.all():
        table.keep(kept)
        segments, parts, observed, timeline = segments[kept], parts[kept], observed[kept], timeline.keep(kept)
    if not len(segments):
        raise InvalidArgumentError("missing: every row has a missing value; nothing is left", field="missing")
    _check_length(segments, source)
    first = source.horizon
    outputs = 1
    if not chosen.labels and source.horizon:
        first, outputs = 1, source.horizon
    made = slide(
        table.features, table.target, segments, parts, observed,
        window=source.window, first=first, outputs=outputs, timeline=timeline,
    )  # fmt: skip
    if chosen.labels:
        _check_classes(chosen.targets[0], table.classes, made)
    inputs = {
        categories.input_name(name): replace(one, dimensions=source.group_embedding if name == source.group else 0)
        for name, one in table.categories.items()
    }
    known_ahead = (
        Ahead(tuple(map(table.columns.features.index, source.future)), source.horizon) if source.future else None
    )
    if inputs or known_ahead:
        made = Parts(*(replace(part, categories=inputs, ahead=known_ahead) for part in made.named().values()))
    layout = Layout(
        table.columns.features,
        chosen.targets[0],
        source.window,
        source.horizon,
        table.classes,
        source.time,
        source.group,
        source.missing,
        source.gaps,
        step,
        targets=chosen.targets if len(chosen.targets) > 1 else (),
        calendar=source.calendar,
        zone=zone,
        format=source.format,
        categories=chosen.categories,
        future=source.future,
        static=source.static,
    )
    return layout, made


def thinned(parts: Parts, source: Source, note: Callable[[str], None]) -> Parts:
    """The parts, with no more windows to judge a network on than say something new.

    Raises InvalidArgumentError where adaptive intervals need them all.
    """
    most = max(1, MEASURED // (parts.test.outputs * len(source.target)))
    for name, part in parts.named().items():
        if name != "train" and len(part) > most:
            if source.conformal == "adaptive":
                raise InvalidArgumentError(
                    f"conformal: adaptive intervals need successive windows; of the {len(part):,} of {name} at most "
                    f"{most:,} are used, evenly spread",
                    field="conformal",
                )
            part = part.thinned(most)
            parts = replace(parts, **{name: part})
            note(f"{name}: {len(part)} of its windows are used, evenly spread")
    return parts


def _choose(schema: Any, source: Source) -> files.Columns:
    """Which columns are read, and whether the target names classes."""
    targets = source.target
    files.check(
        schema,
        time=source.time,
        group=source.group,
        targets=targets,
        features=source.features,
        future=source.future,
        categorical=source.categorical,
        static=source.static,
    )
    text = next((target for target in targets if files.names_classes(schema, target)), "")
    if text and source.task == "regression":
        raise InvalidArgumentError(
            f"task: column {text!r} holds text or truth values; it can only be classified", field="task"
        )
    labels = bool(text) or source.task == "classification"
    if labels and len(targets) > 1:
        why = f"column {text!r} holds text or truth values" if text else "the task is classification"
        raise InvalidArgumentError(f"target: several targets have to be numbers, but {why}", field="target")
    unknown = set(targets) if labels or source.horizon == 0 else set()
    if given := unknown.intersection(source.features):
        why = "holds the classes to find" if labels else "is a target, and with horizon 0 not known yet"
        raise InvalidArgumentError(f"features: column {min(given)!r} {why}", field="features")
    features, texts = _inputs(schema, source, unknown)
    return files.Columns(features, targets, source.time, source.group, labels, source.time_format, texts)


def _inputs(schema: Any, source: Source, unknown: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that are features, and those that are texts; `unknown` are targets that no window holds."""
    for option in ("future", "static"):
        if known := set(source.target).intersection(getattr(source, option)):
            raise InvalidArgumentError(f"{option}: column {min(known)!r} is what is to be predicted", field=option)
    categories.check(schema, source.categorical, {source.time, *source.target, *source.features})
    fixed = categories.texts(schema, source.static)
    texts = tuple(dict.fromkeys([*source.categorical, *fixed]))
    if source.group_embedding:
        texts = (*texts, source.group)
    categories.check_names(texts, [SEQUENCE, FUTURE])
    features = source.features or files.numeric(schema, {source.time, source.group, *texts} | unknown)
    others = (*source.future, *(name for name in source.static if name not in texts))
    features = tuple(dict.fromkeys([*features, *others]))
    if computed := set(calendar_columns(source.calendar)).intersection(features):
        raise InvalidArgumentError(
            f"calendar: the table has a column {min(computed)!r} of its own; leave it out of --features",
            field="calendar",
        )
    return features, texts


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
    known = np.unique(np.concatenate([NONE, *(np.unique(some) for some in parts.train.wanted())]))
    if 0 < len(known) < 2:
        raise InvalidArgumentError(
            f"target: column {target!r} is always {classes[int(known[0])]!r} in the part to train on", field="target"
        )
