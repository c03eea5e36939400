"""Layers over integers, which Keras treats each in its own way: what Keras gives, or refused."""

import warnings

import numpy as np
import pytest

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.layers import LAYERS
from service.model.layers.merge import Merge
from service.model.proof import difference

OPTIONS = {
    "Activation": {"activation": "relu"},
    **{name: {"pool_size": 2} for name in ("AveragePooling1D", "AveragePooling2D")},
    **{name: {"filters": 2, "kernel_size": 2} for name in ("Conv1D", "Conv1DTranspose", "Conv2D", "SeparableConv1D")},
    "ConvLSTM1D": {"filters": 2, "kernel_size": 2},
    "DepthwiseConv1D": {"kernel_size": 2},
    "Dot": {"axes": 2},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 2)},
    "Embedding": {"input_dim": 5, "output_dim": 2},
    "GroupQueryAttention": {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1},
    "Hashing": {"num_bins": 3},
    "IntegerLookup": {"vocabulary": [1, 2, 3]},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 2},
    "Normalization": {"mean": [1.0, 2.0], "variance": [1.0, 2.0]},
    "Permute": {"dims": (2, 1)},
    "RepeatVector": {"n": 2},
    "Rescaling": {"scale": 0.5},
    "Reshape": {"target_shape": (6,)},
    **{name: {"units": 2} for name in ("Dense", "GRU", "LSTM", "SimpleRNN")},
    **{name: {"rate": 0.1} for name in ("AlphaDropout", "Dropout", "GaussianDropout", "SpatialDropout1D")},
    "GaussianNoise": {"stddev": 0.1},
}
TAKEN = {  # Keras computes with them, and so is told by the test below
    "ActivityRegularization", "Add", "AlphaDropout", "BatchNormalization", "Bidirectional", "Concatenate", "Cropping1D",
    "Dense", "Dropout", "Embedding", "Flatten", "GRU", "GaussianDropout", "GaussianNoise",
    "Hashing", "Identity", "IntegerLookup", "LSTM", "Masking", "Maximum", "Minimum", "Multiply", "Normalization",
    "Permute", "RNN", "RepeatVector", "Rescaling", "Reshape", "SimpleRNN", "SpatialDropout1D", "Subtract",
    "TimeDistributed", "UpSampling1D", "ZeroPadding1D",
}  # fmt: skip


def called(keras, class_name, x):
    """A layer of that class, called on integers."""
    layers = keras.layers
    inner = {
        "Bidirectional": layers.GRU(2),
        "RNN": layers.LSTMCell(2),
        "SpectralNormalization": layers.Dense(2),
        "TimeDistributed": layers.Dense(2),
    }
    if class_name in inner:
        return getattr(layers, class_name)(inner[class_name])(x)
    if class_name == "RepeatVector":
        x = layers.Flatten()(x)
    if class_name.endswith("2D") or class_name == "ConvLSTM1D":
        x = layers.Reshape((3, 2, 1))(x)
    layer = getattr(layers, class_name)(**OPTIONS.get(class_name, {}))
    listed = {"AdditiveAttention", "Attention", "Concatenate", "Dot"}
    merging = issubclass(LAYERS[class_name], Merge) or class_name in listed
    if class_name in {"GroupQueryAttention", "MultiHeadAttention"}:
        return layer(x, x)
    return layer([x, layers.Reshape((3, 2))(x)] if merging else x)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("class_name", sorted(LAYERS.keys() - {"InputLayer"}))
def test_a_layer_over_integers_gives_what_keras_gives(class_name, dtype, tmp_path):
    """Values and type are Keras's; where they would not be, the file is refused by layer and type."""
    import keras

    x = keras.Input((3, 2), dtype=dtype, name="x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            output = called(keras, class_name, x)
        except ValueError:  # of the numbers that TensorFlow does not compute with so
            assert class_name not in TAKEN
            return
        model = keras.Model(x, output)
        model.save(tmp_path / "m.keras")
    if class_name not in TAKEN:
        with pytest.raises(
            UnsupportedModelError, match=rf"\({class_name}\): an input of type {dtype}( for float32)? is not supported"
        ):
            keras_file.read(tmp_path / "m.keras")
        return
    network = keras_file.read(tmp_path / "m.keras")
    inputs = np.random.default_rng(0).integers(0, 5, (2, 3, 2)).astype(dtype)
    (actual,) = network.forward({"x": inputs}).outputs.values()
    assert actual.dtype == network.outputs[0].dtype
    assert difference(actual, np.asarray(model(inputs))) <= 1
