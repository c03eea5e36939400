"""ConvLSTM1D next to Keras: outputs, states, gates, masks, pieces, patches, gradients; and what is refused."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model import keras_config, keras_file
from service.model.gradients import Tape
from service.model.layers.patch import Patch, PatchKind
from service.model.limits import ReadLimits
from service.model.proof import allowed, difference
from tests.data.hostile import build
from tests.fuzz.targets import check_demand
from tests.service.model.engines.networks import saved as from_config
from tests.service.model.gradients.oracle import BOUNDS, compare
from tests.strategies import GATE_ACTIVATIONS, RECURRENT_ACTIVATIONS, randomize

TIMESTEPS, POSITIONS, CHANNELS = 5, 7, 2


@st.composite
def cases(draw):
    """Options of a layer, its type, whether it is within a Bidirectional, and what is masked."""
    options = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.integers(1, 4)),
        "padding": draw(st.sampled_from(["same", "valid"])),
        "data_format": draw(st.sampled_from(["channels_last", "channels_last", "channels_first"])),
        "activation": draw(st.sampled_from(["tanh", "tanh", *RECURRENT_ACTIVATIONS])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", *GATE_ACTIVATIONS])),
        "use_bias": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        draw(st.sampled_from(["strides", "dilation_rate"])): draw(st.integers(1, 2)),
    }
    both = draw(st.integers(0, 4)) == 0
    if not both:
        options |= {name: draw(st.booleans()) for name in ("go_backwards", "zero_output_for_mask")}
    masked = draw(st.sampled_from(["", "timesteps", "positions"]))
    if masked == "positions":  # a mask of positions is one of the states, too
        options |= {"padding": "same", "strides": 1, "data_format": "channels_last"}
    dtypes = ["float32", "float32", "float64", "float16"]
    if options["data_format"] == "channels_first":  # which TensorFlow convolves in single precision only on a CPU
        dtypes = ["float32"]
    return options, draw(st.sampled_from(dtypes)), both, masked


def saved(keras, folder, outputs):
    """The network of a functional model of one input `x`, and the model as Keras reads it."""
    path = folder / "model.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Model(outputs[0], outputs[1])
        randomize(model, 5)
        model.save(path)
        return keras_file.read(path), keras.saving.load_model(path)


@pytest.fixture(scope="module")
def keras():
    """Keras, imported once."""
    import keras

    return keras


def made(keras, case):
    """Input and outputs, states among them, of a network with a layer that a case describes."""
    options, dtype, both, masked = case
    k, policy = keras.layers, {"dtype": dtype}
    first = options["data_format"] == "channels_first"
    x = y = keras.Input((None, CHANNELS, POSITIONS) if first else (None, POSITIONS, CHANNELS), name="x", dtype=dtype)
    mask = None
    if masked == "timesteps":
        mask = keras.ops.any(keras.ops.any(keras.ops.not_equal(x, 0.0), axis=-1), axis=-1)
    elif masked:
        y = k.Masking(**policy)(y)
    layer = k.ConvLSTM1D(return_state=True, name="inner" if both else "rnn", **options, **policy)
    layer = k.Bidirectional(layer, name="rnn", **policy) if both else layer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x, layer(y) if mask is None else layer(y, mask=mask)


def given_to(network, dtype, masked):
    """An input with masked timesteps or positions."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, TIMESTEPS, *network.inputs[0].shape[2:]))
    if masked == "timesteps":
        x[rng.random(x.shape[:2]) < 0.4] = 0
    elif masked:
        x[rng.random(x.shape[:3]) < 0.4] = 0
    return x.astype(dtype)


@settings(
    max_examples=24, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases())
def test_it_gives_what_keras_gives(keras, tmp_path_factory, case):
    """Outputs and final states, whatever the options and masks; its cost is known; pieces give the bits of one call."""
    _, dtype, _, masked = case
    network, model = saved(keras, tmp_path_factory.mktemp("case"), made(keras, case))
    x = given_to(network, dtype, masked)
    inputs = {"x": x}
    network.check(inputs)
    whole = network.forward(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a softmax over one filter
        expected = keras.tree.flatten(model(x))
    assert len(expected) == len(whole.outputs) == 1 + len(network.states)
    for actual, wanted in zip(whole.outputs.values(), expected, strict=True):
        assert difference(actual, np.asarray(wanted), allowed(network)) <= 1, case
    for (name, state), actual in zip(whole.final_state.items(), list(whole.outputs.values())[1:], strict=True):
        assert np.array_equal(state, actual), name
    check_demand(network, inputs, network.trace(inputs))
    if not network.streamable:
        return
    for cuts in ([1], [2, 3]):
        state, pieces = {}, []
        for piece in np.split(x, cuts, axis=1):
            network.check({"x": piece}, state)
            result = network.forward({"x": piece}, state)
            state = result.final_state
            pieces.append(next(iter(result.outputs.values())))
        output = next(iter(whole.outputs.values()))
        together = np.concatenate(pieces, axis=1) if output.ndim == 4 else pieces[-1]
        assert together.tobytes() == output.tobytes()
        assert all(state[name].tobytes() == value.tobytes() for name, value in whole.final_state.items())


@settings(
    max_examples=6, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases())
def test_it_has_tensorflows_gradients(keras, tmp_path_factory, case):
    """By the input and by each weight, whatever the options and masks."""
    options, _, both, masked = case
    x, (output, *_) = made(keras, ({**options, "data_format": "channels_last"}, "float64", both, masked))
    network, model = saved(keras, tmp_path_factory.mktemp("case"), (x, output))
    compare(network, model, given_to(network, "float64", masked), BOUNDS["float64"])


@pytest.mark.parametrize("options", [{"strides": [2]}, {"dilation_rate": [2], "padding": "same"}])
def test_channels_first_is_the_same_turned(tmp_path, options):
    """With channels before positions outputs, states and gradients are those of the other layout, turned."""
    found = []
    for layout in ("channels_last", "channels_first"):
        first = layout == "channels_first"
        shape = [None, None, *((CHANNELS, POSITIONS) if first else (POSITIONS, CHANNELS))]
        own = {"filters": 3, "kernel_size": [3], "return_sequences": True, "data_format": layout, **options}
        config = build.harmless()
        config["config"]["layers"] = [
            build.layer("InputLayer", "x", batch_shape=shape, dtype="float64"),
            build.layer("ConvLSTM1D", "rnn", dtype="float64", **own),
        ]
        network = from_config(tmp_path, config)
        x = np.random.default_rng(0).normal(size=(2, 4, POSITIONS, CHANNELS))
        tape = Tape(network, {"x": x.swapaxes(2, 3) if first else x})
        y = tape.outputs["rnn"].swapaxes(2, 3) if first else tape.outputs["rnn"]
        seed = np.cos(np.arange(y.size)).reshape(y.shape)
        back = tape.backward({"rnn": seed.swapaxes(2, 3) if first else seed})
        by_x = back.inputs["x"].swapaxes(2, 3) if first else back.inputs["x"]
        states = [s.swapaxes(1, 2) if first else s for s in tape.result.final_state.values()]
        found.append([y, *states, by_x, *back.weights.values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.fixture
def plain(keras, tmp_path):
    """A network of one layer with states (5, 3), and its input."""
    layer = keras.layers.ConvLSTM1D(3, 3, name="rnn", return_sequences=True)
    x = keras.Input((None, POSITIONS, CHANNELS), name="x")
    network, model = saved(keras, tmp_path, (x, layer(x)))
    return network, model, given_to(network, "float32", "")


def test_a_trace_shows_states_and_gates(plain):
    """A state after a timestep is that of the sequence up to there, as a row of units; gates make the next ones."""
    network, _, x = plain
    seen = network.trace({"x": x}).layers[0].tensors
    for t in range(TIMESTEPS):
        final = network.forward({"x": x[:, : t + 1]}).final_state
        for name in ("hidden_state", "cell_state"):
            assert final[f"rnn/{name}"].shape == (3, 5, 3)
            assert np.array_equal(seen[name][:, t], final[f"rnn/{name}"].reshape(3, -1))
    assert np.array_equal(seen["output"].reshape(3, TIMESTEPS, -1), seen["hidden_state"])
    before = np.concatenate([np.zeros_like(seen["cell_state"][:, :1]), seen["cell_state"][:, :-1]], axis=1)
    made = seen["forget_gate"] * before + seen["input_gate"] * seen["candidate"]
    np.testing.assert_allclose(made, seen["cell_state"], atol=1e-6)
    np.testing.assert_allclose(seen["output_gate"] * np.tanh(made), seen["hidden_state"], atol=1e-6)
    sums = seen["pre_activation"][..., : seen["input_gate"].shape[-1]]
    np.testing.assert_allclose(1 / (1 + np.exp(-sums)), seen["input_gate"], atol=1e-6)


def test_changed_weights_give_what_keras_gives_with_them(plain):
    """A what-if on each weight is Keras's own result with that weight."""
    network, model, x = plain
    for i, name in enumerate(("kernel", "recurrent_kernel", "bias")):
        weights = model.get_weights()
        weights[i] = weights[i] * np.float32(1.5)
        model.set_weights(weights)
        network = network.with_weights({f"rnn/{name}": weights[i]})
        (found,) = network.forward({"x": x}).outputs.values()
        assert difference(found, np.asarray(model(x))) <= 1


def test_states_set_equal_a_sequence_resumed(plain):
    """Both states set after a timestep give, to the bit, the sequence split there and resumed from those states."""
    network, _, x = plain
    states = {s.name: np.random.default_rng(5).normal(size=(3, 5, 3)).astype("f4") for s in network.states}
    expected = network.forward({"x": x[:, 3:]}, states)
    patches = [
        Patch("rnn", name.split("/")[1], PatchKind.SET, value.reshape(3, 1, -1), timesteps=(2, 3))
        for name, value in states.items()
    ]
    found = network.patched({"x": x}, None, patches)
    assert np.array_equal(found.outputs["rnn"][:, 3:], expected.outputs["rnn"])
    assert all(np.array_equal(found.final_state[name], value) for name, value in expected.final_state.items())


def test_states_of_another_shape_are_refused(plain):
    """An initial state is (batch, positions, filters), and nothing else."""
    network, _, x = plain
    with pytest.raises(InvalidArgumentError, match=r"initial_state\[rnn/cell_state\]: expected shape"):
        network.check({"x": x}, {"rnn/cell_state": np.zeros((3, 15), np.float32)})


def test_a_decoder_starts_from_an_encoders_states(keras, tmp_path):
    """States that the graph hands on have several axes, too."""
    k = keras.layers
    x = keras.Input((4, POSITIONS, CHANNELS), name="x")
    _, *states = k.ConvLSTM1D(2, 3, return_state=True, name="encoder")(x)
    y = k.ConvLSTM1D(2, 3, name="decoder")(x, initial_state=states)
    network, model = saved(keras, tmp_path, (x, y))
    given = np.random.default_rng(0).normal(size=(2, 4, POSITIONS, CHANNELS)).astype("f4")
    (found,) = network.forward({"x": given}).outputs.values()
    assert difference(found, np.asarray(model(given))) <= 1


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, [None, 4, 7], "expected an input"),
        ({}, [None, 4, None, 2], "must be known"),
        ({"strides": [2], "dilation_rate": [2]}, [None, 4, 7, 2], "strides and dilation_rate above 1"),
        ({"kernel_size": [8]}, [None, 4, 7, 2], "7 positions are fewer than one window"),
        ({"kernel_size": [1 << 16], "dilation_rate": [1 << 16]}, [None, 4, 7, 2], "the window is too wide"),
        ({"filters": 1 << 24}, [None, 4, 7, 2], "too large"),
        ({"filters": 64, "padding": "same"}, [None, 4, 1 << 24, 1], "too large"),
        ({"padding": "causal"}, [None, 4, 7, 2], "padding=causal"),
        ({"activation": "glu"}, [None, 4, 7, 2], "glu"),
        ({"units": 3}, [None, 4, 7, 2], "option units"),
    ],
)
def test_what_cannot_be_computed_is_refused(options, shape, message):
    """Inputs and options that do not fit, or ask for too much, are refused by name before anything is laid out."""
    config = build.harmless()
    config["config"]["layers"] = [
        build.layer("InputLayer", "input", batch_shape=shape, dtype="float32"),
        build.layer("ConvLSTM1D", "rnn", **{"filters": 2, "kernel_size": [3], **options}),
    ]
    with pytest.raises(UnsupportedModelError, match=message):
        keras_config.build(config, ReadLimits())


def test_many_positions_cost_what_they_lay_out(tmp_path):
    """What a call lays out for its windows is in its cost, so that a bound on costs bounds it."""
    config = build.harmless()
    config["config"]["layers"] = [
        build.layer("InputLayer", "input", batch_shape=[None, 2, 1 << 16, 1], dtype="float32"),
        build.layer("ConvLSTM1D", "rnn", filters=1, kernel_size=[1 << 10], padding="same"),
    ]
    network = from_config(tmp_path, config)
    assert network.cost(((2, 1 << 16, 1),)) > 2 * (1 << 26)
