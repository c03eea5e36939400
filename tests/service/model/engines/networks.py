"""Networks for tests of engines: made from configs without Keras, their weights random."""

import numpy as np

from service.model import keras_config, keras_file
from service.model.limits import ReadLimits
from service.model.proof import difference
from service.model.weights_file import places
from tests.data.hostile import build
from tests.fuzz.targets import called, tensor

layer = build.layer


X = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)


def network(directory, *layers, time=None, features=3):
    """A Sequential of the given layers, its weights random, without Keras."""
    config = build.harmless()
    first = layer("InputLayer", "input", batch_shape=[None, time, features], dtype="float32")
    config["config"]["layers"] = [first, *layers]
    return saved(directory, config)


def saved(directory, config):
    """The network of a config, its weights random, and variances positive."""
    rng, weights = np.random.default_rng(0), {}
    for path, spec in places(keras_config.build(config, ReadLimits())).values():
        value = rng.normal(0, 0.4, spec.shape).astype(spec.dtype)
        weights[path] = np.abs(value) if "variance" in spec.name else value
    build.write(directory / "m.keras", config, build.h5(weights=weights))
    return keras_file.read(directory / "m.keras")


def recurrent(kind, name, units=3, **options):
    """A recurrent layer's config."""
    return layer(kind, name, units=units, **options)


SEQUENCES = {"return_sequences": True}
NETWORKS = {
    "simple": [recurrent("SimpleRNN", "a", 4), layer("Dense", "d", units=1)],
    "simple without bias": [recurrent("SimpleRNN", "a", activation="relu", use_bias=False)],
    "gru": [recurrent("GRU", "a", **SEQUENCES), layer("Dense", "d", units=2, activation="softmax")],
    "gru reset before": [recurrent("GRU", "a", reset_after=False), layer("Dense", "d", units=2, activation="relu")],
    "gru without bias": [recurrent("GRU", "a", use_bias=False, activation="softsign")],
    "lstm": [recurrent("LSTM", "a", **SEQUENCES), layer("Dropout", "o", rate=0.5), recurrent("LSTM", "b", 2)],
    "wide": [recurrent("LSTM", "a", 12, **SEQUENCES), recurrent("SimpleRNN", "b", 20)],
    "lstm without bias": [recurrent("LSTM", "a", use_bias=False), layer("Dense", "d", units=2, use_bias=False)],
}
BOTH_WAYS = {
    f"{kind} {mode} {sequences}": [
        layer("Bidirectional", "a", merge_mode=mode, layer=recurrent(kind, "i", return_sequences=sequences)),
        layer("Dense", "d", units=2),
    ]
    for kind, mode, sequences in (
        ("SimpleRNN", "concat", True), ("GRU", "sum", False), ("LSTM", "mul", True), ("LSTM", "concat", False),
    )
}  # fmt: skip
SCALED = [layer("Normalization", "n"), recurrent("GRU", "a"), layer("Dense", "d", units=2)]


NETWORKS |= {
    "scaled": [*SCALED, layer("Rescaling", "s", scale=2.5, offset=-7.0)],
    "scaled by column": [*SCALED, layer("Rescaling", "s", scale=[2.5, -3.0], offset=0.5)],
    "calibrated": [
        *SCALED,
        layer("Rescaling", "s", scale=0.5),
        layer("Activation", "p", activation="softmax"),
    ],
    "scaled back": [recurrent("LSTM", "a", **SEQUENCES), layer("Normalization", "n", invert=True)],
}
# Networks that mask timesteps, and go by the mask in every way that a recurrent layer can.
MASKING = layer("Masking", "m")
MASKED = {
    **{kind: [recurrent(kind, "a")] for kind in ("SimpleRNN", "GRU", "LSTM")},
    **{f"{kind} sequences": [recurrent(kind, "a", **SEQUENCES)] for kind in ("SimpleRNN", "GRU", "LSTM")},
    "reset before": [recurrent("GRU", "a", reset_after=False, use_bias=False)],
    "zeros": [recurrent("LSTM", "a", zero_output_for_mask=True, **SEQUENCES)],
    "zero at the end": [recurrent("LSTM", "a", zero_output_for_mask=True)],
    "backwards": [recurrent("GRU", "a", go_backwards=True)],
    "backwards, zero at the end": [recurrent("LSTM", "a", go_backwards=True, zero_output_for_mask=True)],
    "stack": [
        recurrent("LSTM", "a", **SEQUENCES),
        layer("Dropout", "o", rate=0.5),
        layer("TimeDistributed", "t", layer=layer("Dense", "i", units=2)),
        layer("LayerNormalization", "n"),
        recurrent("GRU", "b"),
    ],
    "mean": [recurrent("LSTM", "a", **SEQUENCES), layer("GlobalAveragePooling1D", "g", keepdims=True)],
    "largest": [recurrent("LSTM", "a", **SEQUENCES), layer("GlobalMaxPooling1D", "g")],
    "flattened": [recurrent("LSTM", "a", **SEQUENCES), layer("Flatten", "f"), layer("Dense", "d", units=2)],
    **{
        f"both ways {kind} {mode} {sequences}": [
            layer("Bidirectional", "a", merge_mode=mode, layer=recurrent(kind, "i", return_sequences=sequences))
        ]
        for kind, mode, sequences in (
            ("SimpleRNN", "ave", True), ("GRU", "mul", True), ("LSTM", "concat", True), ("LSTM", "sum", False),
        )
    },
}  # fmt: skip
# Between recurrent layers and after them: what ONNX Runtime computes beside.
LSTM = recurrent("LSTM", "a", 4, **SEQUENCES)
AFTER = {
    "convolution": [layer("Conv1D", "c", filters=5, kernel_size=[3], activation="relu"), recurrent("GRU", "e")],
    "convolution same": [layer("Conv1D", "c", filters=4, kernel_size=[4], padding="same", groups=2)],
    "convolution with strides": [layer("Conv1D", "c", filters=4, kernel_size=[3], padding="same", strides=[2])],
    "convolution causal": [layer("Conv1D", "c", filters=4, kernel_size=[2], padding="causal", dilation_rate=[2])],
    "pooling": [layer("MaxPooling1D", "p", pool_size=[2]), recurrent("LSTM", "e")],
    "pooling same": [layer("MaxPooling1D", "p", pool_size=[4], strides=[1], padding="same")],
    "means": [layer("AveragePooling1D", "p", pool_size=[4], strides=[3], padding="same")],
    "mean of all": [layer("GlobalAveragePooling1D", "p")],
    "largest of all": [layer("GlobalMaxPooling1D", "p", keepdims=True)],
    "flattened": [layer("Flatten", "f"), layer("Dense", "d", units=2, activation="silu")],
    "reshaped": [layer("Reshape", "r", target_shape=[3, -1]), recurrent("LSTM", "e")],
    "permuted": [layer("Permute", "p", dims=[2, 1]), recurrent("GRU", "e", **SEQUENCES)],
    "autoencoder": [
        recurrent("LSTM", "b", 2),
        layer("RepeatVector", "r", n=6),
        recurrent("LSTM", "e", **SEQUENCES),
        layer("TimeDistributed", "t", layer=layer("Dense", "i", units=3)),
        layer("TimeDistributed", "u", layer=layer("Softmax", "i", axis=-1)),
        layer("TimeDistributed", "v", layer=layer("Dropout", "i", rate=0.5)),
    ],
    "normalized": [
        layer("BatchNormalization", "n"),
        recurrent("GRU", "e", **SEQUENCES),
        layer("LayerNormalization", "o", epsilon=0.01),
    ],
    "activations": [
        layer("LeakyReLU", "l", negative_slope=0.1),
        layer("ELU", "e", alpha=0.5),
        layer("Softmax", "s"),
        layer("ReLU", "r"),
        *(layer("Activation", f, activation=f) for f in ("leaky_relu", "swish", "selu", "elu", "exponential")),
    ],
    "both ways, mean": [layer("Bidirectional", "b", merge_mode="ave", layer=recurrent("GRU", "i", **SEQUENCES))],
}


def same(actual, expected):
    """Whether two results are of the same names, shapes and types, and equal within the bound."""
    pairs = (actual.outputs, expected.outputs), (actual.final_state, expected.final_state)
    return all(a.keys() == b.keys() and all(difference(a[key], b[key]) <= 1 for key in b) for a, b in pairs)


def wired(directory, *layers, outputs, inputs=("x",)):
    """A functional model, its weights random; an output is a layer's first, or the one of a number."""
    config = build.functional(
        *layers,
        inputs=[[name, 0, 0] for name in inputs],
        outputs=[[o, 0, 0] if isinstance(o, str) else [o[0], 0, o[1]] for o in outputs],
    )
    return saved(directory, config)


def item(name, below, *parts):
    """`below[parts]` in a functional model."""
    key = [{"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), part, strict=True))}
           if isinstance(part, tuple) else part for part in parts]  # fmt: skip
    return operation("GetItem", name, below, key)


def operation(kind, name, *arguments):
    """An operation on tensors, by name, and what else it takes."""
    given = [tensor(a) if isinstance(a, str) else a for a in arguments]
    return called(layer(kind, name, module="keras.src.ops.numpy"), *given)


def merged(kind, name, *below):
    """A layer of several inputs: names, or the call of a layer of which there are several."""
    return called(layer(kind, name), [tensor(*b) if isinstance(b, tuple) else tensor(b) for b in below])
