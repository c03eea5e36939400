"""The evaluation at the end of training: the network and the baselines on the held-out data."""

from service.model.network import Network
from training.data.examples import Examples
from training.evaluation.baselines import baselines
from training.evaluation.errors import Measured, errors, metric, predict
from training.options import Source


def measure(network: Network, examples: Examples, source: Source) -> Measured:
    """A network and the baselines on the held-out windows."""
    test, classes = examples.parts.test, len(examples.classes)
    own = errors(predict(network, test), test.expected(), classes)
    return Measured(metric(classes), own, baselines(examples, source.season))
