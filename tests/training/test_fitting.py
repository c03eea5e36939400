"""training.fitting: the loop learns what Keras's own loop learns, and tells of it."""

import itertools

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.networks import CLASSES, sequences, trained
from training.options import Options


def test_progress_is_told_while_it_fits(reference):
    """The listener hears many times how many epochs are done, in order, with the loss of the last one."""
    _, losses, told = reference
    epochs = [epoch for epoch, _ in told]
    assert len(epochs) >= 20
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 2000
    assert all(losses[epoch - 1] == loss for epoch, loss in told)


def test_the_curve_is_that_of_keras(network, short):
    """The loss of every epoch, and the weights in the end, are those of Keras's own loop over the same data."""
    model, losses = short
    dataset = sequences()
    plain = network.build(Options(seed=3), 3, 2)
    targets = network.targets_for(plain, dataset.expected()[:, 0], "mean_squared_error")
    history = plain.fit(dataset.inputs(), targets, epochs=130, batch_size=3, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, history, rtol=1e-3)
    for name, values in network.weights(model).items():
        np.testing.assert_allclose(values, network.weights(plain)[name], rtol=1e-3, atol=1e-4)


def test_any_number_of_epochs_is_fitted(short):
    """Epochs beyond the last full hundred are fitted as well, each with its loss."""
    _, losses = short
    assert len(losses) == 130
    assert all(after < before for before, after in itertools.pairwise(losses))


def test_no_epochs_leave_the_initial_weights(network):
    """Zero epochs give no losses, tell no progress and change no weight."""
    told = []
    model, losses = trained(network, 0, progress=lambda *args: told.append(args))
    assert (losses, told) == ([], [])
    initial = network.weights(network.build(Options(), 3, 2))
    assert all(np.array_equal(values, initial[name]) for name, values in network.weights(model).items())


def test_the_same_seed_gives_the_same_bits(network, short):
    """The same seed gives bit-identical losses and weights, and another seed gives others."""
    model, losses = short
    again, same = trained(network, 130, seed=3)
    assert same == losses
    weights = network.weights(model)
    assert all(values.tobytes() == weights[name].tobytes() for name, values in network.weights(again).items())
    other = network.weights(network.build(Options(seed=4), 3, 2))
    initial = network.weights(network.build(Options(seed=3), 3, 2))
    assert not np.array_equal(initial["simpleRNN/kernel"], other["simpleRNN/kernel"])


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({**CLASSES}, "sparse_categorical_crossentropy"),
        ({**CLASSES, "loss": "categorical_crossentropy", "return_sequences": True}, "categorical_crossentropy"),
        (
            {"dense_units": 0, "units": (2,), "return_sequences": True, "loss": "mean_absolute_error"},
            "mean_absolute_error",
        ),
    ],
)
def test_other_networks_fit_with_the_loss_that_suits_them(network, options, loss):
    """Classification and outputs of any shape are fitted: the loss is that of the options, and it falls."""
    assert Options(**options).chosen_loss == loss
    model, losses = trained(network, 20, learning_rate=0.02, **options)
    assert model.loss == network.build(Options(**options), 3, 2).loss
    assert losses[-1] < losses[0]


def test_a_classifier_learns_its_classes(network):
    """With softmax each target is a class, in order of size, and after training each sequence is in its own."""
    model, losses = trained(network, 300, **CLASSES)
    probabilities = network.predict(model, sequences().inputs())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert losses[-1] < losses[0]
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]


def test_a_loss_that_takes_other_outputs(network):
    """A loss that Keras knows, and that takes other outputs than the network's, is an error that names it."""
    from training import fitting

    model = network.build(Options(loss="ctc"), 3, 2)
    with pytest.raises(InvalidArgumentError, match="loss: it does not fit the network's output"):
        fitting.fit(model, np.ones((3, 3, 2), np.float32), np.ones((3, 1), np.float32), 1, lambda *_: None)
