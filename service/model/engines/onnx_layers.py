"""Layers as ONNX operators, one small function each. Unsupported layers and options give None.

Values are float32. Recurrent layers and the mean over timesteps go by masks; layers that Keras computes by them and
that do not here are not covered. Where they are sequences, time comes before the batch between recurrent layers, as
ONNX Runtime's operators want it, and after it elsewhere, as Keras has it; `Value` says which, and what does not care
leaves it as it is.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from service.model.engines.onnx_builder import Builder, Value
from service.model.engines.onnx_masks import any_of_last, differs, mean, wide
from service.model.engines.onnx_recurrent import RECURRENT_ACTIVATIONS, recurrent
from service.model.layers.array_operations import Operand
from service.model.layers.base import Layer
from service.model.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    GlobalPooling,
    MaxPooling1D,
    Pooling,
    Windows,
)
from service.model.layers.dense import Dense
from service.model.layers.elementwise import ELU, Activation, Identity, LeakyReLU, ReLU, Softmax
from service.model.layers.embedding import Embedding, Masking
from service.model.layers.merge import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from service.model.layers.normalization import BatchNormalization, LayerNormalization, Normalization, Rescaling
from service.model.layers.operations import Operation
from service.model.layers.recurrent import Recurrent
from service.model.layers.shape import Flatten, Permute, RepeatVector, Reshape
from service.model.layers.wrappers import TimeDistributed

ACTIVATIONS = {
    **RECURRENT_ACTIVATIONS,
    "softplus": "Softplus",
    "softmax": "Softmax",
    "elu": "Elu",
    "selu": "Selu",
    "exponential": "Exp",
}
ARITHMETIC = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "TrueDivide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
}
UNARY = {name: name for name in ("Sqrt", "Exp", "Log", "Tanh", "Sigmoid", "Relu")} | {
    "Negative": "Neg",
    "Absolute": "Abs",
}
END = (1 << 63) - 1  # of a slice that goes to the end


def layer_values(
    b: Builder, call: str, layer: Layer, inputs: Sequence[Value], initial: Sequence[Value]
) -> list[Value] | None:
    """The outputs of a layer, whose shapes and masks are still those of its input; None where it is not covered.

    `call` names the call that its states belong to; `initial` are its first states where the graph names them.
    """
    if any(value.mask for value in inputs) and not _takes_masks(layer):
        return None
    if isinstance(layer, Recurrent):
        return recurrent(b, call, layer, inputs[0], initial)
    made: Value | None
    if isinstance(layer, Identity):
        made = inputs[0]
    elif type(layer) in MERGES:
        made = MERGES[type(layer)](b, layer, inputs)
    else:
        maker = POINTWISE.get(type(layer)) or OTHERS.get(type(layer))
        made = maker(b, layer, inputs[0]) if maker else None
    return None if made is None else [made]


def _takes_masks(layer: Layer) -> bool:
    """Whether the layer goes by masks here, or computes with them what it computes without them."""
    if isinstance(layer, Recurrent | Identity | TimeDistributed) or not layer.PASSES_MASK:
        return True
    return type(layer) in POINTWISE and not isinstance(layer, Softmax)


# What looks at the last axis alone, or at nothing but the element.


def _dense(b: Builder, layer: Layer, x: Value) -> Value | None:
    weights = b.weights(layer)
    y = b.node("MatMul", x.name, b.constant(weights["kernel"]))
    if "bias" in weights:
        y = b.node("Add", y, b.constant(weights["bias"]))
    return _activated(b, layer.options["activation"], x.named(y))


def _activated(b: Builder, function: str, x: Value) -> Value | None:
    if function == "linear":
        return x
    if function in ("silu", "swish"):
        return x.named(b.node("Mul", x.name, b.node("Sigmoid", x.name)))
    if function == "leaky_relu":
        return x.named(b.node("LeakyRelu", x.name, alpha=0.2))
    return x.named(b.node(ACTIVATIONS[function], x.name)) if function in ACTIVATIONS else None


def _relu(b: Builder, layer: Layer, x: Value) -> Value | None:
    plain = not layer.options["threshold"] and not layer.options["negative_slope"]
    return _activated(b, "relu", x) if plain and layer.options["max_value"] is None else None


def _softmax(b: Builder, layer: Layer, x: Value) -> Value | None:
    return _activated(b, "softmax", x) if _last(layer, x) else None


def _last(layer: Layer, x: Value) -> bool:
    """Whether the option `axis` is the last axis and no other."""
    return layer.options["axis"] in (-1, x.rank - 1, (-1,), (x.rank - 1,))


def _affine(b: Builder, x: Value, factor: Any, offset: Any) -> Value:
    return x.named(b.node("Add", b.node("Mul", x.name, b.constant(factor)), b.constant(offset)))


def _rescaling(b: Builder, layer: Layer, x: Value) -> Value | None:
    return _affine(b, x, layer.options["scale"], layer.options["offset"])


def _normalization(b: Builder, layer: Layer, x: Value) -> Value | None:
    if not _last(layer, x):
        return None
    mean, deviation = layer.prepare(b.weights(layer))
    if layer.options["invert"]:
        return _affine(b, x, deviation, mean)
    return x.named(b.node("Div", b.node("Sub", x.name, b.constant(mean)), b.constant(deviation)))


def _batch_normalization(b: Builder, layer: Layer, x: Value) -> Value | None:
    if not _last(layer, x):
        return None
    return _affine(b, x, *layer.prepare(b.weights(layer)))


def _layer_normalization(b: Builder, layer: Layer, x: Value) -> Value | None:
    weights = b.weights(layer)
    if not _last(layer, x) or "gamma" not in weights:
        return None
    scale = [b.constant(weights[name]) for name in ("gamma", "beta") if name in weights]
    return x.named(b.node("LayerNormalization", x.name, *scale, axis=-1, epsilon=float(layer.options["epsilon"])))


def _time_distributed(b: Builder, layer: Layer, x: Value) -> Value | None:
    assert isinstance(layer, TimeDistributed)
    if isinstance(layer.inner, Identity):
        return x
    maker = POINTWISE.get(type(layer.inner))
    return maker(b, layer.inner, x) if maker else None  # the weights have the name of the outer layer


POINTWISE: dict[type[Layer], Callable[[Builder, Layer, Value], Value | None]] = {
    Dense: _dense,
    Activation: lambda b, layer, x: _activated(b, layer.options["activation"], x),
    ReLU: _relu,
    LeakyReLU: lambda b, layer, x: x.named(b.node("LeakyRelu", x.name, alpha=float(layer.options["negative_slope"]))),
    ELU: lambda b, layer, x: x.named(b.node("Elu", x.name, alpha=float(layer.options["alpha"]))),
    Softmax: _softmax,
    Rescaling: _rescaling,
    Normalization: _normalization,
    BatchNormalization: _batch_normalization,
    LayerNormalization: _layer_normalization,
}


# What looks at other axes.


def _embedding(b: Builder, layer: Layer, ids: Value) -> Value | None:
    mask = ""
    if layer.options["mask_zero"]:
        if ids.rank != 2:
            return None
        mask = differs(b, b.batch_major(ids), 0)
    table = b.constant(b.weights(layer)["embeddings"])
    number = b.node("Cast", b.batch_major(ids), to=7)  # int64; what is left of a number is cut off, as Keras does it
    return Value(b.node("Gather", table, number), (*ids.shape, None), mask=mask)


def _masking(b: Builder, layer: Layer, x: Value) -> Value | None:
    if x.rank != 3:
        return None
    y = b.batch_major(x)
    mask = any_of_last(b, differs(b, y, np.float32(layer.options["mask_value"])))
    return Value(b.node("Where", wide(b, mask), y, b.constant(0)), x.shape, mask=mask)


def _flatten(b: Builder, layer: Layer, x: Value) -> Value | None:
    if layer.options["data_format"] == "channels_first" and x.rank > 2:
        return None
    return Value(b.node("Flatten", b.batch_major(x), axis=1), x.shape)


def _reshape(b: Builder, layer: Layer, x: Value) -> Value | None:
    shape = b.constant([0, *layer.options["target_shape"]], np.int64)  # 0: as it is
    return Value(b.node("Reshape", b.batch_major(x), shape), x.shape)


def _permute(b: Builder, layer: Layer, x: Value) -> Value | None:
    return Value(b.node("Transpose", b.batch_major(x), perm=[0, *layer.options["dims"]]), x.shape)


def _repeat_vector(b: Builder, layer: Layer, x: Value) -> Value | None:
    first = b.node("Unsqueeze", x.name, b.constant([0], np.int64))
    return Value(b.node("Expand", first, b.constant([layer.options["n"], 1, 1], np.int64)), x.shape, time_major=True)


def _conv(b: Builder, layer: Layer, x: Value) -> Value | None:
    assert isinstance(layer, Conv1D)
    o = layer.options
    (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
    if not _same_windows(layer, x, width, stride):
        return None
    weights = b.weights(layer)
    constants = [b.constant(weights["kernel"].transpose(2, 1, 0))]
    constants += [b.constant(weights["bias"])] if "bias" in weights else []
    shape = {"kernel_shape": [width], "strides": [stride], "dilations": [dilation], "group": o["groups"]}
    missing = (width - 1) * dilation
    pads = {"valid": [0, 0], "causal": [missing, 0], "same": [missing // 2, missing - missing // 2]}[o["padding"]]
    padding: dict[str, Any] = {"pads": pads} if stride == 1 or o["padding"] != "same" else {"auto_pad": "SAME_UPPER"}
    y = b.node("Conv", _channels_first(b, x), *constants, **shape, **padding)
    return _activated(b, o["activation"], Value(b.node("Transpose", y, perm=[0, 2, 1]), x.shape))


def _pooling(b: Builder, layer: Layer, x: Value) -> Value | None:
    assert isinstance(layer, Pooling)
    width, stride = layer.window()
    if not _same_windows(layer, x, width, stride):
        return None
    operator = "MaxPool" if isinstance(layer, MaxPooling1D) else "AveragePool"  # in which padding takes no part
    padding = "SAME_UPPER" if layer.options["padding"] == "same" else "VALID"
    y = b.node(operator, _channels_first(b, x), kernel_shape=[width], strides=[stride], auto_pad=padding)
    return Value(b.node("Transpose", y, perm=[0, 2, 1]), x.shape)


def _global_pooling(b: Builder, layer: Layer, x: Value) -> Value | None:
    assert isinstance(layer, GlobalPooling)
    if layer.first:
        return None
    operator = "ReduceMax" if isinstance(layer, GlobalMaxPooling1D) else "ReduceMean"
    keep = bool(layer.options["keepdims"])
    if x.mask and operator == "ReduceMean":
        return Value(mean(b, x, keep=keep), x.shape)
    y = b.node(operator, x.name, axes=[0 if x.time_major else 1], keepdims=int(keep))
    return Value(y, x.shape, x.time_major and keep)


def _same_windows(layer: Windows, x: Value, width: int, stride: int) -> bool:
    """Whether ONNX Runtime has the windows that Keras has.

    Where an input may be too short for one, it goes on with nothing; where strides leave timesteps out, it would have
    to pad by less than nothing.
    """
    padding = layer.options["padding"]
    enough = x.shape[1] is not None or padding != "valid"
    return not layer.first and enough and not (padding == "same" and stride > width)


def _channels_first(b: Builder, x: Value) -> str:
    """(batch, channels, time), as ONNX convolves."""
    return b.node("Transpose", x.name, perm=[1, 2, 0] if x.time_major else [0, 2, 1])


OTHERS: dict[type[Layer], Callable[[Builder, Layer, Value], Value | None]] = {
    TimeDistributed: _time_distributed,
    Embedding: _embedding,
    Masking: _masking,
    Flatten: _flatten,
    Reshape: _reshape,
    Permute: _permute,
    RepeatVector: _repeat_vector,
    Conv1D: _conv,
    MaxPooling1D: _pooling,
    AveragePooling1D: _pooling,
    GlobalMaxPooling1D: _global_pooling,
    GlobalAveragePooling1D: _global_pooling,
}


# What takes several values.


def _alike(b: Builder, values: Sequence[Value]) -> list[Value] | None:
    """Values of one rank, in one order of axes."""
    if len({value.rank for value in values}) > 1:
        return None
    if len({value.time_major for value in values}) > 1:
        return [Value(b.batch_major(value), value.shape) for value in values]
    return list(values)


def _pairwise(operator: str) -> Callable[[Builder, Layer, Sequence[Value]], Value | None]:
    def merge(b: Builder, _layer: Layer, values: Sequence[Value]) -> Value | None:
        same = _alike(b, values)
        return reduce(lambda x, y: x.named(b.node(operator, x.name, y.name)), same) if same else None

    return merge


def _average(b: Builder, layer: Layer, values: Sequence[Value]) -> Value | None:
    total = MERGES[Add](b, layer, values)
    return total and total.named(b.node("Div", total.name, b.constant(len(values))))


def _concatenate(b: Builder, layer: Layer, values: Sequence[Value]) -> Value | None:
    rank, axis = values[0].rank, layer.options["axis"]
    same = _alike(b, values)
    if same is None or axis % rank != rank - 1:
        return None
    return same[0].named(b.node("Concat", *(value.name for value in same), axis=-1))


def _operation(b: Builder, operation: Layer, values: Sequence[Value]) -> Value | None:
    assert isinstance(operation, Operation)
    kind = operation.kind
    if kind in ARITHMETIC:
        same = _alike(b, values)
        if same is None:
            return None
        names = [same[a.place].name if isinstance(a, Operand) else b.constant(a) for a in operation.arguments]
        return same[0].named(b.node(ARITHMETIC[kind], *names))
    if kind in UNARY:
        return values[0].named(b.node(UNARY[kind], values[0].name))
    return _item(b, operation, values[0]) if kind == "GetItem" else None


def _item(b: Builder, operation: Operation, x: Value) -> Value | None:
    """Slices, then what is indexed without its axis."""
    bounds: list[tuple[int, int, int]] = []  # start, stop and step for each axis
    indexed = []
    for axis, part in enumerate(operation.key(x.rank)):
        if isinstance(part, slice):
            if (part.step or 1) < 0:
                return None
            bounds.append((part.start or 0, END if part.stop is None else part.stop, part.step or 1))
        elif x.shape[axis] is None and part != -1:  # it may be outside
            return None
        else:
            bounds.append((part, part + 1 if part != -1 else END, 1))
            indexed.append(axis)
    starts, stops, steps = zip(*bounds, strict=True)
    slices = [b.constant(numbers, np.int64) for numbers in (starts, stops, range(x.rank), steps)]
    y = b.node("Slice", b.batch_major(x), *slices)
    return Value(b.node("Squeeze", y, b.constant(indexed, np.int64)) if indexed else y, x.shape)


MERGES: dict[type[Layer], Callable[[Builder, Layer, Sequence[Value]], Value | None]] = {
    Operation: _operation,
    **{kind: _pairwise(ARITHMETIC[kind.CLASS]) for kind in (Add, Subtract, Multiply, Maximum, Minimum)},
    Average: _average,
    Concatenate: _concatenate,
}
