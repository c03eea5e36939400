"""Accuracy of forecasts in units that can be compared between series: MASE and sMAPE, beside RMSE and MAE.

MASE and sMAPE are those of R. J. Hyndman and A. B. Koehler, Another look at measures of forecast accuracy,
International Journal of Forecasting 22 (2006).
"""

import numpy as np
import numpy.typing as npt

from training.data.windows import Windows
from training.evaluation.errors import Figures, errors

Numbers = npt.NDArray[np.float64]


def accuracy(predicted: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], scale: npt.ArrayLike) -> Figures:
    """RMSE, MAE, MASE and sMAPE of numbers.

    predicted, expected: (windows, outputs). scale: of each window, (windows,), or of all, as `scales` gives it.
    """
    figures = errors(np.asarray(predicted, np.float32), expected, 0)
    return figures | {"mase": mase(predicted, expected, scale), "smape": smape(predicted, expected)}


def mase(predicted: npt.ArrayLike, expected: npt.ArrayLike, scale: npt.ArrayLike) -> float:
    """The mean of |e| / scale; below 1 is better than the naive forecast was in the training part, one step ahead.

    Series without a scale are left out. NaN: none has one.
    """
    error = np.abs(np.asarray(predicted, np.float64) - np.asarray(expected, np.float64))
    scaled = error / np.reshape(np.asarray(scale, np.float64), (-1, 1))
    there = np.isfinite(scaled)
    return float(scaled[there].mean()) if there.any() else float("nan")


def smape(predicted: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The mean of 200 |e| / (|y| + |ŷ|), from 0 to 200 percent; where both are 0 the error is 0."""
    forecast, actual = np.asarray(predicted, np.float64), np.asarray(expected, np.float64)
    size = np.abs(forecast) + np.abs(actual)
    shares = np.divide(200 * np.abs(forecast - actual), size, out=np.zeros_like(size), where=size > 0)
    return float(shares.mean())


def scales(train: Windows, season: int) -> Numbers:
    """The mean absolute error of the seasonal naive forecast in the training part of each series, (series,).

    Without a season, of the naive forecast. NaN for a series whose training part is shorter, or does not change.
    """
    timeline, period = train.timeline, season or 1
    assert timeline is not None
    rows = np.flatnonzero(train.known())
    values = np.asarray(train.targets, np.float64)
    rows = rows[rows >= period]
    before = rows - period
    there = (timeline.series[rows] == timeline.series[before]) & train.known()[before]
    there &= timeline.places[rows] - timeline.places[before] == period
    changes = np.abs(values[rows] - values[before])
    there &= np.isfinite(changes)
    count = len(timeline.names)
    series = timeline.series[rows[there]]
    sums, counted = np.bincount(series, changes[there], count), np.bincount(series, minlength=count)
    return np.where((counted > 0) & (sums > 0), sums / np.maximum(counted, 1), np.nan)
