"""Hypothesis strategies for networks: drawn as plain data, built into Keras models where Keras is the oracle."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from service.model.activations import ACTIVATIONS
from service.model.composed import KERAS2_HARD_SIGMOID

# glu changes widths; exponential and the like explode in a recurrence, where nothing can be compared.
KNOWN = set(ACTIVATIONS) - {KERAS2_HARD_SIGMOID}  # to Keras 3
RECURRENT_ACTIVATIONS = sorted(KNOWN - {"glu", "exponential", "log_softmax", "log_sigmoid"})
GATE_ACTIVATIONS = ["sigmoid", "hard_sigmoid", "sparse_sigmoid", "softmax", "tanh", "softsign"]
DENSE_ACTIVATIONS = sorted(KNOWN - {"glu"})
DTYPES = ["float32", "float32", "float32", "float64", "float16", "mixed_float16"]


@dataclass(frozen=True)
class Part:
    """One layer: its Keras class and arguments. `inner` wraps another (Bidirectional, TimeDistributed)."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    inner: "Part | tuple[Part, ...] | None" = None


@dataclass(frozen=True)
class NetworkCase:
    """A network and inputs for it, as data; `build` makes the Keras model."""

    dtype: str
    ids: int  # size of the vocabulary; 0: inputs are floats
    features: int
    timesteps: int
    fixed_time: bool
    batch: int
    masked: bool
    parts: tuple[Part, ...]
    branch: tuple[Part, ...]  # beside the last of `parts`, merged by `merge`
    merge: str
    head: tuple[Part, ...]
    wrap: bool  # the head is a model of its own, called as a layer
    seed: int

    def build(self) -> Any:
        """The Keras model, its weights random."""
        import keras

        with_policy = {"dtype": self.dtype}
        time = self.timesteps if self.fixed_time else None
        plain = self.dtype.removeprefix("mixed_")
        x = inputs = keras.Input((time,) if self.ids else (time, self.features), dtype="int32" if self.ids else plain)
        if self.ids:
            x = keras.layers.Embedding(self.ids, self.features, mask_zero=self.masked, **with_policy)(x)
        elif self.masked:
            x = keras.layers.Masking(0.0, **with_policy)(x)
        for part in self.parts[:-1]:
            x = called(keras_layer(part, self.dtype), x)
        main = keras_layer(self.parts[-1], self.dtype)(x)
        if self.branch:
            side = x
            for part in self.branch:
                side = keras_layer(part, self.dtype)(side)
            main = getattr(keras.layers, self.merge)(**with_policy)([main, side])
        y = main
        layers = [keras_layer(part, self.dtype) for part in self.head]
        if self.wrap and layers:
            y = keras.Sequential(layers)(y)
        else:
            for layer in layers:
                y = layer(y)
        model = keras.Model(inputs, y)
        randomize(model, self.seed)
        return model

    def inputs(self) -> np.ndarray:
        """Inputs of the network; where it masks, some timesteps are zero."""
        rng = np.random.default_rng(self.seed)
        if self.ids:
            return rng.integers(0 if self.masked else 1, self.ids, (self.batch, self.timesteps)).astype(np.int32)
        x = rng.normal(0, 1, (self.batch, self.timesteps, self.features))
        if self.masked:
            x[rng.random(x.shape[:2]) < 0.3] = 0
        return x.astype(self.dtype.removeprefix("mixed_"))


def called(layer: Any, x: Any) -> Any:
    """A layer on a value; attention on the value itself."""
    kind = type(layer).__name__
    if kind in ("Attention", "AdditiveAttention"):
        return layer([x, x])
    return layer(x, x) if kind.endswith("Attention") else layer(x)


def keras_layer(part: Part, dtype: str) -> Any:
    """A part as a Keras layer."""
    import keras

    make: Callable[..., Any] = getattr(keras.layers, part.kind)
    if isinstance(part.inner, tuple):
        cells = [keras_layer(cell, dtype) for cell in part.inner]
        return make(keras.layers.StackedRNNCells(cells, dtype=dtype), dtype=dtype, **part.arguments)
    if part.inner is not None:
        return make(keras_layer(part.inner, dtype), dtype=dtype, **part.arguments)
    return make(dtype=dtype, **part.arguments)


def randomize(model: Any, seed: int) -> None:
    """Random weights, biases included; variances positive; small enough that a recurrence does not explode."""
    rng = np.random.default_rng(seed)
    values = []
    for variable in model.variables:
        value = rng.normal(0, 0.6 / max(1, variable.shape[0] if len(variable.shape) > 1 else 1) ** 0.5, variable.shape)
        if "variance" in variable.path:
            value = 0.5 + np.abs(value)
        kept = np.asarray(variable) if not str(variable.dtype).startswith("float") else value.astype(variable.dtype)
        values.append(kept)
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies of its variables
            layer.finalize_state()


@st.composite
def cells(draw: st.DrawFn) -> Part:
    """A recurrent cell."""
    kind = draw(st.sampled_from(["SimpleRNNCell", "GRUCell", "LSTMCell"]))
    return Part(kind, draw(_cell_arguments(kind.removesuffix("Cell"))))


@st.composite
def _cell_arguments(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "units": draw(st.integers(1, 5)),
        "activation": draw(st.sampled_from(["tanh", "tanh", *RECURRENT_ACTIVATIONS])),
        "use_bias": draw(st.booleans()),
    }
    if kind != "SimpleRNN":
        arguments["recurrent_activation"] = draw(st.sampled_from(["sigmoid", *GATE_ACTIVATIONS]))
    if kind == "GRU":
        arguments["reset_after"] = draw(st.booleans())
    if kind != "SimpleRNN" and draw(st.integers(0, 5)) == 0:
        arguments["recurrent_dropout"] = 0.25
    return arguments


@st.composite
def recurrent(draw: st.DrawFn, *, sequences: bool, causal: bool = False) -> Part:
    """A recurrent layer; `causal`: one that runs forward only."""
    common = {"return_sequences": sequences}
    shape = draw(st.sampled_from(["plain", "plain", "stack"] if causal else ["plain", "plain", "both ways", "stack"]))
    if shape == "stack":
        stack = tuple(draw(st.lists(cells(), min_size=2, max_size=3)))
        return Part("RNN", {**common, "go_backwards": not causal and draw(st.booleans())}, stack)
    kind = draw(st.sampled_from(["SimpleRNN", "GRU", "LSTM"]))
    arguments = {**common, **draw(_cell_arguments(kind)), "unroll": False}
    if shape == "both ways":
        return Part(
            "Bidirectional",
            {"merge_mode": draw(st.sampled_from(["concat", "sum", "mul", "ave"]))},
            Part(kind, arguments),
        )
    if not causal:
        arguments["go_backwards"] = draw(st.booleans())
        arguments["zero_output_for_mask"] = draw(st.booleans())
    return Part(kind, arguments)


def between(*, causal: bool = False) -> st.SearchStrategy[Part]:
    """A layer between recurrent ones: sequences in, sequences out."""
    pointwise = [
        st.builds(
            Part,
            st.just("Dense"),
            st.fixed_dictionaries({"units": st.integers(1, 4), "activation": st.sampled_from(DENSE_ACTIVATIONS)}),
        ),
        st.integers(1, 3).map(lambda units: Part("TimeDistributed", {}, Part("Dense", {"units": units}))),
        st.sampled_from(
            [
                Part("Dropout", {"rate": 0.5}),
                Part("SpatialDropout1D", {"rate": 0.5}),
                Part("GaussianNoise", {"stddev": 0.5}),
                Part("LayerNormalization"),
                Part("BatchNormalization"),
                Part("BatchNormalization", {"scale": False, "center": False}),
                Part("RMSNormalization"),
                Part("UnitNormalization"),
                Part("Rescaling", {"scale": 0.5, "offset": 0.25}),
                Part("Normalization"),
                Part("ReLU", {"max_value": 1.5, "negative_slope": 0.25, "threshold": 0.125}),
                Part("LeakyReLU", {"negative_slope": 0.2}),
                Part("ELU", {"alpha": 0.5}),
                Part("PReLU", {"shared_axes": [1]}),
                Part("Activation", {"activation": "softsign"}),
                Part("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}),
            ]
        ),
    ]
    windows = [
        st.builds(
            Part,
            st.just("Conv1D"),
            st.fixed_dictionaries(
                {
                    "filters": st.integers(1, 4),
                    "kernel_size": st.integers(1, 3),
                    "padding": st.sampled_from(["same", "causal"]),
                    "activation": st.sampled_from(["relu", "tanh", "linear"]),
                    "dilation_rate": st.integers(1, 2),
                }
            ),
        ),
        st.sampled_from(
            [
                Part("MaxPooling1D", {"pool_size": 2, "padding": "same"}),
                Part("AveragePooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}),
                Part("UpSampling1D", {"size": 2}),
                Part("ZeroPadding1D", {"padding": (1, 2)}),
                Part("Conv1D", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
                Part("GroupNormalization", {"groups": -1}),
                Part("SeparableConv1D", {"filters": 2, "kernel_size": 2, "padding": "same", "depth_multiplier": 2}),
                Part("DepthwiseConv1D", {"kernel_size": 3, "padding": "same", "activation": "tanh"}),
                Part("Conv1DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
                Part("Attention", {"use_scale": True, "score_mode": "concat"}),
                Part("AdditiveAttention"),
                Part("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}),
                Part("GroupQueryAttention", {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2}),
            ]
        ),
    ]
    return st.one_of(pointwise if causal else pointwise + windows)


@st.composite
def convolving(draw: st.DrawFn, *, causal: bool = False) -> tuple[Part, ...]:
    """A ConvLSTM1D over the features of each timestep, sequences in, sequences out."""
    arguments = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.integers(1, 3)),
        "padding": "same",
        "strides": draw(st.integers(1, 2)),
        "activation": draw(st.sampled_from(["tanh", "tanh", *RECURRENT_ACTIVATIONS])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", *GATE_ACTIVATIONS])),
        "use_bias": draw(st.booleans()),
        "return_sequences": True,
    }
    if not causal and draw(st.integers(0, 3)) == 0:
        merge = draw(st.sampled_from(["concat", "sum"]))
        layer = Part("Bidirectional", {"merge_mode": merge}, Part("ConvLSTM1D", arguments))
    else:
        layer = Part("ConvLSTM1D", {**arguments, "go_backwards": not causal and draw(st.booleans())})
    wide = Part("Reshape", {"target_shape": (-1, 1)})
    return Part("TimeDistributed", {}, wide), layer, Part("TimeDistributed", {}, Part("Flatten"))


HEADS = [
    (),
    (Part("Dense", {"units": 2}),),
    (Part("Dense", {"units": 4, "activation": "relu"}), Part("Dense", {"units": 3, "activation": "softmax"})),
    (Part("Dropout", {"rate": 0.1}), Part("Dense", {"units": 2, "activation": "glu"})),
    (Part("Dense", {"units": 3}), Part("Softmax")),
]
REDUCING = [Part("GlobalAveragePooling1D"), Part("GlobalMaxPooling1D", {"keepdims": True}), Part("GlobalMaxPooling1D")]


@st.composite
def networks(draw: st.DrawFn, *, causal: bool = False, dtypes: list[str] | None = None) -> NetworkCase:
    """A recurrent network; `causal`: one whose timesteps may be fed in pieces."""
    sequences = draw(st.booleans())
    count = draw(st.integers(1, 3))
    parts: list[Part] = []
    for i in range(count):
        if draw(st.integers(0, 2)) == 0:
            parts.append(draw(between(causal=causal)))
        elif draw(st.integers(0, 9)) == 0:
            parts += draw(convolving(causal=causal))
        parts.append(draw(recurrent(sequences=sequences or i < count - 1, causal=causal)))
    branch: tuple[Part, ...] = ()
    merge = draw(st.sampled_from(["Concatenate", "Concatenate", "Add", "Multiply", "Maximum", "Average", "Subtract"]))
    if draw(st.integers(0, 2)) == 0:
        # Elementwise merges need one width: the branch is another layer of the same kind.
        branch = (draw(recurrent(sequences=sequences, causal=causal)) if merge == "Concatenate" else parts[-1],)
    masked = draw(st.booleans())
    # Keras's Softmax layer takes a mask for one of its last axes, and refuses sequences that carry one.
    head = list(draw(st.sampled_from(HEADS[:-1] if masked and sequences else HEADS)))
    if sequences and not causal and draw(st.booleans()):
        head.insert(0, draw(st.sampled_from(REDUCING)))
    return NetworkCase(
        dtype=draw(st.sampled_from(dtypes or DTYPES)),
        ids=draw(st.sampled_from([0, 0, 6])),
        features=draw(st.integers(1, 4)),
        timesteps=draw(st.integers(2, 7)),
        fixed_time=draw(st.booleans()),
        batch=draw(st.integers(1, 4)),
        masked=masked,
        parts=tuple(parts),
        branch=branch,
        merge=merge,
        head=tuple(head),
        wrap=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )
