"""Activations that files write as models of layers: read as one function, with the numbers that Keras computes."""

import numpy as np
import pytest

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.activations import ACTIVATIONS
from service.model.composed import COMPOSED, KERAS2_HARD_SIGMOID
from service.model.engines import onnx_runtime, scalar
from tests.data.hostile import build

HARD_SIGMOID = COMPOSED[KERAS2_HARD_SIGMOID]
X = np.random.default_rng(0).normal(0, 3, (2, 7, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network with that activation wherever one can stand, as Keras saves it: the path, and what Keras computes."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.LSTM(4, recurrent_activation=HARD_SIGMOID, return_sequences=True),
            layers.Bidirectional(layers.GRU(3, recurrent_activation=HARD_SIGMOID, return_sequences=True)),
            layers.RNN(layers.LSTMCell(3, recurrent_activation=HARD_SIGMOID), return_sequences=True),
            layers.Dense(3, activation=HARD_SIGMOID),
            layers.SimpleRNN(3, activation=HARD_SIGMOID, return_sequences=True),
            layers.Dense(5),
            layers.Activation(HARD_SIGMOID),
        ]
    )
    path = tmp_path_factory.mktemp("composed") / "m.keras"
    model(X)
    model.save(path)  # with what Keras adds to the document once it has been called
    return path, np.asarray(model(X))


def test_it_is_read_as_one_activation(saved):
    """A network that Keras saved with the document computes what Keras computes, in NumPy and in ONNX Runtime."""
    path, expected = saved
    network = keras_file.read(path)
    (actual,) = network.forward({network.inputs[0].name: X}).outputs.values()
    np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_the_values_are_those_of_keras_2():
    """clip(0.2 x + 0.5, 0, 1), which differs from what Keras 3 calls hard_sigmoid by up to 0.0833."""
    x = np.linspace(-4, 4, 801, dtype=np.float32)
    found = ACTIVATIONS[KERAS2_HARD_SIGMOID](x)
    np.testing.assert_allclose(found, np.clip(0.2 * x + 0.5, 0, 1), atol=1e-7)
    assert np.abs(found - ACTIVATIONS["hard_sigmoid"](x)).max() == pytest.approx(1 / 12, abs=1e-3)


@pytest.mark.parametrize("engine", [onnx_runtime, scalar], ids=["onnx", "scalar"])
def test_the_engines_know_it(tmp_path, engine):
    """Each engine computes a small LSTM with that gate as NumPy does."""
    config = build.harmless()
    config["config"]["layers"][1] = build.layer("LSTM", "rnn", units=4, recurrent_activation=HARD_SIGMOID)
    rng = np.random.default_rng(1)
    shapes = {"0": (2, 16), "1": (4, 16), "2": (16,)}
    weights = {f"layers/lstm/cell/vars/{i}": rng.normal(0, 1, s).astype(np.float32) for i, s in shapes.items()}
    weights |= {"layers/dense/vars/0": np.ones((4, 1), np.float32), "layers/dense/vars/1": np.ones(1, np.float32)}
    build.write(tmp_path / "m.keras", config, build.h5(weights=weights))
    network = keras_file.read(tmp_path / "m.keras")
    made = engine.make(network)
    assert made is not None
    given = {"input": rng.normal(0, 2, (1, 3, 2)).astype(np.float32)}
    np.testing.assert_allclose(
        made.forward(given).outputs["output"], network.forward(given).outputs["output"], atol=2e-6
    )


def broken(change):
    """The document with one thing changed."""
    import copy

    document = copy.deepcopy(HARD_SIGMOID)
    change(document["config"]["layers"])
    return document


@pytest.mark.parametrize(
    "value",
    [
        KERAS2_HARD_SIGMOID,
        broken(lambda layers: layers[0]["config"].update(scale=0.25)),
        broken(lambda layers: layers[1]["config"].update(max_value=None)),
        broken(lambda layers: layers[1]["config"].update(dtype="float64")),
        broken(lambda layers: layers.pop()),
        broken(lambda layers: layers[0].pop("config")),
        {"class_name": "Sequential", "config": None},
        {"class_name": "Sequential", "config": {"layers": [1]}},
    ],
)
def test_anything_else_is_refused(tmp_path, value):
    """The name alone, which Keras does not know, and models of other layers are no activations."""
    config = build.harmless()
    config["config"]["layers"][1]["config"]["activation"] = value
    build.write(tmp_path / "m.keras", config)
    with pytest.raises(UnsupportedModelError, match="activation="):
        keras_file.read(tmp_path / "m.keras")


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16"])
def test_only_in_single_precision(tmp_path, dtype):
    """The document says float32, so a layer of another type has it refused."""
    config = build.harmless()
    config["config"]["layers"][1]["config"].update(activation=HARD_SIGMOID, dtype=dtype)
    build.write(tmp_path / "m.keras", config)
    with pytest.raises(UnsupportedModelError, match=r"keras2_hard_sigmoid is not supported in .*; expected float32"):
        keras_file.read(tmp_path / "m.keras")
