"""Saves the files beside it with Keras 2 (tf_keras), and what Keras 2 computes with them; see README.md.

Forms that only older releases wrote are made by editing the config of a file, never its weights; the numbers are those
of the network before it was saved.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py
import numpy as np

if "keras" in sys.argv:  # of TensorFlow 2.12, which wrote the first `.keras` files
    import keras
else:
    import tf_keras as keras

L = keras.layers
RNG = np.random.default_rng(0)
HERE = Path(__file__).parent
X = RNG.normal(0, 2, (2, 5, 2)).astype(np.float32)
IDS = RNG.integers(0, 7, (2, 5)).astype(np.float32)
HARD = {"recurrent_activation": "hard_sigmoid"}
GONE = ("implementation", "time_major", "dtype", "trainable", "reset_after", "zero_output_for_mask", "dropout")


def row(*layers, shape=(5, 2)):
    """Layers in a row."""
    return keras.Sequential([keras.Input(shape, name="x"), *layers])


def layers_of(config):
    """All configs of layers, however deep."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "class_name" in node and isinstance(node.get("config"), dict):
                yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def old(config, *gone):
    """As Keras 2.0 wrote it: without what it did not know."""
    for layer in layers_of(config):
        for key in (*GONE, *gone):
            layer["config"].pop(key, None)


def as_list(config):
    """As Keras before 2.2.3: a list as the config of a Sequential, the shape of the input in the first layer."""
    old(config)
    first, *layers = config["config"]["layers"]
    layers[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    config["config"] = layers


def inside(config):
    """The shape of the input inside the wrapper of the first layer."""
    old(config)
    first, *layers = config["config"]["layers"]
    layers[0]["config"]["layer"]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    config["config"]["layers"] = layers


def no_gates(config):
    """Gates that are not named are hard sigmoids, in Keras 2.0."""
    as_list(config)
    for layer in layers_of(config):
        layer["config"].pop("recurrent_activation", None)


def as_model(config):
    """Class Model, the axis of a BatchNormalization as a list of one, LeakyReLU's slope as an array of NumPy."""
    config["class_name"] = "Model"
    for layer in layers_of(config):
        if layer["class_name"] == "BatchNormalization":
            layer["class_name"], layer["config"]["axis"] = "BatchNormalizationV1", [2]
        if layer["class_name"] == "LeakyReLU":
            layer["config"]["alpha"] = {"class_name": "__numpy__", "config": {"value": 0.1}}


def cells_as_list(config):
    """Cells on top of each other as a list, before StackedRNNCells was written."""
    for layer in layers_of(config):
        if layer["class_name"] == "RNN":
            layer["config"]["cell"] = layer["config"]["cell"]["config"]["cells"]


def graph():
    """States that go from layer to layer, a layer and a model that are called twice, what is renamed."""
    x = keras.Input((5, 2), name="x")
    y, h, c = L.LSTM(3, return_sequences=True, return_state=True, **HARD)(x)
    z = L.LSTM(3, return_sequences=True)(x, initial_state=[h, c])
    shared, norm = L.GRU(2, return_sequences=True), L.BatchNormalization()
    inner = keras.Sequential([L.Dense(2), L.LeakyReLU(0.1), L.SimpleRNN(2)], name="inner")
    both = L.Concatenate()([norm(shared(y)), shared(z)])
    inside = keras.Input((5, 3))
    functional = keras.Model(inside, L.GlobalAveragePooling1D()(L.Dense(2, activation="tanh")(inside)), name="pooled")
    ends = [inner(both), L.Add()([functional(y), functional(z)])]
    return keras.Model(x, [*ends, L.Dense(2, name="out")(L.Concatenate()(ends))])


def frozen():
    """A model in the model, some of whose weights are not trained: those come last in the file."""
    inner = keras.Sequential(
        [keras.Input((5, 2)), L.Dense(3, trainable=False), L.BatchNormalization(), L.Dense(2), L.LSTM(2)], name="inner"
    )
    x = keras.Input((5, 2), name="x")
    return keras.Model(x, L.Dense(1)(inner(x)))


def mask():
    """A mask, and two inputs."""
    x, other = keras.Input((5, 2), name="x"), keras.Input((5, 2), name="other")
    masked = L.Masking(0.0)(x)
    return keras.Model([x, other], L.Dense(1)(L.Add()([L.GRU(2)(masked), L.LSTM(2)(other)])))


def bidirectional():
    """Two directions, of layers that are given one by one, and a merge that adds."""
    back = L.LSTM(2, go_backwards=True, return_sequences=True)
    return row(
        L.Bidirectional(L.LSTM(2, return_sequences=True, **HARD), backward_layer=back, merge_mode="ave"),
        L.Bidirectional(L.GRU(2, reset_after=False, **HARD), merge_mode="sum"),
    )


def normalized():
    """Numbers that training did not make."""
    layer = L.Normalization()
    layer.adapt(X)
    return row(layer, L.LayerNormalization(), L.GRU(2))


def double():
    """In double precision."""
    keras.backend.set_floatx("float64")
    try:
        return row(L.LSTM(2), L.Dense(1))
    finally:
        keras.backend.set_floatx("float32")


# By name: the network, what is done to its config, and the release that wrote this form.
FILES = {
    "lstm": (lambda: row(L.LSTM(3, return_sequences=True, **HARD), L.LSTM(2)), as_list, "2.0.8"),
    "gates": (
        lambda: row(L.LSTM(2, return_sequences=True, **HARD), L.GRU(2, reset_after=False, **HARD)),
        no_gates,
        "2.0.2",
    ),
    "gru": (lambda: row(L.GRU(3, return_sequences=True), L.GRU(2, reset_after=False, use_bias=False)), old, "2.1.5"),
    "dense": (
        lambda: row(
            L.SimpleRNN(3, activation="hard_sigmoid", return_sequences=True),
            L.TimeDistributed(L.Dense(3, activation="hard_sigmoid")),
            L.Activation("hard_sigmoid"),
        ),
        None,
        "",
    ),
    "graph": (graph, as_model, "2.2.4-tf"),
    "frozen": (frozen, None, ""),
    "mask": (mask, None, "2.3.1"),
    "bidirectional": (bidirectional, inside, "2.1.6"),
    "cells": (lambda: row(L.RNN([L.LSTMCell(3, **HARD), L.GRUCell(2)], return_sequences=True)), cells_as_list, "2.2.0"),
    "convolution": (
        lambda: row(
            L.Conv1D(3, 2, padding="causal", kernel_regularizer="l2"),
            L.SpatialDropout1D(0.2),
            L.ThresholdedReLU(0.2),
            L.PReLU(),
            L.MaxPooling1D(2),
            L.GRU(2, kernel_constraint="max_norm"),
        ),
        None,
        "",
    ),
    "normalized": (normalized, None, ""),
    "ids": (
        lambda: keras.Sequential([L.Embedding(7, 3, input_length=5, mask_zero=True), L.LSTM(2, **HARD)]),
        as_list,
        "2.0.6",
    ),
    "stateful": (
        lambda: keras.Sequential([L.LSTM(2, stateful=True, batch_input_shape=(2, 5, 2)), L.Dense(1)]),
        None,
        "",
    ),
    "slash": (lambda: row(L.LSTM(2, name="rnn/one"), L.Dense(1, name="out")), None, ""),
    "double": (double, None, ""),
}
CUDNN = {
    "cudnn_lstm": lambda lstm, _: row(lstm(3, return_sequences=True), L.Bidirectional(lstm(2))),
    "cudnn_gru": lambda _, gru: row(gru(3, return_sequences=True), gru(2)),
}


def fill(model):
    """Gives a model weights of chance."""
    weights = []
    for weight in model.weights:
        array = RNG.normal(0, 0.6, weight.shape)
        weights.append(np.abs(array) + 0.5 if "variance" in weight.name else array)
    if not any(isinstance(layer, L.Normalization) for layer in model.layers):
        model.set_weights(weights)


def computed(model):
    """What Keras 2 makes of the inputs."""
    given = [IDS if isinstance(model.layers[0], L.Embedding) else X]
    given += [X[::-1].copy()] * (len(model.inputs) - 1)
    found = model(given if len(given) > 1 else given[0], training=False)
    return given, [np.asarray(y) for y in (found if isinstance(found, list) else [found])]


def edit(path, change, version):
    """Changes the config of an `.h5` file, and the release that it says wrote it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        if change:
            change(config)
        file.attrs["model_config"] = json.dumps(config)
        if version:
            file.attrs["keras_version"] = version


def save_h5():
    """The `.h5` files, and the numbers of each."""
    numbers = {}
    for name, (make, change, version) in FILES.items():
        keras.backend.clear_session()
        model = make()
        model(IDS if isinstance(model.layers[0], L.Embedding) else [X, X] if name == "mask" else X)
        fill(model)
        model.save(HERE / f"{name}.h5", include_optimizer=False)
        model.reset_states()
        given, found = computed(model)
        edit(HERE / f"{name}.h5", change, version)
        numbers |= {f"{name}/x{i}": array for i, array in enumerate(given)}
        numbers |= {f"{name}/y{i}": array for i, array in enumerate(found)}
    for name, make in CUDNN.items():
        from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU
        from tf_keras.src.layers.rnn.cudnn_lstm import CuDNNLSTM

        keras.backend.clear_session()
        model = make(CuDNNLSTM, CuDNNGRU)
        fill(model)
        model.save(HERE / f"{name}.h5", include_optimizer=False)
        # cuDNN's own kernels need its hardware. Keras 2 loads such weights into its plain layers.
        twin = make(L.LSTM, L.GRU)
        twin.load_weights(HERE / f"{name}.h5")
        given, found = computed(twin)
        numbers |= {f"{name}/x0": given[0], f"{name}/y0": found[0]}
    model = graph()
    fill(model)
    (HERE / "architecture.json").write_text(model.to_json())
    model.save_weights(HERE / "architecture.h5")
    model.save_weights(HERE / "architecture.weights.h5")
    model.save(HERE / "archive.keras")
    given, found = computed(model)
    for name in ("architecture", "archive"):
        numbers |= {f"{name}/x0": given[0]} | {f"{name}/y{i}": array for i, array in enumerate(found)}
    np.savez_compressed(HERE / "numbers.npz", **numbers)


def save_first():
    """The first `.keras` files, of Keras 2.12, and one as it was written on Windows."""
    model = graph()
    fill(model)
    model.save(HERE / "first.keras", save_format="keras_v3")
    given, found = computed(model)
    with zipfile.ZipFile(HERE / "first.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    slashed = HERE / "backslash.weights.h5"
    with zipfile.ZipFile(HERE / "first.keras") as archive:
        archive.extract("model.weights.h5", HERE)
    with h5py.File(HERE / "model.weights.h5") as source, h5py.File(slashed, "w") as target:
        arrays = {}
        source.visititems(
            lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
        for name, array in arrays.items():
            folder, _, number = name.rpartition("/")
            target.require_group(folder.replace("/", "\\"))[number] = array
    members["model.weights.h5"] = slashed.read_bytes()
    with zipfile.ZipFile(HERE / "backslash.keras", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    slashed.unlink()
    (HERE / "model.weights.h5").unlink()
    arrays = {f"{name}/x0": given[0] for name in ("first", "backslash")}
    arrays |= {f"{name}/y{i}": array for name in ("first", "backslash") for i, array in enumerate(found)}
    np.savez_compressed(HERE / "numbers_first.npz", **arrays)


if __name__ == "__main__":
    save_first() if "keras" in sys.argv else save_h5()
