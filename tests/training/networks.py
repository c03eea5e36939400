"""Trained networks for the tests of training: the reference network, and one of 130 epochs."""

from training.data.examples import load
from training.options import Options, Source

CLASSES = {"dense_units": 3, "dense_activation": "softmax"}


def sequences():
    """The reference sequences."""
    return load(Source(), lambda *_: None, lambda _: None).parts.train


def quiet(epoch, loss):
    """Hears of progress and says nothing."""


def trained(network, epochs, progress=quiet, **options):
    """A fitted network and its losses."""
    options = Options(epochs=epochs, **options)
    dataset = sequences()
    model = network.build(options, 3, 2)
    targets = network.targets_for(model, dataset.expected()[:, 0], options.chosen_loss)
    from training import fitting

    return model, fitting.fit(model, dataset.inputs(), targets, options.epochs, progress)
