"""Prediction intervals of a version: how far to either side of a prediction the true value lies, by level and step.

The half-widths come from split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005; Lei et al., Distribution-Free Predictive Inference for Regression, 2018): of the n absolute errors on data
that the network did not learn from, the half-width at level p is the one of rank ⌈(n + 1) p⌉. If errors to come are
exchangeable with these, an interval covers the true value with a probability of at least p, whatever their
distribution. Errors of a series are exchangeable only approximately, so coverage is measured on held-out data as well.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError, ModelError
from service.model.network import Network

FILE = "intervals.json"
METHOD = "split-conformal"
LEVELS = (50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0)  # percent
LARGEST = 1 << 20  # bytes of a file
MOST_STEPS = 65_536

Array = npt.NDArray[np.float32]


class IntervalsError(ModelError):
    """A file of intervals that cannot be used."""


@dataclass(frozen=True)
class Intervals:
    """Half-widths of the prediction intervals of a network with one output, (batch, steps) or (batch, steps, targets).

    half_widths: by level in percent, ascending: (steps,) or (steps, targets), in the units of the output.
    """

    half_widths: dict[float, Array]
    count: int  # errors that they were computed from

    def check(self, level: float) -> None:
        """Raises InvalidArgumentError for a level that there is not."""
        if level not in self.half_widths:
            known = ", ".join(f"{known:g}" for known in self.half_widths)
            raise InvalidArgumentError(
                f"levels: there are no prediction intervals at {level:g} %; there are at {known}", field="levels"
            )

    def around(self, predicted: Array, level: float) -> tuple[Array, Array]:
        """The lower and upper ends, each of the shape of `predicted`, (batch, steps[, targets]).

        Raises InvalidArgumentError for a level that there is not.
        """
        self.check(level)
        half = self.half_widths[level]
        return predicted - half, predicted + half

    def of_target(self, place: int) -> "Intervals":
        """The intervals of one of several targets."""
        return Intervals({level: half[:, place] for level, half in self.half_widths.items()}, self.count)

    def save(self, path: Path) -> None:
        """Writes the file."""
        document = {
            "method": METHOD,
            "count": self.count,
            "half_widths": {f"{level:g}": half.tolist() for level, half in self.half_widths.items()},
        }
        path.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False))


def calibrate(predicted: Array, expected: Array, levels: Sequence[float] = LEVELS) -> Intervals | None:
    """Intervals from predictions and true values, (windows, steps[, targets]), that the network did not learn from.

    Levels for which there are too few windows are left out; None if there is none left, or if errors are not finite.
    """
    errors = np.sort(np.abs(predicted.astype(np.float64) - expected.astype(np.float64)), axis=0)
    count = len(errors)
    ranks = {level: math.ceil((count + 1) * level / 100) for level in levels}
    half_widths = {level: errors[rank - 1].astype(np.float32) for level, rank in ranks.items() if rank <= count}
    if not half_widths or not all(np.isfinite(half).all() for half in half_widths.values()):
        return None
    return Intervals(half_widths, count)


def coverage(intervals: Intervals, predicted: Array, expected: Array) -> dict[float, float]:
    """The share of true values, (windows, steps[, targets]), within the intervals around predictions, by level."""
    found = {}
    for level in intervals.half_widths:
        lower, upper = intervals.around(predicted, level)
        found[level] = float(np.mean((lower <= expected) & (expected <= upper)))
    return found


def load(path: Path, shape: tuple[int | None, ...]) -> Intervals:
    """Reads a file for a network whose output has that shape, without the batch.

    Raises IntervalsError for one that does not fit.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        document = json.loads(path.read_bytes())
        if document["method"] != METHOD:
            raise ValueError(f"the method {str(document['method'])[:40]!r} is not known")
        count = int(document["count"])
        half_widths = {float(level): np.asarray(half, np.float32) for level, half in document["half_widths"].items()}
        for level, half in half_widths.items():
            if not 0 < level < 100 or half.shape != shape or not (np.isfinite(half) & (half >= 0)).all():
                raise ValueError(f"level {level:g} has no finite half-widths of shape {list(shape)}")
        if not half_widths:
            raise ValueError("it names no level")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError) as error:
        raise IntervalsError(f"{FILE} cannot be used: {str(error)[:200]}") from error
    return Intervals(dict(sorted(half_widths.items())), count)


def intervals_of(directory: Path, network: Network) -> Intervals | None:
    """The intervals next to a network; None: it has none. Raises IntervalsError for a file that does not fit."""
    path = directory / FILE
    if not path.exists():
        return None
    if len(network.outputs) != 1 or len(network.outputs[0].shape) not in (2, 3):
        raise IntervalsError(f"{FILE} cannot be used: the network does not have one output of steps")
    return load(path, network.outputs[0].shape[1:])
