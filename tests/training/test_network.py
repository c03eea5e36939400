"""The network in Keras: what it learns, that it learns what Keras's own loop learns, and what it refuses."""

import itertools

import numpy as np
import pytest

from service.errors import InvalidArgumentError, LimitExceededError
from service.model import keras_file
from service.model import proof as proofs
from training.data.examples import load
from training.options import Options, Source
from training.scaling import Scaling

CLASSES = {"dense_units": 3, "dense_activation": "softmax"}
R3_LOSS = 0.00685  # of seed 0
R3_PREDICTIONS = [[10.0000], [20.0005], [29.8573]]


@pytest.fixture(scope="session")
def network():
    """The module, which imports TensorFlow."""
    from training import network

    return network


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


@pytest.fixture(scope="session")
def reference(network):
    """The reference network, trained as published, with its losses and the progress that was told."""
    told = []
    return *trained(network, 2000, progress=lambda *args: told.append(args)), told


# What it learns.


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


def test_progress_is_told_while_it_fits(reference):
    """The listener hears many times how many epochs are done, in order, with the loss of the last one."""
    _, losses, told = reference
    epochs = [epoch for epoch, _ in told]
    assert len(epochs) >= 20
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 2000
    assert all(losses[epoch - 1] == loss for epoch, loss in told)


def test_inputs_are_normalised_in_double_precision(network):
    """Mean and variance of many rows far from zero are those of double precision, within what float32 holds."""
    sample = (1e4 + np.random.default_rng(0).normal(size=(500_000, 2))).astype(np.float32)
    model = network.build(Options(), 3, 2, Scaling(sample))
    layer = model.get_layer("normalization")
    exact = sample.astype(np.float64)
    np.testing.assert_allclose(np.ravel(layer.mean), exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(layer.variance), exact.var(axis=0), rtol=1e-3)


# The loop.


@pytest.fixture(scope="session")
def short(network):
    """A network trained for a number of epochs that is no multiple of the steps in one call."""
    return trained(network, 130, seed=3)


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


# What it refuses.


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"units": (0,)}, "units"),
        ({"units": ()}, "units"),
        ({"dense_units": -1}, "dense_units"),
        ({"epochs": -1}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_numbers_out_of_range_are_refused(options, field):
    """A number that makes no sense is refused before anything is built, and the error names it."""
    with pytest.raises(InvalidArgumentError, match=f"^{field}: expected") as caught:
        Options(**options)
    assert caught.value.field == field


def test_a_network_without_memory_for_it(network):
    """A network that no memory holds is an error that says so."""
    with pytest.raises(LimitExceededError, match="no memory for a network of 100000000 units"):
        network.build(Options(units=(100_000_000,)), 3, 2)


def test_a_loss_that_takes_other_outputs(network):
    """A loss that Keras knows, and that takes other outputs than the network's, is an error that names it."""
    from training import fitting

    model = network.build(Options(loss="ctc"), 3, 2)
    with pytest.raises(InvalidArgumentError, match="loss: it does not fit the network's output"):
        fitting.fit(model, np.ones((3, 3, 2), np.float32), np.ones((3, 1), np.float32), 1, lambda *_: None)


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


def test_the_record_of_a_run_names_the_loss_that_was_used():
    """Parameters for the record are the options as given, and the loss that was chosen where none was."""
    params = Options(units=(5,), **CLASSES).as_params()
    assert params["units"] == "5"
    assert params["loss"] == "sparse_categorical_crossentropy"
    assert set(params) == set(Options.__dataclass_fields__)


# What our own network makes of it.


@pytest.mark.parametrize("options", [None, {"return_sequences": True, "units": (3,)}, {"dense_units": 0}, CLASSES])
def test_our_network_reproduces_the_proof(network, reference, options, tmp_path):
    """A saved network is read by the service and gives Keras's outputs and final states, as its proof says."""
    model = reference[0] if options is None else network.build(Options(**options), 3, 2)
    inputs = sequences().inputs()
    from training import proving

    network.save(model, tmp_path / "model.keras")
    proof = proving.proof(model, inputs)
    assert list(proof.inputs) == ["sequence"]
    proof.save(tmp_path / "proof.npz")
    served = keras_file.read(tmp_path / "model.keras")
    assert 0 <= proofs.replay(served, proofs.load(tmp_path / "proof.npz")) <= 1


def test_states_are_those_of_our_network(network, reference, tmp_path):
    """Keras's state after each timestep is the final state that our network has after so many timesteps."""
    from training import proving

    model, _, _ = reference
    inputs = sequences().inputs()
    network.save(model, tmp_path / "model.keras")
    served = keras_file.read(tmp_path / "model.keras")
    (name, states), *others = proving.states(model, inputs).items()
    assert (name, others) == ("simpleRNN", [])
    assert states.over_time.shape == (3, 3, 4)
    for step in range(3):
        result = served.forward({"sequence": inputs[:, : step + 1]})
        assert set(result.final_state) == set(states.final) == {"simpleRNN/hidden_state"}
        np.testing.assert_allclose(result.final_state["simpleRNN/hidden_state"], states.over_time[:, step], atol=1e-5)
    np.testing.assert_array_equal(states.final["simpleRNN/hidden_state"], states.over_time[:, -1])
