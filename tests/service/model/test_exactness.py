"""Keras is the oracle: outputs, states, gates and everything between, over random networks."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.strategies import NetworkCase, networks

from service.model import keras_file
from service.model.network import Network
from service.model.proof import MEASURED, difference

EXAMPLES = 60


@pytest.fixture(scope="module")
def keras():
    """Keras, imported once."""
    import keras

    return keras


def loaded(model, directory) -> Network:
    """A Keras model, saved and read."""
    path = directory / "model.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return keras_file.read(path)


def inner_outputs(keras, model, x) -> dict[str, np.ndarray]:
    """What Keras computes: the first output of each layer of the outer model, by name."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    firsts = [keras.tree.flatten(layer.output)[0] for layer in layers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # masks that layers destroy, which Keras warns of and this product does too
        values = keras.Model(model.inputs, firsts)(x)
    return {layer.name: np.asarray(v) for layer, v in zip(layers, keras.tree.flatten(values), strict=True)}


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=networks())
def test_every_layer_gives_what_keras_gives(keras, tmp_path_factory, case: NetworkCase):
    """Every output of every layer of a random network equals Keras's within the frozen bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = case.build()
    network = loaded(model, tmp_path_factory.mktemp("case"))
    x = case.inputs()
    inputs = {network.inputs[0].name: x}
    network.check(inputs)
    trace = network.trace(inputs)
    ours = {layer.layer: layer.tensors["output"] for layer in trace.layers}
    expected = inner_outputs(keras, model, x)
    for name, value in expected.items():
        if name in ours:
            assert difference(ours[name], value, MEASURED) <= 1, (name, case)
    (output,) = network.forward(inputs).outputs.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert difference(output, np.asarray(model(x)), MEASURED) <= 1


def test_a_mask_given_with_states_in_the_graph_is_ignored_as_keras_ignores_it(keras, tmp_path):
    """A layer given initial states in the graph does not see the mask that its input carries; what comes after does."""
    layers = keras.layers
    x = keras.Input((5, 2), name="x")
    masked = layers.Masking()(x)
    first, h, c = layers.LSTM(3, return_sequences=True, return_state=True, name="encoder")(masked)
    second = layers.LSTM(3, return_sequences=True, name="decoder")(masked, initial_state=[h, c])
    both = layers.Multiply()([first, second])
    y = layers.GRU(2, name="last")(both)
    model = keras.Model(x, [y, second, layers.Concatenate()([h, c])])
    network = loaded(model, tmp_path)
    values = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    values[:, [0, 3]] = 0
    result = network.forward({"x": values})
    for actual, expected in zip(result.outputs.values(), model(values), strict=True):
        assert difference(actual, np.asarray(expected), MEASURED) <= 1
    assert [state.name for state in network.states] == [
        "encoder/hidden_state",
        "encoder/cell_state",
        "last/hidden_state",
    ]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("SimpleRNN", {}),
        ("SimpleRNN", {"activation": "relu", "use_bias": False}),
        ("GRU", {}),
        ("GRU", {"reset_after": False, "recurrent_activation": "hard_sigmoid"}),
        ("GRU", {"use_bias": False, "recurrent_activation": "softmax"}),
        ("LSTM", {}),
        ("LSTM", {"recurrent_dropout": 0.5, "recurrent_activation": "softmax"}),
        ("LSTM", {"use_bias": False, "activation": "softsign"}),
    ],
)
def test_states_and_gates_are_those_of_keras(keras, tmp_path, kind, arguments, masked):
    """After each timestep the states equal Keras's, and the gates are what Keras's cell makes of Keras's states."""
    layers, timesteps = keras.layers, 5
    layer = getattr(layers, kind)(4, return_state=True, name="rnn", **arguments)
    x = keras.Input((timesteps, 3), name="x")
    model = keras.Model(x, layer(layers.Masking()(x) if masked else x))
    keras.utils.set_random_seed(1)
    layer.set_weights([np.random.default_rng(2).normal(0, 0.5, w.shape) for w in layer.get_weights()])
    network = loaded(model, tmp_path)
    values = np.random.default_rng(3).normal(size=(2, timesteps, 3)).astype(np.float32)
    if masked:
        values[0, 1:3] = 0
    trace = network.trace({"x": values}, layers=["rnn"])
    seen = trace.layers[0].tensors
    names = ["hidden_state", "cell_state"][: len(model.outputs) - 1]
    zero = [np.zeros((2, 4), np.float32) for _ in names]
    before = zero
    for t in range(timesteps):
        mask = (values[:, : t + 1] != 0).any(axis=-1) if masked else None
        _, *after = layer(values[:, : t + 1], mask=mask)
        for name, state in zip(names, after, strict=True):
            assert difference(seen[name][:, t], np.asarray(state), MEASURED) <= 1
        for name, gate in keras_gates(keras, layer.cell, values[:, t], before).items():
            assert difference(seen[name][:, t], np.asarray(gate), MEASURED) <= 1, (name, t)
        before = [np.asarray(state) for state in after]
    for name, state in zip(names, before, strict=True):
        assert difference(trace.final_state[f"rnn/{name}"], state, MEASURED) <= 1


def keras_gates(keras, cell, x, states):
    """The gates of one timestep, from Keras's weights, states and activations; the sums are NumPy's in double."""
    kernel, recurrent = np.asarray(cell.kernel, np.float64), np.asarray(cell.recurrent_kernel, np.float64)
    bias = np.asarray(cell.bias, np.float64) if cell.use_bias else np.zeros(kernel.shape[1])
    h = states[0].astype(np.float64)

    def of(function, sums):
        return np.asarray(function(keras.ops.convert_to_tensor(sums.astype(np.float32))))

    if type(cell).__name__ == "SimpleRNNCell":
        return {"pre_activation": (x @ kernel + bias + h @ recurrent).astype(np.float32)}
    if type(cell).__name__ == "LSTMCell":
        i, f, c, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        gates = {"input_gate": i, "forget_gate": f, "output_gate": o}
        found = {name: of(cell.recurrent_activation, sums) for name, sums in gates.items()}
        return {**found, "candidate": of(cell.activation, c)}
    input_bias, recurrent_bias = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    xz, xr, xh = np.split(x @ kernel + input_bias, 3, axis=1)
    hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
    z, r = of(cell.recurrent_activation, xz + hz), of(cell.recurrent_activation, xr + hr)
    inner = r * hh if cell.reset_after else (r * h) @ recurrent[:, -h.shape[1] :]
    return {"update_gate": z, "reset_gate": r, "candidate": of(cell.activation, xh + inner)}


def test_bidirectional_is_traced_in_the_order_of_the_input(keras, tmp_path):
    """Both directions show their states at the timestep they belong to, and together they are the output."""
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 2)), layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")]
    )
    network = loaded(model, tmp_path)
    values = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    seen = network.trace({network.inputs[0].name: values}).layers[0].tensors
    together = np.concatenate([seen["forward/hidden_state"], seen["backward/hidden_state"]], axis=-1)
    assert np.array_equal(together, seen["output"])
    assert difference(seen["output"], np.asarray(model(values)), MEASURED) <= 1
