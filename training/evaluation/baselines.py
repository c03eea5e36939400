"""Baselines: simple forecasts with which a network is compared.

Naive, drift, mean and seasonal naive are those of R. J. Hyndman and G. Athanasopoulos, Forecasting: Principles and
Practice, 3rd edition, section 5.2. What is averaged is averaged over the training part; the others read the past of
each window.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.examples import Examples
from training.data.growing import Growing, blocks, release
from training.data.windows import Timeline, Windows
from training.evaluation import text_baselines
from training.evaluation.errors import Figures, combined, errors

MOST_MEANS = 10_000_000  # of all positions in all series; where there were more, there is one for each series

Predicted = npt.NDArray[Any]  # (windows, outputs): numbers, or places of classes


def baselines(examples: Examples, season: int, windows: Windows | None = None) -> dict[str, Figures]:
    """The errors of the baselines on the held-out windows, or on others that are later than the training part."""
    train, test = examples.parts.train, examples.parts.test if windows is None else windows
    if test.several:
        each = [baselines(examples.of_target(i), season, test.of_target(i)) for i in range(test.several)]
        return {name: combined([one[name] for one in each], test.expected()) for name in each[0]}
    expected, classes = test.expected(), len(examples.classes)
    if examples.layout.next_character:
        return text_baselines.of_characters(train, test, classes)
    found = {
        name: baseline_errors(predicted, expected, classes)
        for name, predicted in forecasts(train, test, season, classes).items()
    }
    return found | (text_baselines.of_labels(train, test, classes) if examples.layout.text else {})


def baseline_errors(predicted: Predicted, expected: Predicted, classes: int) -> Figures:
    """The errors of one baseline, which names a class where a network gives probabilities."""
    if classes:
        return {"error_rate": float(np.mean(predicted != expected))}
    return errors(np.asarray(predicted, np.float32), expected, 0)


def forecasts(train: Windows, windows: Windows, season: int, classes: int = 0) -> dict[str, Predicted]:
    """What each baseline predicts for windows, by its name; those of a season only where there is one.

    Ready sequences say nothing of earlier targets; they have the mean, or the most frequent class, only.
    """
    usual = "most frequent" if classes else "mean"
    if windows.timeline is None or not windows.lead:
        return {usual: _of_each_output(train, windows, classes)}
    mean = _usual(train, windows, 0, classes)
    found = {"last value": _last(windows, mean)}
    if season:
        found["seasonal"] = _seasonal(windows, season, mean)
        found[f"seasonal {usual}"] = _usual(train, windows, season, classes)
    if not classes:
        found["drift"] = _drift(windows, windows.timeline, mean)
    found[usual] = mean
    return found


def _of_each_output(train: Windows, windows: Windows, classes: int) -> Predicted:
    """The mean of each output, or the most frequent class, of the training part."""
    if classes:
        usual: Any = np.sum([np.bincount(some[:, 0], minlength=classes) for some in train.wanted()], axis=0).argmax()
    else:
        usual = np.sum([some.sum(axis=0, dtype=np.float64) for some in train.wanted()], axis=0) / len(train)
    return np.broadcast_to(usual, (len(windows), windows.outputs))


def _usual(train: Windows, windows: Windows, season: int, classes: int) -> Predicted:
    """The mean, or the most frequent class, of the training part of each series, at each position of its season.

    Of a series that has no such position in the training part, that of the whole series; of an unknown one, of all.
    """
    timeline, known, targets = windows.timeline, train.known(), _target_rows(windows)
    assert timeline is not None
    found = np.zeros(targets.shape, np.int64 if classes else np.float64)
    for period in (0, 1, season) if season else (0, 1):  # from the coarsest grouping to the finest
        count = max(1, len(timeline.names) * period)
        if count * max(1, classes) > MOST_MEANS:
            break
        usual, there = _by_key(train, known, timeline, period, count, classes)
        keys = _keys(timeline, targets, period)
        found = np.where(there[keys], usual[keys], found)
    return found


def _keys(timeline: Timeline, rows: Any, period: int) -> npt.NDArray[np.int64]:
    """What rows are averaged by: all together (0), series, or positions in each series."""
    series, places = timeline.series[rows].astype(np.int64), timeline.places[rows]
    return series * period + places % period if period else np.zeros_like(series)


def _by_key(
    train: Windows, known: npt.NDArray[np.bool_], timeline: Timeline, period: int, count: int, classes: int
) -> tuple[Predicted, Predicted]:
    """The mean or the most frequent class of the targets of each key, and for which keys there are targets."""
    rows = np.zeros(count)
    sums = np.zeros(count * max(1, classes))
    for block in blocks(len(known)):
        chosen = np.flatnonzero(known[block] & ~_missing(train.targets[block])) + block.start
        keys, targets = _keys(timeline, chosen, period), train.targets[chosen]
        rows += np.bincount(keys, minlength=count)
        if classes:
            sums += np.bincount(keys * classes + targets, minlength=count * classes)
        else:
            sums += np.bincount(keys, np.asarray(targets, np.float64), count)
        release(train.targets, timeline.series, timeline.places)
    usual = sums.reshape(count, classes).argmax(axis=1) if classes else sums / np.maximum(rows, 1)
    return usual, rows > 0


def _last(windows: Windows, otherwise: npt.ArrayLike) -> Predicted:
    """The last target that is known at the end of each window, for all its targets; `otherwise` where none is."""
    return _known(windows, np.repeat((windows.target_starts - windows.lead)[:, None], windows.outputs, 1), otherwise)


def _seasonal(windows: Windows, season: int, otherwise: npt.ArrayLike) -> Predicted:
    """The targets one season (or as many as are needed) earlier; the last known one where the series is younger."""
    ahead = np.arange(windows.outputs)
    back = season * -(-(ahead + windows.lead) // season)
    return _known(windows, windows.target_starts[:, None] + ahead - back, _last(windows, otherwise))


def _drift(windows: Windows, timeline: Timeline, otherwise: npt.ArrayLike) -> Predicted:
    """The line through the first and the last known target of the series; the last one where it is the first."""
    targets, places = windows.targets, timeline.places
    last = _with_target(targets)[windows.target_starts - windows.lead]
    first = _first_with_target(targets, timeline)[timeline.series[windows.starts]]
    there = (first >= 0) & (first <= last)
    first, last = np.where(there, first, 0), np.where(there, last, 0)
    begin, end = (np.asarray(targets[rows], np.float64) for rows in (first, last))
    slope = (end - begin) / np.maximum(places[last] - places[first], 1)
    drawn = end[:, None] + slope[:, None] * (places[_target_rows(windows)] - places[last, None])
    return np.where(there[:, None], drawn, otherwise)


def _first_with_target(targets: Predicted, timeline: Timeline) -> npt.NDArray[np.int64]:
    """The first row of each series with a target, (series,); -1 where there is none."""
    found = np.full(len(timeline.names), -1)
    for block in blocks(len(targets)):
        rows = np.flatnonzero(~_missing(targets[block])) + block.start
        series, first = np.unique(timeline.series[rows], return_index=True)
        found[series] = np.where(found[series] < 0, rows[first], found[series])
        release(targets, timeline.series)
    return found


def _target_rows(windows: Windows) -> npt.NDArray[np.int64]:
    """The rows of the targets, (windows, outputs). Of their values nothing is known, of their times all."""
    rows: npt.NDArray[np.int64] = windows.target_starts[:, None] + np.arange(windows.outputs)
    return rows


def _missing(targets: Predicted) -> npt.NDArray[np.bool_]:
    """Which targets are not there."""
    missing: npt.NDArray[np.bool_] = targets < 0 if targets.dtype.kind == "i" else np.isnan(targets)
    return missing


def _with_target(targets: Predicted) -> npt.NDArray[np.int64]:
    """The last row with a target at or before each row; -1 where there is none."""
    made, before = Growing(), -1
    for block in blocks(len(targets)):
        places = np.where(_missing(targets[block]), -1, np.arange(block.start, block.stop))
        places[0] = max(places[0], before)
        made.append(np.maximum.accumulate(places))
        before = int(places.max())
        release(targets)
    return made.array()


def _known(windows: Windows, rows: npt.NDArray[np.int64], otherwise: npt.ArrayLike) -> Predicted:
    """The targets in rows of the windows' own segments, (windows, outputs); of a missing one the last known before it.

    `otherwise` where the segment begins later, or has no target until then.
    """
    targets, segments = windows.targets, windows.segments
    found = np.where(rows >= 0, _with_target(targets)[np.maximum(rows, 0)], -1)
    there = found >= 0
    if segments is not None:
        there &= segments[np.maximum(found, 0)] == segments[windows.starts][:, None]
    return np.where(there, targets[np.maximum(found, 0)], otherwise)
