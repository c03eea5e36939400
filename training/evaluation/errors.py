"""Errors of a network on windows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from service.model.network import Network
from training.data.layout import Layout
from training.data.windows import SEQUENCE, Array, Windows
from training.evaluation.calibration import calibration_error

BATCH = 512  # windows that are computed at once
NETWORK = "network"  # whose errors they are, beside the names of baselines
TINY = 1e-7  # the least probability, so that logarithms are finite

Figures = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """Errors on the held-out windows, by whose they are and then by metric; the smaller the better."""

    metric: str  # the one that decides
    network: Figures
    baselines: dict[str, Figures] = field(default_factory=dict)
    coverage: dict[float, float] = field(default_factory=dict)  # of the prediction intervals, by level in percent
    adaptive_coverage: dict[float, float] = field(default_factory=dict, kw_only=True)  # of those by recent error
    by_target: dict[str, "Measured"] = field(default_factory=dict)  # of several targets, each by itself
    temperature: float | None = None  # of probabilities; None: there is none
    uncalibrated: Figures = field(default_factory=dict)  # of the network without the temperature
    folds: dict[str, list[float]] = field(default_factory=dict)  # the deciding error in each fold, with NETWORK's

    @property
    def better_baseline(self) -> str:
        """The best baseline, if it is better than the network; empty: none is. An error that is not finite is worse."""
        best = min(self.baselines, key=lambda name: self.baselines[name][self.metric], default="")
        error = self.network[self.metric]
        return best if best and not error <= self.baselines[best][self.metric] else ""

    def as_metrics(self) -> Figures:
        """Flat, for the record of a run."""
        own = {f"held_out_{name}": value for name, value in self.network.items()}
        others = {
            f"baseline_{who.replace(' ', '_')}_{name}": value
            for who, figures in self.baselines.items()
            for name, value in figures.items()
        }
        covered = {f"held_out_coverage_{level:g}": share for level, share in self.coverage.items()}
        covered |= {f"held_out_adaptive_coverage_{level:g}": share for level, share in self.adaptive_coverage.items()}
        apart = {
            f"{name}.{re.sub(r'[^A-Za-z0-9_]', '_', target)}": value
            for target, measured in self.by_target.items()
            for name, value in measured.as_metrics().items()
        }
        calibrated = {} if self.temperature is None else {"temperature": self.temperature}
        before = {f"uncalibrated_{name}": value for name, value in self.uncalibrated.items()}
        return own | others | covered | apart | calibrated | before


def predict(network: Network, windows: Windows, progress: Callable[[int, int], None] = lambda *_: None) -> Array:
    """What a network gives for windows, (windows, outputs[, targets]), computed batch by batch without Keras."""
    (output,) = (spec.name for spec in network.outputs)
    parts = []
    for i, batch in enumerate(windows.batches(BATCH)):
        parts.append(network.forward(named(network, batch.feeds())).outputs[output])
        batch.release()
        progress(min((i + 1) * BATCH, len(windows)), len(windows))
    return np.concatenate(parts)


def named(network: Network, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """What the inputs of a network get, by its names for them: the one input of a network may have any."""
    if len(network.inputs) == 1:
        return {network.inputs[0].name: feeds[SEQUENCE]}
    return {spec.name: feeds[spec.name] for spec in network.inputs}


def errors(predicted: Array, expected: npt.NDArray[np.generic], classes: int) -> Figures:
    """Of numbers the root mean squared and the mean absolute error; of classes the error rate and two of probabilities.

    These are the log loss and the expected calibration error. For classes `predicted` holds probabilities,
    (…, classes), and `expected` their places, in the same order. Of several targets, (windows, steps, targets), see
    `combined`.
    """
    if predicted.ndim == 3 and not classes:
        each = [errors(predicted[..., i], expected[..., i], 0) for i in range(predicted.shape[2])]
        return combined(each, expected)
    if not classes:
        difference = predicted.astype(np.float64) - np.asarray(expected, np.float64)
        return {"rmse": float(np.sqrt(np.mean(difference**2))), "mae": float(np.mean(np.abs(difference)))}
    right = np.asarray(expected, np.int64).ravel()
    predicted = predicted.reshape(len(right), -1)
    likelihood = np.clip(predicted[np.arange(len(right)), right].astype(np.float64), TINY, 1)
    return {
        "error_rate": float(np.mean(predicted.argmax(axis=1) != right)),
        "log_loss": float(-np.mean(np.log(likelihood))),
        "calibration_error": calibration_error(predicted, right),
    }


def combined(each: Sequence[Figures], expected: npt.NDArray[np.generic]) -> Figures:
    """The errors of several targets as one: the mean of them, each relative to its target's standard deviation.

    expected: (windows, steps, targets); of a target that does not vary here the error counts as it is.
    """
    units = np.asarray(expected, np.float64).std(axis=(0, 1))
    units[units == 0] = 1
    return {
        f"n{name}": float(np.mean([figures[name] / unit for figures, unit in zip(each, units, strict=True)]))
        for name in ("rmse", "mae")
    }


def metric(layout: Layout) -> str:
    """The error that decides: of classes, of several targets, or of one.

    Of a next character, of which none is sure, how probable it was.
    """
    if layout.next_character:
        return "log_loss"
    if layout.classes:
        return "error_rate"
    return "nrmse" if layout.targets else "rmse"


def shortened(figures: Figures, metrics: Sequence[str]) -> list[float | None]:
    """In six digits, which columns have room for; None where there is none."""
    return [float(f"{figures[name]:.6g}") if name in figures else None for name in metrics]
