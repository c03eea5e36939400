"""Adaptive prediction intervals: the recent error of a series at each window, and what scales with it.

The recent error is the mean absolute error of the last forecasts of the series, over all their steps. A forecast
counts once all its targets lie before the first one of the window, so that nothing is used that is not known there.
Errors of the training part never count: a network knows that part, and is better on it than on what is to come.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from service.model.intervals import Adaptive, Array, Intervals, Scale
from service.model.intervals import calibrate as calibrate_plain
from training.data.examples import Examples
from training.data.windows import Windows

FORECASTS = 12  # of which the recent error is the mean
FLOOR = 0.01  # of the mean absolute error on the validation part
LEAST = float(np.finfo(np.float32).tiny)  # where all errors are 0

Places = npt.NDArray[np.integer]


def recent_errors(errors: Array | Scale, first: Places, stretches: Places, forecasts: int = FORECASTS) -> Scale:
    """The recent error at each window, (windows[, targets]); NaN where too few forecasts of its stretch are known.

    errors: absolute, (windows, steps[, targets]). first: the row of each window's first target, ascending.
    stretches: a number for each window that those share whose rows follow each other without a gap.
    """
    each = errors.astype(np.float64).mean(axis=1)
    made = np.full(each.shape, np.nan)
    if len(each) < forecasts:
        return made
    means = np.lib.stride_tricks.sliding_window_view(each, forecasts, axis=0).mean(axis=-1)
    begin = np.searchsorted(first, first - errors.shape[1], "right") - forecasts
    fits = np.flatnonzero(begin >= 0)
    fits = fits[stretches[begin[fits]] == stretches[fits]]
    made[fits] = means[begin[fits]]
    return made


def of_windows(errors: Array | Scale, *parts: Windows) -> Scale:
    """The recent error at the windows of some parts, in their order, where the errors of these are known."""
    first = np.concatenate([part.target_starts for part in parts])
    stretches = np.concatenate([_stretches(part) for part in parts])
    order = np.argsort(first, kind="stable")
    made = np.empty((len(errors), *errors.shape[2:]))
    made[order] = recent_errors(errors[order], first[order], stretches[order])
    return made


def calibrate(plain: Intervals, predicted: Array, expected: Array, recent: Scale) -> Intervals:
    """The intervals with those that are scaled by the recent errors, from windows at which these are known."""
    size = np.abs(predicted.astype(np.float64) - expected).mean(axis=(0, 1))
    floor = np.maximum(FLOOR * size, LEAST)
    known = np.isfinite(recent).reshape(len(recent), -1).all(axis=1)
    scale = np.maximum(recent[known], floor)[:, None]
    scores = calibrate_plain(predicted[known] / scale, expected[known] / scale)
    if scores is None:
        return plain
    return replace(plain, adaptive=Adaptive(scores.half_widths, scores.count, FORECASTS, floor))


def check(examples: Examples) -> None:
    """Raises InvalidArgumentError for examples of which no window has a recent error."""
    validation = examples.parts.validation
    if examples.classes:
        raise InvalidArgumentError("conformal: adaptive intervals need targets that are numbers", field="conformal")
    if validation.timeline is None:
        raise InvalidArgumentError(
            "conformal: adaptive intervals need a table; sequences in a file do not follow each other",
            field="conformal",
        )
    errors = np.zeros((len(validation), validation.outputs))
    if not np.isfinite(of_windows(errors, validation)).any():
        raise InvalidArgumentError(
            f"conformal: adaptive takes the error of the {FORECASTS} forecasts before each window of the validation "
            f"part, so that a series has to have more than {FORECASTS + validation.outputs - 1} windows there; "
            f"it has {len(validation)} in all",
            field="conformal",
        )


def _stretches(windows: Windows) -> Places:
    assert windows.segments is not None
    return windows.segments[windows.starts]
