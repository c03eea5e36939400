"""Gradients next to TensorFlow's GradientTape, over random networks and over every layer; and identities."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from service.errors import NotSupportedError
from service.model import keras_file
from service.model.gradients import Tape, has_gradient
from service.model.gradients.base import Seen, backward
from service.model.layers import FAMILIES, LAYERS
from service.model.layers.base import Layer
from service.model.layers.operations import Operation
from service.model.tensors import POLICIES
from tests.service.model.gradients.oracle import BOUNDS, compare
from tests.strategies import NetworkCase, networks, randomize


@pytest.mark.timeout(900)  # Keras makes a graph of each network
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=networks(dtypes=["float32", "float64"]))
def test_random_networks_have_tensorflows_gradients(tmp_path_factory, case: NetworkCase):
    """By inputs and by every trained weight, within the frozen bound."""
    import keras

    path = tmp_path_factory.mktemp("case") / "model.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.build().save(path)
        model = keras.saving.load_model(path)
    compare(keras_file.read(path), model, case.inputs(), BOUNDS[case.dtype], case.seed)


def frames(k, layer):
    """A layer over frames of 2 by 3 with 4 channels, at each timestep."""
    return [k.Dense(24), k.Reshape((6, 2, 3, 4)), k.TimeDistributed(layer)]


def attention_in_a_list(k, x, make):
    """One that goes by masks; one that is causal, has a key of its own, and gives its scores."""
    masked = k.Masking()(x)
    first = make(use_scale=True)([masked, masked])
    options = {"score_mode": "concat"} if make.__name__ == "Attention" else {}
    second = make(use_scale=False, **options)
    y, scores = second([x, x, k.Dense(4)(x)], use_causal_mask=True, return_attention_scores=True)
    return k.Concatenate()([first, y, scores])


def attention_of_heads(k, x, make):
    """The same of several heads; the masked one with a window."""
    masked = k.Masking()(x)
    first = make(sliding_window=3)(masked, masked)
    y, scores = make(dropout=0.5)(x, k.Dense(4)(x), key=x, use_causal_mask=True, return_attention_scores=True)
    return k.Concatenate()([first, y, k.Reshape((6, -1))(k.Permute((2, 1, 3))(scores))])


def layer_cases():
    """Some layers of each class, as functions from Keras's layers to a stack; sequences of 6 timesteps of 4."""
    cases = {
        "SimpleRNN": lambda k: [k.SimpleRNN(3, activation="relu")],
        "GRU": lambda k: [k.Masking(), k.GRU(3, return_sequences=True, reset_after=False), k.GRU(2)],
        "LSTM": lambda k: [k.LSTM(3, go_backwards=True, return_sequences=True), k.LSTM(2)],
        "RNN": lambda k: [k.RNN([k.LSTMCell(3), k.GRUCell(2), k.SimpleRNNCell(2)], return_sequences=True)],
        "ConvLSTM1D": lambda k: [
            k.Masking(),
            k.TimeDistributed(k.Reshape((4, 1))),
            k.ConvLSTM1D(2, 3, strides=2, padding="same", return_sequences=True, activation="softmax"),
            k.Bidirectional(k.ConvLSTM1D(3, 2, padding="same", return_sequences=True)),
            k.TimeDistributed(k.Permute((2, 1))),
            k.ConvLSTM1D(2, 2, dilation_rate=2, go_backwards=True, recurrent_activation="softmax"),
        ],
        "Bidirectional": lambda k: [k.Masking(), k.Bidirectional(k.GRU(3, return_sequences=True), merge_mode="mul")],
        "TimeDistributed": lambda k: [k.TimeDistributed(k.Dense(3, activation="softmax"))],
        "Dense": lambda k: [k.Dense(4, use_bias=False), k.Dense(4, activation="glu")],
        "Conv1D": lambda k: [
            k.Conv1D(4, 3, strides=2, padding="same", activation="tanh"),
            k.Conv1D(4, 2, groups=2, dilation_rate=2, padding="causal"),
        ],
        "EinsumDense": lambda k: [
            k.EinsumDense("abc,cde->abde", (None, 3, 2), bias_axes="de", activation="tanh"),
            k.EinsumDense("...xy,yz->...zx", (4, 3), bias_axes="z"),
        ],
        "SeparableConv1D": lambda k: [
            k.SeparableConv1D(3, 2, strides=2, padding="same", depth_multiplier=2, activation="tanh"),
            k.SeparableConv1D(2, 2, use_bias=False),
        ],
        "DepthwiseConv1D": lambda k: [
            k.DepthwiseConv1D(2, dilation_rate=2, depth_multiplier=2, activation="relu"),
            k.DepthwiseConv1D(3, strides=2, padding="same", use_bias=False),
        ],
        "Conv1DTranspose": lambda k: [
            k.Conv1DTranspose(3, 3, strides=2, padding="same", activation="tanh"),
            k.Conv1DTranspose(2, 2, strides=3, output_padding=1, use_bias=False),
            k.Conv1DTranspose(2, 1, strides=2),
        ],
        "Conv2D": lambda k: [
            *frames(k, k.Conv2D(4, (2, 1), strides=(1, 2), padding="same", activation="tanh")),
            k.TimeDistributed(k.Conv2D(4, 2, groups=2, dilation_rate=(1, 1), use_bias=False, padding="same")),
        ],
        "MaxPooling2D": lambda k: frames(k, k.MaxPooling2D(2, strides=1, padding="same")),
        "AveragePooling2D": lambda k: frames(k, k.AveragePooling2D((2, 1), padding="same")),
        "GlobalMaxPooling2D": lambda k: frames(k, k.GlobalMaxPooling2D()),
        "GlobalAveragePooling2D": lambda k: frames(k, k.GlobalAveragePooling2D(keepdims=True)),
        "SpectralNormalization": lambda k: [k.SpectralNormalization(k.Dense(3, activation="tanh"))],
        "GroupNormalization": lambda k: [k.GroupNormalization(2), k.GroupNormalization(-1, axis=1, scale=False)],
        "Masking": lambda k: [k.Masking(), k.LSTM(2)],
        "MaxPooling1D": lambda k: [k.MaxPooling1D(3, strides=2, padding="same")],
        "AveragePooling1D": lambda k: [k.AveragePooling1D(3, strides=2, padding="same")],
        "GlobalMaxPooling1D": lambda k: [k.GlobalMaxPooling1D()],
        "GlobalAveragePooling1D": lambda k: [k.Masking(), k.GlobalAveragePooling1D(keepdims=True)],
        "Normalization": lambda k: [k.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])],
        "Rescaling": lambda k: [k.Rescaling(0.5, 0.25)],
        "BatchNormalization": lambda k: [k.BatchNormalization()],
        "LayerNormalization": lambda k: [k.LayerNormalization(), k.LayerNormalization(axis=[1, 2])],
        "RMSNormalization": lambda k: [k.RMSNormalization()],
        "UnitNormalization": lambda k: [k.UnitNormalization()],
        "Activation": lambda k: [k.Activation("mish")],
        "ReLU": lambda k: [k.ReLU(max_value=1.5, negative_slope=0.25, threshold=0.125), k.ReLU(max_value=6.0)],
        "LeakyReLU": lambda k: [k.LeakyReLU(negative_slope=0.2)],
        "PReLU": lambda k: [k.PReLU(shared_axes=[1])],
        "ELU": lambda k: [k.ELU(alpha=0.5)],
        "Softmax": lambda k: [k.Softmax(axis=1)],
        "Flatten": lambda k: [k.Flatten(), k.Dense(2)],
        "Reshape": lambda k: [k.Reshape((3, 8))],
        "Permute": lambda k: [k.Permute((2, 1))],
        "RepeatVector": lambda k: [k.LSTM(2), k.RepeatVector(3)],
        "Cropping1D": lambda k: [k.Cropping1D((1, 2))],
        "ZeroPadding1D": lambda k: [k.ZeroPadding1D((1, 2))],
        "UpSampling1D": lambda k: [k.UpSampling1D(2)],
        "Dropout": lambda k: [k.Dropout(0.5)],
        "SpatialDropout1D": lambda k: [k.SpatialDropout1D(0.5)],
        "AlphaDropout": lambda k: [k.AlphaDropout(0.5)],
        "GaussianDropout": lambda k: [k.GaussianDropout(0.5)],
        "GaussianNoise": lambda k: [k.GaussianNoise(0.5)],
        "ActivityRegularization": lambda k: [k.ActivityRegularization(0.5)],
        "Identity": lambda k: [k.Identity()],
    }
    merges = {
        name: lambda k, x, name=name: getattr(k, name)()(
            [k.Masking()(x), k.Dense(4)(x)] if name == "Subtract" else [k.Masking()(x), k.Masking()(-x), k.Dense(4)(x)]
        )
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    }
    for name in ("Attention", "AdditiveAttention"):
        merges[name] = lambda k, x, name=name: attention_in_a_list(k, x, getattr(k, name))
    merges["MultiHeadAttention"] = lambda k, x: attention_of_heads(
        k, x, lambda **o: k.MultiHeadAttention(2, 3, value_dim=2, output_shape=(3,), use_gate=True, **o)
    )
    merges["GroupQueryAttention"] = lambda k, x: attention_of_heads(
        k, x, lambda **o: k.GroupQueryAttention(3, 4, 2, use_gate=True, **o)
    )
    merges["Dot"] = lambda k, x: k.Dot(axes=(1, 1), normalize=True)([k.Dense(3)(x), k.Dense(2)(x)])
    return cases, merges


STACKS, MERGES = layer_cases()
CATEGORIES = {layer.CLASS for layer in FAMILIES["Text and categories"]}  # whose gradients are none


def test_every_layer_has_a_gradient():
    """Each class that is read has a gradient, and a case below."""
    assert all(has_gradient(layer) for layer in LAYERS.values())
    assert has_gradient(Operation)
    assert LAYERS.keys() == STACKS.keys() | MERGES.keys() | CATEGORIES | {"Embedding"}


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - CATEGORIES))
def test_each_layer_has_tensorflows_gradient(name, tmp_path):
    """By the input and by the weights of each class of layers, in double precision, masked timesteps among them."""
    import keras

    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        rng = np.random.default_rng(1)
        if name == "Embedding":
            source = keras.Input((6,), dtype="int32")
            y = keras.layers.GRU(3)(keras.layers.Embedding(7, 4, mask_zero=True)(source))
            x = rng.integers(0, 7, (3, 6)).astype(np.int32)
        else:
            y = source = keras.Input((6, 4), dtype="float64")
            if name in MERGES:
                y = MERGES[name](keras.layers, source)
            else:
                for layer in STACKS[name](keras.layers):
                    y = layer(y)
            x = rng.normal(size=(3, 6, 4))
            x[1, 4:] = 0
            x[2, 0] = 0
        model = keras.Model(source, y)
    finally:
        keras.config.set_dtype_policy(with_policy)
    randomize(model, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    compare(keras_file.read(tmp_path / "model.keras"), model, x, BOUNDS["float64"])


def test_operations_between_layers_have_tensorflows_gradients(tmp_path):
    """Arithmetic, unary functions, slices and joints in a functional graph."""
    import keras
    from keras import ops

    source = keras.Input((6, 4), dtype="float64")
    a = keras.layers.Dense(4, dtype="float64")(source)
    b = ops.sqrt(ops.square(a) + 1.0) * ops.tanh(source) - ops.abs(a) / 3.0
    c = ops.maximum(a, ops.exp(-ops.relu(b))) - ops.minimum(ops.sigmoid(b), 0.5)
    d = ops.concatenate([c, ops.log(ops.square(a) + 2.0)], axis=-1)
    e = ops.expand_dims(d[:, 1:5, ::2], axis=2)
    model = keras.Model(source, ops.squeeze(e, axis=2))
    randomize(model, 5)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(2).normal(size=(3, 6, 4))
    compare(keras_file.read(tmp_path / "model.keras"), model, x, BOUNDS["float64"])


def test_a_layer_without_a_gradient_is_named():
    """The error names the layer and its class."""

    class Odd(Layer):
        CLASS = "Odd"

    layer = Odd("strange", POLICIES["float32"], {})
    assert not has_gradient(Odd)
    with pytest.raises(NotSupportedError, match=r"layer strange \(Odd\): it has no gradient"):
        backward(layer, Seen({}, [], [], [], {}), [])


@pytest.fixture
def stack(tmp_path):
    """A GRU over an LSTM, in double precision, and a batch for it."""
    import keras

    k = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, 3), dtype="float64"),
            k.LSTM(4, return_sequences=True, name="lower", dtype="float64"),
            k.GRU(5, name="upper", dtype="float64"),
            k.Dense(2, name="head", dtype="float64"),
        ]
    )
    randomize(model, 7)
    model.save(tmp_path / "model.keras")
    network = keras_file.read(tmp_path / "model.keras")
    return network, {network.inputs[0].name: np.random.default_rng(0).normal(size=(3, 12, 3))}


def test_weights_collect_what_timesteps_give(stack):
    """Σ_t x_tᵀ·δ_t is the gradient by the kernel: what a trace shows and what the pre-activations get, multiplied."""
    network, inputs = stack
    found = Tape(network, inputs).backward({"head": np.ones((3, 2))})
    (x,) = inputs.values()
    delta = found.inside["lower"]["pre_activation"]
    np.testing.assert_allclose(np.einsum("btf,btu->fu", x, delta), found.weights["lower/kernel"], atol=1e-13)
    np.testing.assert_allclose(delta.sum(axis=(0, 1)), found.weights["lower/bias"], atol=1e-13)


def test_gradients_chain_over_a_split_sequence(stack):
    """The gradient by a state is the gradient by the initial state of a sequence that goes on from there."""
    network, inputs = stack
    ((name, x),) = inputs.items()
    seeds = {"head": np.ones((3, 2))}
    whole = Tape(network, inputs).backward(seeds)
    carried = network.forward({name: x[:, :7]}).final_state
    rest = Tape(network, {name: x[:, 7:]}, carried).backward(seeds)
    np.testing.assert_allclose(whole.inputs[name][:, 7:], rest.inputs[name], atol=1e-14)
    for state in ("lower/cell_state", "upper/hidden_state"):
        layer, tensor = state.split("/")
        np.testing.assert_allclose(whole.inside[layer][tensor][:, 6], rest.initial_state[state], atol=1e-14)


def test_half_precision_is_differentiated_in_single(tmp_path):
    """Gradients of a float16 network are float32, and near those of the same network in single precision."""
    import keras

    k = keras.layers
    for dtype in ("float16", "float32"):
        model = keras.Sequential(
            [keras.Input((5, 3), dtype=dtype), k.GRU(4, name="gru", dtype=dtype), k.Dense(1, name="head", dtype=dtype)]
        )
        randomize(model, 1)
        model.save(tmp_path / f"{dtype}.keras")
    half, single = (keras_file.read(tmp_path / f"{dtype}.keras") for dtype in ("float16", "float32"))
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float16)
    seed = np.ones((2, 1), np.float32)
    (by_half,) = Tape(half, {half.inputs[0].name: x}).backward({"head": seed}).inputs.values()
    (by_single,) = Tape(single, {single.inputs[0].name: x.astype(np.float32)}).backward({"head": seed}).inputs.values()
    assert by_half.dtype == np.float32
    np.testing.assert_allclose(by_half, by_single, atol=5e-3)
