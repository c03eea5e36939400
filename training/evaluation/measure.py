"""The evaluation at the end of training: the network and the baselines on the held-out data."""

from service.model.intervals import Intervals, coverage
from service.model.network import Network
from training.data.examples import Examples
from training.evaluation.baselines import baselines
from training.evaluation.errors import Measured, errors, metric, predict
from training.options import Source


def measure(network: Network, examples: Examples, source: Source, intervals: Intervals | None = None) -> Measured:
    """A network, its prediction intervals and the baselines on the held-out windows."""
    test, classes = examples.parts.test, len(examples.classes)
    predicted, expected = predict(network, test), test.expected()
    covered = coverage(intervals, predicted, expected) if intervals else {}
    return Measured(metric(classes), errors(predicted, expected, classes), baselines(examples, source.season), covered)
