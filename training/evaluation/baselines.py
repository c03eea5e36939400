"""Baselines: simple forecasts with which a network is compared."""

import numpy as np
import numpy.typing as npt

from training.data.examples import Examples
from training.data.windows import Windows
from training.evaluation.errors import Figures, errors


def baselines(examples: Examples, season: int) -> dict[str, Figures]:
    """The errors of what costs nothing: the last known value, and the value a season ago, or the mean or usual class.

    Ready sequences say nothing of earlier targets; they have the mean only.
    """
    train, test = examples.parts.train, examples.parts.test
    expected, classes = test.expected(), len(examples.classes)

    def judged(predicted: npt.NDArray[np.generic]) -> Figures:
        if not classes:
            return errors(np.asarray(predicted, np.float32), expected, 0)
        return {"error_rate": float(np.mean(predicted != expected))}

    # What is expected of anything that nothing else is known of: a class, or the mean of each step, (outputs,).
    usual = (
        np.bincount(train.expected()[:, 0], minlength=classes).argmax()
        if classes
        else train.expected().mean(axis=0, dtype=np.float64)
    )
    found = {}
    if test.lead:
        found["last value"] = judged(_last(test, usual))
    if test.lead and season:
        found["seasonal"] = judged(_seasonal(test, season, usual))
    elif classes:
        found["most frequent"] = judged(np.broadcast_to(usual, expected.shape))
    else:
        found["mean"] = judged(np.broadcast_to(usual, expected.shape))
    return found


def _last(windows: Windows, otherwise: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """The last target that is known at the end of each window, for all its targets; `otherwise` where none is."""
    return _known(windows, np.repeat((windows.target_starts - windows.lead)[:, None], windows.outputs, 1), otherwise)


def _seasonal(windows: Windows, season: int, otherwise: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """The targets one season (or as many as are needed) earlier; the last known one where the series is younger."""
    ahead = np.arange(windows.outputs)
    back = season * -(-(ahead + windows.lead) // season)
    return _known(windows, windows.target_starts[:, None] + ahead - back, _last(windows, otherwise))


def _known(windows: Windows, rows: npt.NDArray[np.int64], otherwise: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """The targets in rows of the windows' own segments, (windows, outputs); of a missing one the last known before it.

    `otherwise` where the segment begins later, or has no target until then.
    """
    targets, segments = windows.targets, windows.segments
    missing = targets < 0 if targets.dtype.kind == "i" else np.isnan(targets)
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(targets))))  # with a target, at or before each row
    found = np.where(rows >= 0, last[np.maximum(rows, 0)], -1)
    there = found >= 0
    if segments is not None:
        there &= segments[np.maximum(found, 0)] == segments[windows.starts][:, None]
    return np.where(there, targets[np.maximum(found, 0)], otherwise)
