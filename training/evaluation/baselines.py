"""Baselines: forecasts that cost nothing, by which a network is measured."""

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

    found = {}
    if test.lead:
        found["last value"] = judged(_last(test))
    if test.lead and season:
        found["seasonal"] = judged(_seasonal(test, season))
    elif classes:
        usual = np.bincount(train.expected()[:, 0], minlength=classes).argmax()
        found["most frequent"] = judged(np.full_like(expected, usual))
    else:
        found["mean"] = judged(np.broadcast_to(train.expected().mean(axis=0, dtype=np.float64), expected.shape))
    return found


def _last(windows: Windows) -> npt.NDArray[np.generic]:
    """The last target that is known at the end of each window, for all its targets."""
    known = windows.targets[np.maximum(windows.target_starts - windows.lead, 0)]
    return np.broadcast_to(known[:, None], (len(windows), windows.outputs))


def _seasonal(windows: Windows, season: int) -> npt.NDArray[np.generic]:
    """The targets one season (or as many as are needed) earlier; the last known one where the series is younger."""
    ahead = np.arange(windows.outputs)
    back = season * -(-(ahead + windows.lead) // season)
    rows = windows.target_starts[:, None] + ahead - back
    there = rows >= 0
    if windows.segments is not None:
        there &= windows.segments[np.maximum(rows, 0)] == windows.segments[windows.starts][:, None]
    return np.where(there, windows.targets[np.maximum(rows, 0)], _last(windows))
