"""Prediction intervals of a version: how far to either side of a prediction the true value lies, by level and step.

The half-widths come from split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005; Lei et al., Distribution-Free Predictive Inference for Regression, 2018): of the n absolute errors on data
that the network did not learn from, the half-width at level p is the one of rank ⌈(n + 1) p⌉. If errors to come are
exchangeable with these, an interval covers the true value with a probability of at least p, whatever their
distribution. Errors of a series are exchangeable only approximately, so coverage is measured on held-out data as well.

Adaptive intervals scale the half-widths by the recent error of the series: the score is the absolute error divided by
the recent one (normalized scores: Papadopoulos et al., Inductive Confidence Machines for Regression, 2002; locally
weighted conformal inference: Lei et al., section 5.2), so that they widen where a series is hard to predict.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError, ModelError
from service.model.network import Network

FILE = "intervals.json"
METHOD = "split-conformal"
LEVELS = (50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0)  # percent
LARGEST = 1 << 20  # bytes of a file
MOST_STEPS = 65_536
MOST_FORECASTS = 10_000  # of which the recent error is the mean

Array = npt.NDArray[np.float32]
Scale = npt.NDArray[np.float64]  # (batch,) or (batch, targets)


class IntervalsError(ModelError):
    """A file of intervals that cannot be used."""


@dataclass(frozen=True)
class Adaptive:
    """Half-widths as multiples of the recent error of the series: the mean absolute error of its last forecasts.

    quantiles: by level in percent, ascending: (steps,) or (steps, targets).
    """

    quantiles: dict[float, Array]
    count: int  # scores that they were computed from
    forecasts: int  # of which the recent error is the mean
    floor: Scale  # () or (targets,): the least error that widths are scaled by

    def half_widths(self, level: float, recent: Scale) -> Scale:
        """The half-widths after such recent errors, (batch, steps[, targets])."""
        made: Scale = self.quantiles[level].astype(np.float64) * np.maximum(recent, self.floor)[:, None]
        return made


@dataclass(frozen=True)
class Intervals:
    """Half-widths of the prediction intervals of a network with one output, (batch, steps) or (batch, steps, targets).

    half_widths: by level in percent, ascending: (steps,) or (steps, targets), in the units of the output.
    """

    half_widths: dict[float, Array]
    count: int  # errors that they were computed from
    adaptive: Adaptive | None = None

    def check(self, level: float, *, scaled: bool = False) -> None:
        """Raises InvalidArgumentError for a level that there is not, or not scaled by recent errors."""
        levels = self.adaptive.quantiles if scaled and self.adaptive else self.half_widths
        if level not in levels:
            kind = "adaptive" if scaled else "prediction"
            known = ", ".join(f"{known:g}" for known in levels)
            raise InvalidArgumentError(
                f"levels: there are no {kind} intervals at {level:g} %; there are at {known}", field="levels"
            )

    def around(self, predicted: Array, level: float, recent: Scale | None = None) -> tuple[Array, Array]:
        """The lower and upper ends, each of the shape of `predicted`, (batch, steps[, targets]).

        recent: errors that adaptive intervals are scaled by, (batch,) or (batch, targets); NaN: unknown, so that the
        widths are the plain ones.

        Raises InvalidArgumentError for a level that there is not.
        """
        self.check(level)
        half = self.half_widths[level]
        if recent is not None and self.adaptive is not None:
            self.check(level, scaled=True)
            scaled = self.adaptive.half_widths(level, recent)
            with np.errstate(over="ignore"):  # an interval may reach to infinity
                half = np.where(np.isnan(scaled), half, scaled).astype(np.float32)
        return predicted - half, predicted + half

    def of_target(self, place: int) -> "Intervals":
        """The intervals of one of several targets."""
        scaled = self.adaptive and replace(
            self.adaptive,
            quantiles={level: one[:, place] for level, one in self.adaptive.quantiles.items()},
            floor=self.adaptive.floor[place],
        )
        return Intervals({level: half[:, place] for level, half in self.half_widths.items()}, self.count, scaled)

    def save(self, path: Path) -> None:
        """Writes the file."""
        document: dict[str, Any] = {
            "method": METHOD,
            "count": self.count,
            "half_widths": {f"{level:g}": half.tolist() for level, half in self.half_widths.items()},
        }
        if self.adaptive is not None:
            document["adaptive"] = {
                "forecasts": self.adaptive.forecasts,
                "floor": self.adaptive.floor.tolist(),
                "count": self.adaptive.count,
                "quantiles": {f"{level:g}": one.tolist() for level, one in self.adaptive.quantiles.items()},
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


def coverage(
    intervals: Intervals, predicted: Array, expected: Array, recent: Scale | None = None
) -> dict[float, float]:
    """The share of true values, (windows, steps[, targets]), within the intervals around predictions, by level.

    recent: the recent errors, of adaptive intervals; see `Intervals.around`.
    """
    found = {}
    scaled = recent is not None and intervals.adaptive is not None
    for level in intervals.adaptive.quantiles if scaled and intervals.adaptive else intervals.half_widths:
        lower, upper = intervals.around(predicted, level, recent)
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
        half_widths = _by_level(document["half_widths"], shape)
        adaptive = _adaptive(document["adaptive"], shape) if "adaptive" in document else None
        if adaptive and not set(adaptive.quantiles) <= set(half_widths):
            raise ValueError("adaptive: it has levels without half-widths")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError) as error:
        raise IntervalsError(f"{FILE} cannot be used: {str(error)[:200]}") from error
    return Intervals(half_widths, count, adaptive)


def _by_level(document: Any, shape: tuple[int | None, ...]) -> dict[float, Array]:
    """Numbers of that shape by level, ascending. Raises ValueError for what is none, AttributeError for no mapping."""
    found = {float(level): np.asarray(half, np.float32) for level, half in document.items()}
    for level, half in found.items():
        if not 0 < level < 100 or half.shape != shape or not (np.isfinite(half) & (half >= 0)).all():
            raise ValueError(f"level {level:g} has no finite half-widths of shape {list(shape)}")
    if not found:
        raise ValueError("it names no level")
    return dict(sorted(found.items()))


def _adaptive(document: Any, shape: tuple[int | None, ...]) -> Adaptive:
    """What is scaled by recent errors. Raises ValueError and others for what does not fit."""
    forecasts, floor = int(document["forecasts"]), np.asarray(document["floor"], np.float64)
    if not 0 < forecasts <= MOST_FORECASTS:
        raise ValueError(f"adaptive: expected 1 to {MOST_FORECASTS} forecasts, got {forecasts}")
    if floor.shape != shape[1:] or not (np.isfinite(floor) & (floor > 0)).all():
        raise ValueError(f"adaptive: it has no positive floor of shape {list(shape[1:])}")
    return Adaptive(_by_level(document["quantiles"], shape), int(document["count"]), forecasts, floor)


def intervals_of(directory: Path, network: Network) -> Intervals | None:
    """The intervals next to a network; None: it has none. Raises IntervalsError for a file that does not fit."""
    path = directory / FILE
    if not path.exists():
        return None
    if len(network.outputs) != 1 or len(network.outputs[0].shape) not in (2, 3):
        raise IntervalsError(f"{FILE} cannot be used: the network does not have one output of steps")
    return load(path, network.outputs[0].shape[1:])
