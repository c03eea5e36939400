"""Baselines: simple forecasts with which a network is compared."""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.examples import Examples
from training.data.growing import Growing, blocks, release
from training.data.windows import Windows
from training.evaluation import text_baselines
from training.evaluation.errors import Figures, errors


def baselines(examples: Examples, season: int) -> dict[str, Figures]:
    """The errors of what costs nothing: the last known value, and the value a season ago, or the mean or usual class.

    Ready sequences say nothing of earlier targets; they have the mean only. Texts have baselines of their own.
    """
    train, test = examples.parts.train, examples.parts.test
    expected, classes = test.expected(), len(examples.classes)
    if examples.layout.next_character:
        return text_baselines.of_characters(train, test, classes)

    def judged(predicted: npt.NDArray[np.generic]) -> Figures:
        if not classes:
            return errors(np.asarray(predicted, np.float32), expected, 0)
        return {"error_rate": float(np.mean(predicted != expected))}

    # What is expected of anything that nothing else is known of: a class, or the mean of each step, (outputs,).
    usual = (
        np.sum([np.bincount(some[:, 0], minlength=classes) for some in train.wanted()], axis=0).argmax()
        if classes
        else np.sum([some.sum(axis=0, dtype=np.float64) for some in train.wanted()], axis=0) / len(train)
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
    return found | (text_baselines.of_labels(train, test, classes) if examples.layout.text else {})


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
    found = np.where(rows >= 0, _with_target(targets)[np.maximum(rows, 0)], -1)
    there = found >= 0
    if segments is not None:
        there &= segments[np.maximum(found, 0)] == segments[windows.starts][:, None]
    return np.where(there, targets[np.maximum(found, 0)], otherwise)


def _with_target(targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The last row with a target at or before each row; -1 where there is none."""
    made, before = Growing(), -1
    for block in blocks(len(targets)):
        values = targets[block]
        missing = values < 0 if values.dtype.kind == "i" else np.isnan(values)
        places = np.where(missing, -1, np.arange(block.start, block.stop))
        places[0] = max(places[0], before)
        made.append(np.maximum.accumulate(places))
        before = int(places.max())
        release(targets)
    return made.array()
