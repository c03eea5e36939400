"""A network: what it says of itself, what it refuses, and how it changes without changing."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model.network import Network
from tests.data.hostile import build

layer = build.layer


@pytest.fixture
def network(tmp_path) -> Network:
    """Input (3, 2), SimpleRNN(4), Dense(1); all weights 1."""
    build.write(tmp_path / "m.keras")
    return keras_file.read(tmp_path / "m.keras")


def read(directory, config, **more):
    """A network of a config, all weights 1."""
    from service.model import keras_config
    from service.model.limits import ReadLimits
    from service.model.weights_file import places

    wanted = places(keras_config.build(config, ReadLimits())).values()
    weights = build.h5(weights={path: np.ones(spec.shape, spec.dtype) for path, spec in wanted})
    build.write(directory / "m.keras", config, weights, **more)
    return keras_file.read(directory / "m.keras")


def row(*layers):
    """The config of a Sequential."""
    return build.changed("config", "layers", to=list(layers))


def test_it_describes_itself(network):
    """Inputs, outputs, states and layers have names, types and shapes; timesteps are free where they may be."""
    assert [(s.name, s.dtype.name, s.shape) for s in network.inputs] == [("input", "float32", (None, None, 2))]
    assert [(s.name, s.dtype.name, s.shape) for s in network.outputs] == [("output", "float32", (None, 1))]
    assert [(s.name, s.shape) for s in network.states] == [("rnn/hidden_state", (None, 4))]
    assert [(x.name, x.class_name, x.output_shape, x.parameter_count) for x in network.layers] == [
        ("rnn", "SimpleRNN", (None, 4), 28),
        ("output", "Dense", (None, 1), 5),
    ]
    assert network.layers[0].weights == ("rnn/kernel", "rnn/recurrent_kernel", "rnn/bias")


def test_nothing_of_it_can_be_changed(network):
    """Weights cannot be written to, nor exchanged."""
    with pytest.raises(ValueError, match="read-only"):
        network.weights["rnn/bias"][0] = 2
    with pytest.raises(TypeError):
        network.weights["rnn/bias"] = np.zeros(4, np.float32)  # type: ignore[index]


def test_other_weights_make_another_network(network):
    """`with_weights` leaves the network as it is and gives one with another digest; back again, the digest is back."""
    x = {"input": np.ones((1, 3, 2), np.float32)}
    before, digest = network.forward(x).outputs["output"], network.digest
    value = np.array([5], np.float32)
    other = network.with_weights({"output/bias": value})
    value[0] = 7  # the caller's array is the caller's
    assert other.forward(x).outputs["output"] == before + 4
    assert network.forward(x).outputs["output"] == before
    assert other.digest != digest == network.digest
    assert other.with_weights({"output/bias": np.array([1], np.float32)}).digest == digest


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nobody/bias", np.zeros(4, np.float32), "no weight"),
        ("rnn/bias", np.zeros(5, np.float32), "shape"),
        ("rnn/bias", np.zeros(4, np.float64), "float64"),
        ("rnn/bias", np.full(4, np.nan, np.float32), "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(network, name, value, message):
    """An unknown weight, another shape or type, and values that are not finite are named and refused."""
    with pytest.raises(InvalidArgumentError, match=message) as error:
        network.with_weights({name: value})
    assert error.value.field == f"weights[{name}]"


@pytest.mark.parametrize(
    ("inputs", "state", "field"),
    [
        ({}, None, "inputs"),
        ({"input": np.ones((1, 3, 2), np.float32), "more": np.ones(1)}, None, "inputs[more]"),
        ({"input": np.ones((1, 3, 2))}, None, "inputs[input]"),
        ({"input": np.ones((1, 3, 3), np.float32)}, None, "inputs[input]"),
        ({"input": np.ones((3, 2), np.float32)}, None, "inputs[input]"),
        ({"input": np.ones((0, 3, 2), np.float32)}, None, "inputs[input]"),
        ({"input": np.ones((1, 0, 2), np.float32)}, None, "inputs[input]"),
        ({"input": np.ones((1, 3, 2), np.float32)}, {"nobody": np.ones((1, 4))}, "initial_state[nobody]"),
        (
            {"input": np.ones((1, 3, 2), np.float32)},
            {"rnn/hidden_state": np.ones((1, 5), np.float32)},
            "initial_state[rnn/hidden_state]",
        ),
        (
            {"input": np.ones((2, 3, 2), np.float32)},
            {"rnn/hidden_state": np.ones((1, 4), np.float32)},
            "initial_state[rnn/hidden_state]",
        ),
    ],
)
def test_calls_that_do_not_fit_are_refused_by_field(network, inputs, state, field):
    """Missing and unknown names, other types and shapes, nothing at all, another batch: each names its field."""
    with pytest.raises(InvalidArgumentError) as error:
        network.check(inputs, state)
    assert error.value.field == field


def test_an_id_outside_the_table_is_refused(tmp_path):
    """An id below zero or above the table of an Embedding is the caller's mistake, and is named."""
    network = read(
        tmp_path,
        row(
            layer("InputLayer", "ids", batch_shape=[None, None], dtype="int32"),
            layer("Embedding", "table", input_dim=5, output_dim=2, mask_zero=True),
            layer("GRU", "gru", units=2),
        ),
    )
    assert network.streamable
    assert network.inputs[0].shape == (None, None)
    for bad in (-1, 5):
        with pytest.raises(InvalidArgumentError, match=f"id {bad} is not within 0:5"):
            network.forward({"ids": np.array([[1, bad, 2]], np.int32)})


@pytest.mark.parametrize(
    ("layers", "culprit"),
    [
        ([layer("Bidirectional", "l", layer=layer("LSTM", "i", units=2))], "l (Bidirectional)"),
        ([layer("LSTM", "l", units=2, go_backwards=True)], "l (LSTM)"),
        ([layer("LSTM", "l", units=2, return_sequences=True), layer("Flatten", "f")], "f (Flatten)"),
        ([layer("Conv1D", "c", filters=2, kernel_size=[2]), layer("LSTM", "l", units=2)], "c (Conv1D)"),
        ([layer("GRU", "g", units=2), layer("RepeatVector", "r", n=3), layer("GRU", "h", units=2)], "h (GRU)"),
    ],
)
def test_what_looks_at_all_timesteps_cannot_be_fed_in_pieces(tmp_path, layers, culprit):
    """A network with such a layer is not streamable, names the first one, and keeps its declared timesteps."""
    network = read(tmp_path, row(layer("InputLayer", "x", batch_shape=[None, 3, 2]), *layers))
    assert not network.streamable
    assert culprit in network.not_streamable_reason
    assert network.inputs[0].shape == (None, 3, 2)


def test_an_output_of_timesteps_has_as_many_as_its_input(tmp_path):
    """Where the number of timesteps is free, the outputs that have timesteps say so too."""
    returning = layer("GRU", "g", units=2, return_sequences=True)
    network = read(tmp_path, row(layer("InputLayer", "x", batch_shape=[None, 3, 2]), returning))
    assert network.inputs[0].shape == network.outputs[0].shape == (None, None, 2)
    assert network.forward({"x": np.ones((1, 7, 2), np.float32)}).outputs["g"].shape == (1, 7, 2)


def test_a_stateful_layer_is_served_statelessly_and_says_so(tmp_path):
    """stateful=True is accepted with a note, and two calls give the same."""
    config = row(layer("InputLayer", "x", batch_shape=[4, 3, 2]), layer("GRU", "gru", units=2, stateful=True))
    network = read(tmp_path, config)
    assert "gru" in network.notes[0]
    x = {"x": np.ones((1, 3, 2), np.float32)}
    assert np.array_equal(network.forward(x).outputs["gru"], network.forward(x).outputs["gru"])


def test_a_trace_can_be_of_chosen_layers(network):
    """Only the layers asked for are shown; one that does not exist is refused."""
    x = {"input": np.ones((2, 5, 2), np.float32)}
    trace = network.trace(x, layers=["output"])
    assert [(t.layer, sorted(t.tensors)) for t in trace.layers] == [("output", ["output", "pre_activation"])]
    whole = network.trace(x)
    assert whole.layers[0].tensors["hidden_state"].shape == (2, 5, 4)
    assert np.array_equal(whole.outputs["output"], network.forward(x).outputs["output"])
    with pytest.raises(InvalidArgumentError, match="no layer named 'nobody'"):
        network.trace(x, layers=["nobody"])


def test_shared_layers_and_several_inputs_and_outputs(tmp_path):
    """A layer called twice has one set of weights, and its second call states of its own."""
    config = build.functional(
        {**layer("InputLayer", "z", batch_shape=[None, None, 2]), "name": "z", "inbound_nodes": []},
        build.wired(layer("GRU", "shared", units=3), ("x", 0, 0), ("z", 0, 0)),
        build.wired(layer("Dense", "y", units=1), ("shared", 0, 0)),
        inputs=[["x", 0, 0], ["z", 0, 0]],
        outputs=[["y", 0, 0], ["shared", 1, 0]],
    )
    network = read(tmp_path, config)
    assert [s.name for s in network.inputs] == ["x", "z"]
    assert [s.name for s in network.outputs] == ["y", "shared/call_1"]
    assert [s.name for s in network.states] == ["shared/hidden_state", "shared/call_1/hidden_state"]
    assert network.parameter_count == 3 * 9 + 2 * 9 + 18 + 4
    x, z = np.ones((2, 3, 2), np.float32), np.zeros((2, 4, 2), np.float32)
    network.check({"x": x, "z": z})
    swapped = network.forward({"x": z, "z": x})
    assert np.array_equal(
        network.forward({"x": x, "z": z}).final_state["shared/hidden_state"], swapped.outputs["shared/call_1"]
    )
    with pytest.raises(InvalidArgumentError, match="batch of 2"):
        network.check({"x": x, "z": z[:1]})
