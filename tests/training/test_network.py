"""training.network: the network in Keras, what it learns, and what it refuses."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError, LimitExceededError
from tests.training.networks import CLASSES, sequences
from training.options import Options
from training.scaling import Scaling

R3_LOSS = 0.00685  # of seed 0
R3_PREDICTIONS = [[10.0000], [20.0005], [29.8573]]


def test_the_smallest_network_has_22_parameters(network):
    """Three units over two features and one output of them: 18 and 4 trainable parameters."""
    model = network.build(Options(units=(3,)), 3, 2)
    assert [layer.count_params() for layer in model.layers] == [18, 4]
    assert sum(weight.size for weight in network.weights(model).values()) == model.count_params() == 22
    assert "22" in network.summary(model)


def test_the_reference_network_learns_what_was_published(network, reference):
    """Seed 0 ends at the measured loss and predicts the measured numbers."""
    model, losses, _ = reference
    assert len(losses) == 2000
    assert losses[-1] == pytest.approx(R3_LOSS, rel=0.01)
    np.testing.assert_allclose(network.predict(model, sequences().inputs()), R3_PREDICTIONS, atol=2e-4)


def test_weights_have_the_names_and_shapes_of_the_service(network, reference):
    """Weights are named by layer and weight, as the service names them, and have the shapes of the network."""
    model, _, _ = reference
    assert {name: values.shape for name, values in network.weights(model).items()} == {
        "simpleRNN/kernel": (2, 4),
        "simpleRNN/recurrent_kernel": (4, 4),
        "simpleRNN/bias": (4,),
        "output/kernel": (4, 1),
        "output/bias": (1,),
    }


def test_inputs_are_normalised_in_double_precision(network):
    """Mean and variance of many rows far from zero are those of double precision, within what float32 holds."""
    sample = (1e4 + np.random.default_rng(0).normal(size=(500_000, 2))).astype(np.float32)
    model = network.build(Options(), 3, 2, Scaling(sample))
    layer = model.get_layer("normalization")
    exact = sample.astype(np.float64)
    np.testing.assert_allclose(np.ravel(layer.mean), exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(layer.variance), exact.var(axis=0), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[10], [20], [30]]),
        ({"dense_units": 2}, [[10, 10], [20, 20], [30, 30]]),
        ({"return_sequences": True}, [[[10]] * 3, [[20]] * 3, [[30]] * 3]),
        (CLASSES, [0, 1, 2]),
        ({**CLASSES, "return_sequences": True}, [[0] * 3, [1] * 3, [2] * 3]),
        ({**CLASSES, "loss": "categorical_crossentropy"}, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ({**CLASSES, "dense_units": 4, "loss": "categorical_crossentropy"}, np.eye(3, 4)),
        ({**CLASSES, "loss": "mean_squared_error"}, [[10] * 3, [20] * 3, [30] * 3]),
    ],
)
def test_targets_have_the_shape_that_the_loss_wants(network, options, expected):
    """Targets stand for every output of their sequence, and are classes where the loss is about classes."""
    options = Options(**options)
    targets = network.targets_for(network.build(options, 3, 2), sequences().expected()[:, 0], options.chosen_loss)
    assert targets.dtype == np.float32
    assert np.array_equal(targets, np.array(expected, np.float32))


def test_a_network_without_memory_for_it(network):
    """A network that no memory holds is an error that says so."""
    with pytest.raises(LimitExceededError, match="no memory for a network of 100000000 units"):
        network.build(Options(units=(100_000_000,)), 3, 2)


@pytest.mark.parametrize("option", ["activation", "dense_activation", "optimizer", "loss"])
def test_names_that_keras_does_not_know_are_refused(network, option):
    """A name that Keras does not know is refused in one line that quotes it."""
    with pytest.raises(InvalidArgumentError, match="no_such_thing") as caught:
        network.build(Options(**{option: "no_such_thing"}), 3, 2)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("loss", ["", "categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_too_few_outputs_for_the_classes_are_refused(network, loss):
    """Three classes need three outputs, and a network with fewer is refused for its number of them."""
    options = Options(dense_units=2, dense_activation="softmax", loss=loss)
    with pytest.raises(InvalidArgumentError, match="3 classes need as many outputs, got 2") as caught:
        network.targets_for(network.build(options, 3, 2), sequences().expected()[:, 0], options.chosen_loss)
    assert caught.value.field == "dense_units"
