"""Derivatives of the activations, in two tables: elementwise ones, and those coupled over the last axis."""

import math
from collections.abc import Callable

import numpy as np

from service.model.activations import SELU_ALPHA, SELU_SCALE, sigmoid, softplus
from service.model.composed import KERAS2_HARD_SIGMOID, SLOPE
from service.model.tensors import Array

Slope = Callable[[Array, Array], Array]  # dy/dx of x and y, element by element
Product = Callable[[Array, Array, Array], Array]  # dL/dx of dL/dy, x and y, (…, units) each


def _where(condition: Array, x: Array) -> Array:
    return condition.astype(x.dtype)


def _celu(x: Array, _y: Array) -> Array:
    # max(x, 0) + expm1(min(x, 0)): at 0 both count.
    return _where(x >= 0, x) + np.where(x <= 0, np.exp(np.minimum(x, 0)), 0).astype(x.dtype)


def _gelu(x: Array, _y: Array) -> Array:
    root = x.dtype.type(np.float32(math.sqrt(0.5)))  # as the function itself has it
    normal = root / x.dtype.type(math.sqrt(math.pi)) * np.exp(-np.square(x * root))
    return np.asarray(_erfc(-x * root), dtype=x.dtype) / 2 + x * normal


def _silu(x: Array, y: Array) -> Array:
    s = sigmoid(x)
    return s + y * (1 - s)


def _hard_silu(x: Array, _y: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6 + x * _hard_sigmoid(x, x)


def _hard_sigmoid(x: Array, _y: Array) -> Array:
    return _where((x > -3) & (x < 3), x) / x.dtype.type(6)


def _keras2_hard_sigmoid(x: Array, y: Array) -> Array:
    # TensorFlow lets the gradient through at both ends of `clip`, and none at the 0 of `relu`.
    return _where((y > 0) & (x * x.dtype.type(SLOPE) <= x.dtype.type(0.5)), x) * x.dtype.type(SLOPE)


def _mish(x: Array, _y: Array) -> Array:
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


def _sparse_plus(x: Array, _y: Array) -> Array:
    return np.where(x <= -1, 0, np.where(x < 1, (x + 1) / 2, 1)).astype(x.dtype)


SLOPES: dict[str, Slope] = {
    "linear": lambda x, _: np.ones_like(x),
    "relu": lambda x, _: _where(x > 0, x),
    "leaky_relu": lambda x, _: np.where(x > 0, x.dtype.type(1), x.dtype.type(np.float32(0.2))),
    "relu6": lambda x, _: _where((x > 0) & (x < 6), x),
    "elu": lambda x, y: np.where(x > 0, x.dtype.type(1), y + 1),
    "celu": _celu,
    "selu": lambda x, y: np.where(x < 0, y + x.dtype.type(SELU_SCALE * SELU_ALPHA), x.dtype.type(SELU_SCALE)),
    "gelu": _gelu,
    "tanh": lambda _, y: 1 - y * y,
    "hard_tanh": lambda x, _: _where((x >= -1) & (x <= 1), x),
    "tanh_shrink": lambda x, y: np.square(x - y),
    "sigmoid": lambda _, y: y * (1 - y),
    "hard_sigmoid": _hard_sigmoid,
    KERAS2_HARD_SIGMOID: _keras2_hard_sigmoid,
    "log_sigmoid": lambda x, _: sigmoid(-x),
    "sparse_sigmoid": lambda x, _: _where((x > -1) & (x < 1), x) / 2,
    "softplus": lambda x, _: sigmoid(x),
    "softsign": lambda x, _: 1 / np.square(1 + np.abs(x)),
    "soft_shrink": lambda x, _: _where(np.abs(x) > 0.5, x),
    "hard_shrink": lambda x, _: _where(np.abs(x) > 0.5, x),
    "sparse_plus": _sparse_plus,
    "squareplus": lambda x, _: (1 + x / np.sqrt(x * x + 4)) / 2,
    "silu": _silu,
    "swish": _silu,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "mish": _mish,
    "exponential": lambda _, y: y,
}


def softmax(above: Array, _x: Array, y: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Y ∘ (g - Σ g∘y) over an axis or several."""
    return y * (above - (above * y).sum(axis=axis, keepdims=True))


def _log_softmax(above: Array, _x: Array, y: Array) -> Array:
    return above - np.exp(y) * above.sum(axis=-1, keepdims=True)


def _sparsemax(above: Array, x: Array, y: Array) -> Array:
    # Keras adds up the cumulative sums of the support: of its K members the j-th largest counts K - j + 1 times.
    order = np.argsort(-x, axis=-1, kind="stable")
    ordered = np.take_along_axis(x, order, -1)
    counts = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    support = ordered - (np.cumsum(ordered, axis=-1, dtype=x.dtype) - 1) / counts > 0
    size = support.sum(axis=-1, keepdims=True).astype(x.dtype)
    share = np.empty_like(x)
    np.put_along_axis(share, order, np.where(support, (size - counts + 1) / size, 0), -1)
    passed = np.where(y > 0, above, 0)
    return passed - share * passed.sum(axis=-1, keepdims=True)


def _glu(above: Array, x: Array, _y: Array) -> Array:
    value, gate = np.split(x, 2, axis=-1)
    opened = sigmoid(gate)
    return np.concatenate((above * opened, above * value * opened * (1 - opened)), axis=-1)


COUPLED: dict[str, Product] = {
    "softmax": softmax,
    "log_softmax": _log_softmax,
    "sparsemax": _sparsemax,
    "glu": _glu,
}


def through(name: str, above: Array, x: Array, y: Array) -> Array:
    """dL/dx of an activation y = f(x), given dL/dy; (…, units) each."""
    if name == "linear":
        return above
    slope = SLOPES.get(name)
    return COUPLED[name](above, x, y) if slope is None else above * slope(x, y)


_erfc = np.frompyfunc(math.erfc, 1, 1)
