"""The evaluation at the end of training: the network and the baselines on the held-out data."""

from dataclasses import replace

import numpy as np

from service.model.intervals import Intervals, Scale, coverage
from service.model.network import Network
from training.data.examples import Examples
from training.data.windows import Array
from training.evaluation import adaptive
from training.evaluation.baselines import baselines
from training.evaluation.errors import NETWORK, Measured, combined, errors, metric, predict
from training.evaluation.folds import stretches
from training.options import Source


def measure(
    network: Network,
    examples: Examples,
    source: Source,
    intervals: Intervals | None = None,
    temperature: float | None = None,
) -> Measured:
    """A network, its prediction intervals and the baselines on the held-out windows; several targets also by target.

    temperature: by which its probabilities were calibrated, if they were.
    """
    test = examples.parts.test
    predicted = predict(network, test)
    if temperature is not None:
        raised = predicted.astype(np.float64) ** temperature  # back to the probabilities without it
        before = errors(raised / raised.sum(axis=1, keepdims=True), test.expected(), len(examples.classes))
        measured = _measured(predicted, examples, source, intervals)
        return replace(measured, temperature=temperature, uncalibrated=before)
    recent = _recent(network, examples, predicted) if intervals and intervals.adaptive else None
    if not test.several:
        return _measured(predicted, examples, source, intervals, recent)
    by_target = {
        name: _measured(
            predicted[..., i], examples.of_target(i), source, intervals and intervals.of_target(i),
            None if recent is None else recent[:, i],
        )
        for i, name in enumerate(examples.layout.targets)
    }  # fmt: skip
    each, expected = list(by_target.values()), test.expected()
    return Measured(
        metric(examples.layout),
        errors(predicted, expected, 0),
        {name: combined([one.baselines[name] for one in each], expected) for name in each[0].baselines},
        coverage(intervals, predicted, expected) if intervals else {},
        by_target,
        adaptive_coverage=coverage(intervals, predicted, expected, recent) if intervals and recent is not None else {},
    )


def _recent(network: Network, examples: Examples, predicted: Array) -> Scale:
    """The recent error at each held-out window, from the validation part and what is held out before the window."""
    validation, test = examples.parts.validation, examples.parts.test
    before = np.abs(predict(network, validation) - validation.expected())
    errors_of_all = np.concatenate([before, np.abs(predicted - test.expected())])
    return adaptive.of_windows(errors_of_all, validation, test)[len(validation) :]


def _measured(
    predicted: Array, examples: Examples, source: Source, intervals: Intervals | None, recent: Scale | None = None
) -> Measured:
    """Predictions of one target, or of classes."""
    expected, classes = examples.parts.test.expected(), len(examples.classes)
    covered = coverage(intervals, predicted, expected) if intervals else {}
    figures = errors(predicted, expected, classes)
    scaled = coverage(intervals, predicted, expected, recent) if intervals and recent is not None else {}
    found = baselines(examples, source.season)
    return Measured(metric(examples.layout), figures, found, covered, adaptive_coverage=scaled)


def by_fold(network: Network, examples: Examples, source: Source, folds: int) -> dict[str, list[float]]:
    """The deciding error in each of so many folds of the held-out windows, by whose it is."""
    made: dict[str, list[float]] = {}
    for fold in stretches(examples.parts.test, folds) if folds else ():
        own = {NETWORK: errors(predict(network, fold), fold.expected(), len(examples.classes))}
        for who, figures in (own | baselines(examples, source.season, fold)).items():
            made.setdefault(who, []).append(figures[metric(examples.layout)])
    return made
