"""Keras is the oracle: outputs, states, gates and everything between, over random networks."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.engines import choice as engines
from service.model.network import Network
from service.model.proof import Proof, allowed, difference, replay
from tests.strategies import NetworkCase, networks

EXAMPLES = 45


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


@pytest.mark.timeout(600)  # Keras builds each network twice
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=networks())
# Thousands of numbers step by step; what it reaches others reach too, and to count lines takes longer than the test.
@pytest.mark.no_cover
def test_every_layer_gives_what_keras_gives(keras, tmp_path_factory, case: NetworkCase):
    """Every output of every layer of a random network is what Keras makes of the file, within the frozen bound."""
    folder = tmp_path_factory.mktemp("case")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = loaded(case.build(), folder)
        # Not the model that was built: Keras writes SpatialDropout1D as it computes without mixed precision.
        model = keras.saving.load_model(folder / "model.keras")
    x, bounds = case.inputs(), allowed(network)
    inputs = {network.inputs[0].name: x}
    network.check(inputs)
    trace = network.trace(inputs)
    ours = {layer.layer: layer.tensors["output"] for layer in trace.layers}
    expected = inner_outputs(keras, model, x)
    for name, value in expected.items():
        if name in ours:
            assert difference(ours[name], value, bounds) <= 1, (name, case)
    (output,) = network.forward(inputs).outputs.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(model(x))
    assert difference(output, expected, bounds) <= 1
    for kind in engines.KINDS.values():
        engine = kind.make(network)
        if engine is not None:
            most = None if len(kind.batches) > 1 else 1  # sequences
            (output,) = engine.forward({name: array[:most] for name, array in inputs.items()}).outputs.values()
            assert difference(output, expected[:most], bounds) <= 1


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
        assert difference(actual, np.asarray(expected)) <= 1
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
            assert difference(seen[name][:, t], np.asarray(state)) <= 1
        for name, gate in keras_gates(keras, layer.cell, values[:, t], before).items():
            assert difference(seen[name][:, t], np.asarray(gate)) <= 1, (name, t)
        before = [np.asarray(state) for state in after]
    for name, state in zip(names, before, strict=True):
        assert difference(trace.final_state[f"rnn/{name}"], state) <= 1


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
    assert difference(seen["output"], np.asarray(model(values))) <= 1


def graph_of_sequences(keras):
    """Masks through every kind of merge, states wired by hand, slices, nested and shared models, arithmetic."""
    layers = keras.layers
    x = keras.Input((5, 2), name="x")
    masked = layers.Masking(0.5)(x)
    first = layers.LSTM(3, return_sequences=True, return_state=True)(masked)
    second = layers.GRU(3, return_sequences=True)(masked, initial_state=first[1])
    merged = layers.Concatenate()([first[0], second])
    longer = layers.Concatenate(axis=1)([first[0], layers.Dense(3)(x)])
    product = layers.Multiply()([first[0], second])
    extremes = [getattr(layers, kind)()([first[0], second, product]) for kind in ("Maximum", "Minimum", "Average")]
    ends = [layers.LSTM(2)(value) for value in (product, merged, *extremes)]
    inner_input = keras.Input((4,))
    inner = keras.Model([inner_input], [layers.Dense(2)(inner_input), layers.Dense(3)(inner_input)], name="inner")
    pair, swapped = layers.Concatenate()(ends[:2]), layers.Concatenate()(ends[1::-1])
    both = layers.Bidirectional(layers.LSTM(2, return_state=True), merge_mode=None)(masked)
    outputs = [
        *ends,
        (ends[0] + ends[1]) * 2.0 + 1 - ends[1] / 3.0,
        keras.ops.tanh(ends[0]),
        layers.GRU(2)(longer),
        first[0][:, -1, :],
        first[0][:, 1:3],
        first[0][..., 0],
        layers.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0])(x),
        layers.Normalization(mean=3.0, variance=2.0, invert=True)(x),
        layers.Rescaling(np.array([1.0, 2.0]), offset=1)(x),
        layers.Dot(axes=1)([ends[0], ends[1]]),
        layers.Dot(axes=(2, 2), normalize=True)([first[0], second]),
        layers.GlobalAveragePooling1D()(first[0]),
        layers.Permute((2, 1))(second),
        layers.Reshape((3, -1))(second),
        layers.Cropping1D((1, 2))(second),
        layers.Softmax(axis=[1, 2])(x),
        layers.LayerNormalization(axis=[1, 2])(x),
        inner(pair)[0],
        inner(swapped)[1],
        *both,
    ]
    return keras.Model(x, outputs), {"x": (np.random.default_rng(0).integers(0, 3, (3, 5, 2)) / 2).astype(np.float32)}


def graph_of_several_inputs(keras):
    """Ids beside floats, one Dense for both, a model in a row inside a graph, one state given out."""
    layers = keras.layers
    x, ids = keras.Input((None, 2), name="x"), keras.Input((3,), dtype="int32", name="ids")
    shared = layers.Dense(2, name="shared")
    embedded = layers.Embedding(5, 2, mask_zero=True)(ids)
    last, state = layers.SimpleRNN(2, return_state=True)(x)
    total = layers.Add(name="total")([shared(last), shared(layers.LSTM(2)(embedded))])
    inner = keras.Sequential([layers.Dense(3), layers.ReLU(), layers.PReLU()], name="inner")
    doubled = inner(layers.Concatenate()([total, state])) * 2.0
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(4, 6, 2)).astype(np.float32), "ids": rng.integers(0, 5, (4, 3)).astype(np.int32)}
    return keras.Model({"x": x, "ids": ids}, {"b": total, "a": doubled}), values


@pytest.mark.parametrize("make", [graph_of_sequences, graph_of_several_inputs])
def test_functional_graphs_give_what_keras_gives(keras, tmp_path, make):
    """Every output of graphs with most of what a functional model can hold equals Keras's."""
    from tests.strategies import randomize

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, values = make(keras)
        randomize(model, 3)
        expected = keras.tree.flatten(model(values if len(values) > 1 else values["x"]))
        network = loaded(model, tmp_path)
    network.check(values)
    actual = network.forward(values).outputs
    assert len(actual) == len(expected)
    for (name, ours), theirs in zip(actual.items(), expected, strict=True):
        assert difference(ours, np.asarray(theirs)) <= 1, name
    assert network.parameter_count == model.count_params()


def test_a_sequential_without_an_input_takes_the_shape_it_was_built_with(keras, tmp_path):
    """A model in a row that was built by hand, or by its first call, is read with that shape."""
    model = keras.Sequential(
        [keras.layers.GRU(3, return_sequences=True), keras.layers.TimeDistributed(keras.layers.Dense(2))]
    )
    model.build((None, None, 4))
    network = loaded(model, tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    (output,) = network.forward({network.inputs[0].name: x}).outputs.values()
    assert difference(output, np.asarray(model(x))) <= 1


@pytest.mark.parametrize("value", [0, 2, 0.5, 2.0**63])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_masked_numbers_are_compared_as_keras_compares_them(keras, tmp_path, dtype, value):
    """Masking finds its value among integers, too, and a value that is none of them nowhere."""
    layers = [keras.layers.Masking(value), keras.layers.Rescaling(0.5), keras.layers.LSTM(2)]
    model = keras.Sequential([keras.Input((3, 2), dtype=dtype), *layers])
    network = loaded(model, tmp_path)
    given = np.array([[[2, 2], [1, 2], [0, 0]], [[0, 0], [2, 2], [2, 2]]], dtype)
    (actual,) = network.forward({network.inputs[0].name: given}).outputs.values()
    assert difference(actual, np.asarray(model(given))) <= 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_plain_numbers_are_those_that_keras_makes_tensors_of(keras, tmp_path, dtype):
    """Numbers that no float holds exactly are rounded where Keras rounds them, in double precision too."""
    layers = keras.layers
    x = keras.Input((4, 3), dtype=dtype, name="x")
    outputs = [
        layers.Rescaling(0.1, offset=0.7, dtype=dtype)(x),
        layers.Rescaling([0.1, 0.2, 0.3], offset=[0.1, 0.2, 0.7], dtype=dtype)(x),
        layers.Rescaling(np.array([0.1, 0.2, 0.3]), dtype=dtype)(x),
        layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.1, 0.2, 0.7], dtype=dtype)(x),
        layers.Normalization(mean=0.1, variance=0.3, invert=True, dtype=dtype)(x),
        layers.ReLU(max_value=0.7, negative_slope=0.1, threshold=0.05, dtype=dtype)(x),
        layers.LeakyReLU(0.3, dtype=dtype)(x),
        layers.ELU(0.3, dtype=dtype)(x),
        (x * 0.1 + 0.3) / 0.7,
    ]
    model = keras.Model(x, outputs)
    network = loaded(model, tmp_path)
    model = keras.models.load_model(tmp_path / "model.keras")  # arrays come back from the file as arrays
    values = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(dtype)
    actual = network.forward({"x": values}).outputs
    for (name, ours), theirs in zip(actual.items(), model(values), strict=True):
        assert difference(ours, np.asarray(theirs)) <= 1, name


def mixed(keras, kind):
    """Networks of two types, and the less precise one."""
    layers = keras.layers
    x = keras.Input((6, 3), name="x")
    half = keras.DTypePolicy("mixed_float16")
    if kind == "half inside":  # the way that Keras's guide to mixed precision ends a network
        return keras.Model(x, layers.Dense(2, dtype="float32")(layers.LSTM(16, dtype=half)(x))), "float16"
    if kind == "single inside":
        return keras.Model(x, layers.Dense(2, dtype="float64")(layers.LSTM(16)(x))), "float32"
    if kind == "half within a wrapper":
        return keras.Model(x, layers.Bidirectional(layers.GRU(8, dtype=half))(x)), "float16"
    return keras.Model(x, layers.Bidirectional(layers.GRU(8, dtype="float32"), dtype="float64")(x)), "float32"


@pytest.mark.parametrize("kind", ["half inside", "single inside", "half within a wrapper", "single within a wrapper"])
def test_mixed_precision_is_held_to_the_less_precise_type(keras, tmp_path, kind):
    """A proof by Keras of a network of two types holds; by the bound of its outputs' own type it would not."""
    model, precision = mixed(keras, kind)
    network = loaded(model, tmp_path)
    values = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    expected = np.asarray(model(values))
    assert network.precision == precision
    (name,) = (spec.name for spec in network.outputs)
    assert replay(network, Proof({"x": values}, {name: expected}, {}, "keras")) <= 1
    assert difference(network.forward({"x": values}).outputs[name], expected) > 1


def refused(keras, kind):
    """Layers that Keras would compute partly in another type than it says."""
    layers = keras.layers
    x = keras.Input((6, 3), dtype="float16" if kind == "LayerNormalization" else "float32")
    if kind == "LayerNormalization":
        return keras.Model(x, layers.LayerNormalization(dtype="float32")(x))
    inner = layers.Dense(2, dtype="float32") if kind == "TimeDistributed" else layers.ReLU(dtype="float32")
    return keras.Model(x, layers.TimeDistributed(inner, dtype="float64", name="around")(x))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("LayerNormalization", "an input of type float16 for float32 is not supported"),
        ("TimeDistributed", r"around a Dense of type float32, itself of type float64"),
        ("ReLU", r"around a ReLU of type float32, itself of type float64"),
    ],
)
def test_a_type_that_keras_does_not_keep_is_refused(keras, tmp_path, kind, message):
    """A layer whose result would be of another type or precision than its policy says is refused by name."""
    with pytest.raises(UnsupportedModelError, match=message):
        loaded(refused(keras, kind), tmp_path)
