"""The activations that Keras accepts by name, in one table. Definitions follow keras.activations (Keras 3)."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from service.model.composed import KERAS2_HARD_SIGMOID, MIDDLE, SLOPE
from service.model.tensors import Array, DType

Activation = Callable[[Array], Array]


def kernel(function: Callable[..., Array]) -> Callable[..., Array]:
    """Marks what is one kernel in TensorFlow: in half precision it computes in single and rounds once.

    The other activations are made of several operations there, each of which rounds; so they do here.
    """

    @wraps(function)
    def rounded_once(x: Array, *args: Any, **kwargs: Any) -> Array:
        if x.dtype == np.float16:
            return function(x.astype(np.float32), *args, **kwargs).astype(np.float16)
        return function(x, *args, **kwargs)

    return rounded_once


# Klambauer et al., Self-Normalizing Neural Networks, 2017.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def linear(x: Array) -> Array:
    """x."""
    return x


def relu(x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """max(x, 0), with Keras's three options; the order of operations is that of keras.activations.relu.

    Keras keeps the threshold that x is compared with, and the largest value, in single precision, whatever x is.
    """
    if negative_slope and max_value is None and threshold == 0:
        return leaky_relu(x, negative_slope)
    negative = np.maximum(-x + x.dtype.type(threshold), 0) if negative_slope else None
    y = np.where(x > x.dtype.type(np.float32(threshold)), x, x.dtype.type(0)) if threshold else np.maximum(x, 0)
    if max_value is not None:
        y = np.minimum(y, x.dtype.type(np.float32(max_value)))
    return y if negative is None else y - x.dtype.type(negative_slope) * negative


@kernel
def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    """x where positive, else slope · x. TensorFlow keeps the slope in single precision, whatever x is."""
    return np.where(x > 0, x, x.dtype.type(np.float32(negative_slope)) * x)


@kernel
def elu(x: Array, alpha: float = 1.0) -> Array:
    """x where positive, else alpha · (exp(x) - 1)."""
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def celu(x: Array, alpha: float = 1.0) -> Array:
    """max(x, 0) + alpha · (exp(min(x, 0) / alpha) - 1)."""
    return np.maximum(x, 0) + x.dtype.type(alpha) * np.expm1(np.minimum(x, 0) / x.dtype.type(alpha))


@kernel
def selu(x: Array) -> Array:
    """Scale · elu(x, alpha)."""
    return x.dtype.type(SELU_SCALE) * elu(x, SELU_ALPHA)


def _sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x)), into an array if one is given."""
    y = np.negative(x, out)
    np.exp(y, y)
    np.add(y, 1, y)
    return np.reciprocal(y, y)


sigmoid = kernel(_sigmoid)


def hard_sigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6."""
    return relu6(x + x.dtype.type(3)) / x.dtype.type(6)


def keras2_hard_sigmoid(x: Array) -> Array:
    """x / 5 + 1/2, held between 0 and 1: what Keras 2 calls hard_sigmoid."""
    return np.clip(x * x.dtype.type(SLOPE) + x.dtype.type(MIDDLE), 0, 1)


def sparse_sigmoid(x: Array) -> Array:
    """0.5 · (x + 1), held between 0 and 1."""
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    return np.clip(half * (x + one), 0, 1)


@kernel
def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """exp(x - max x) / Σ exp(x - max x)."""
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    return y / y.sum(axis=axis, keepdims=True)


@kernel
def log_softmax(x: Array) -> Array:
    """x - max x - log Σ exp(x - max x) over the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sparsemax(x: Array) -> Array:
    """Projection of the last axis onto the simplex (Martins and Astudillo, 2016), as Keras writes it."""
    ordered = -np.sort(-x, axis=-1)
    total = np.cumsum(ordered, axis=-1, dtype=x.dtype)
    counts = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    support = ordered - (total - 1) / counts > 0
    size = support.sum(axis=-1, keepdims=True).astype(x.dtype)
    tau = (np.where(support, total, 0).sum(axis=-1, keepdims=True, dtype=x.dtype) - 1) / size
    return np.maximum(x - tau, 0)


@kernel
def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.logaddexp(x, x.dtype.type(0))


@kernel
def log_sigmoid(x: Array) -> Array:
    """-softplus(-x)."""
    return -softplus(-x)


def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (np.abs(x) + x.dtype.type(1))


def silu(x: Array) -> Array:
    """x · sigmoid(x)."""
    return x * sigmoid(x)


def hard_silu(x: Array) -> Array:
    """x · hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


def mish(x: Array) -> Array:
    """x · tanh(softplus(x))."""
    return x * np.tanh(softplus(x))


def gelu(x: Array) -> Array:
    """x · Φ(x), with the exact distribution function of the normal distribution; √½ in single precision, as above."""
    kind = x.dtype.type
    return kind(0.5) * x * _erfc(-x * kind(np.float32(math.sqrt(0.5))))


def relu6(x: Array) -> Array:
    """X held between 0 and 6."""
    return np.clip(x, 0, 6)


def hard_tanh(x: Array) -> Array:
    """X held between -1 and 1."""
    return np.clip(x, -1, 1)


def tanh_shrink(x: Array) -> Array:
    """x - tanh(x)."""
    return x - np.tanh(x)


def soft_shrink(x: Array) -> Array:
    """X moved towards 0 by 0.5, and 0 in between."""
    half = x.dtype.type(0.5)
    return np.where(x > half, x - half, np.where(x < -half, x + half, x.dtype.type(0)))


def hard_shrink(x: Array) -> Array:
    """x where |x| > 0.5, else 0."""
    return np.where(np.abs(x) > x.dtype.type(0.5), x, x.dtype.type(0))


def sparse_plus(x: Array) -> Array:
    """0 up to -1, (x + 1)² / 4 up to 1, then x."""
    kind = x.dtype.type
    return np.where(x <= -1, kind(0), np.where(x < 1, kind(0.25) * np.square(x + kind(1)), x))


def squareplus(x: Array) -> Array:
    """(x + √(x² + 4)) / 2."""
    kind = x.dtype.type
    return (x + np.sqrt(np.square(x) + kind(4))) / kind(2)


def glu(x: Array) -> Array:
    """First half of the last axis · sigmoid(second half); the only activation that changes a width."""
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "relu6": relu6,
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "gelu": gelu,
    "glu": glu,
    "tanh": np.tanh,
    "hard_tanh": hard_tanh,
    "tanh_shrink": tanh_shrink,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    KERAS2_HARD_SIGMOID: keras2_hard_sigmoid,
    "log_sigmoid": log_sigmoid,
    "sparse_sigmoid": sparse_sigmoid,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sparsemax": sparsemax,
    "softplus": softplus,
    "softsign": softsign,
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "sparse_plus": sparse_plus,
    "squareplus": squareplus,
    "silu": silu,
    "swish": silu,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "mish": mish,
    "exponential": np.exp,
}


INTO: dict[str, Callable[[Array, Array], object]] = {"tanh": np.tanh, "sigmoid": _sigmoid}


def into(name: str, dtype: DType, units: int) -> Callable[[Array, Array], object]:
    """An activation of the columns of x, (gates · units, batch), that writes into another such array.

    Some activations are over the units of one gate; they see the axis of these last, as everywhere else.
    """
    if name in INTO and dtype != np.float16:
        return INTO[name]
    function = ACTIVATIONS[name]

    def write(x: Array, out: Array) -> None:
        gates = (-1, units, x.shape[1])
        out.reshape(gates).swapaxes(1, 2)[...] = function(x.reshape(gates).swapaxes(1, 2))

    return write


# NumPy has no erfc, and SciPy would be a large dependency for one function. math.erfc is exact and works on Python
# floats; gelu is rare in recurrent networks.
_erfc_each = np.frompyfunc(math.erfc, 1, 1)


def _erfc(x: Array) -> Array:
    return np.asarray(_erfc_each(x), dtype=x.dtype)
