"""Gradients of layers with several inputs."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.base import Back, Seen, backward, first, summed_to
from service.model.layers.merge import (
    Add,
    Average,
    Concatenate,
    Dot,
    Extreme,
    Maximum,
    Multiply,
    Subtract,
)
from service.model.tensors import Array


def _of_each(seen: Seen, gradients: Sequence[Array]) -> Back:
    """Gradients by inputs that were broadcast to one rank, brought back to the shapes of the inputs."""
    found: list[Array | None] = []
    for x, gradient in zip(seen.inputs, gradients, strict=True):
        spread = (len(x), *[1] * (gradient.ndim - x.ndim), *x.shape[1:])
        found.append(summed_to(gradient, spread).reshape(x.shape))
    return Back(found)


def _same(seen: Seen) -> list[Array]:
    """The inputs with axes of 1 put in, as the layer computes with them."""
    rank = seen.y.ndim
    return [x.reshape(len(x), *[1] * (rank - x.ndim), *x.shape[1:]) for x in seen.inputs]


@backward.register
def _add(_layer: Add, seen: Seen, above: Sequence[Array | None]) -> Back:
    return _of_each(seen, [first(above, seen.y)] * len(seen.inputs))


@backward.register
def _subtract(_layer: Subtract, seen: Seen, above: Sequence[Array | None]) -> Back:
    gradient = first(above, seen.y)
    return _of_each(seen, [gradient, -gradient])


@backward.register
def _average(_layer: Average, seen: Seen, above: Sequence[Array | None]) -> Back:
    return _of_each(seen, [first(above, seen.y) / seen.y.dtype.type(len(seen.inputs))] * len(seen.inputs))


@backward.register
def _multiply(_layer: Multiply, seen: Seen, above: Sequence[Array | None]) -> Back:
    """The product of the others; masked elements count as 1, and as 0 where all are masked."""
    gradient, inputs = first(above, seen.y), _same(seen)
    wide = [_wide(mask, x) for mask, x in zip(seen.masks, inputs, strict=True)]
    if all(mask is not None for mask in wide):
        some = np.logical_or.reduce([np.broadcast_to(m, gradient.shape) for m in wide if m is not None])
        gradient = np.where(some, gradient, 0).astype(gradient.dtype)
    factors = [x if m is None else np.where(m, x, 1).astype(x.dtype) for x, m in zip(inputs, wide, strict=True)]
    found = []
    for i, mask in enumerate(wide):
        part = gradient
        for j, factor in enumerate(factors):
            if i != j:
                part = part * factor
        found.append(part if mask is None else np.where(mask, part, 0).astype(part.dtype))
    return _of_each(seen, found)


@backward.register
def _extreme(layer: Extreme, seen: Seen, above: Sequence[Array | None]) -> Back:
    """To the larger (or smaller) of each pair; to the first of a tie, as TensorFlow has it."""
    wins = np.greater_equal if isinstance(layer, Maximum) else np.less_equal
    inputs = _same(seen)
    y, y_mask = inputs[0], _wide(seen.masks[0], inputs[0])
    pairs: list[tuple[Array, Array | None, Array | None]] = []  # first wins, masks of the first and of the second
    for x, mask in zip(inputs[1:], seen.masks[1:], strict=True):
        x_mask = _wide(mask, x)
        other = x if x_mask is None else np.where(x_mask, x, y)
        left = y if y_mask is None else np.where(y_mask, y, other)
        pairs.append((wins(left, other), y_mask, x_mask))
        y_mask = None if x_mask is None or y_mask is None else y_mask | x_mask
        y = type(layer).FUNCTION(left, other)
    gradient = first(above, seen.y)
    found: list[Array] = []
    for won, left_mask, right_mask in reversed(pairs):
        left, other = np.where(won, gradient, 0), np.where(won, 0, gradient)
        if left_mask is not None:  # where the first is masked, the second stands in for it
            left, other = np.where(left_mask, left, 0), other + np.where(left_mask, 0, left)
        if right_mask is not None:
            left, other = left + np.where(right_mask, 0, other), np.where(right_mask, other, 0)
        found.append(other.astype(seen.y.dtype))
        gradient = left.astype(seen.y.dtype)
    return _of_each(seen, [gradient, *reversed(found)])


@backward.register
def _concatenate(layer: Concatenate, seen: Seen, above: Sequence[Array | None]) -> Back:
    axis = layer.options["axis"]
    ends = np.cumsum([x.shape[axis] for x in seen.inputs])
    return Back(np.split(first(above, seen.y), ends[:-1], axis=axis))


@backward.register
def _dot(layer: Dot, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Products of the gradient with the other input; with `normalize` through x / |x| of each."""
    a, b = layer.axes_of([x.ndim for x in seen.inputs])
    x, y = seen.inputs
    if layer.options["normalize"]:
        lengths = [np.sqrt(np.maximum((v * v).sum(axis=i, keepdims=True), 1e-12)) for v, i in ((x, a), (y, b))]
        x, y = x / lengths[0], y / lengths[1]
    first_, second, out = layer.subscripts(x.ndim, y.ndim, a, b)
    gradient = first(above, seen.y).reshape([len(x), *(e for i, e in enumerate(x.shape) if i not in {0, a})]
                                            + [e for i, e in enumerate(y.shape) if i not in {0, b}])  # fmt: skip
    by_x = np.einsum(f"{out},{second}->{first_}", gradient, y)
    by_y = np.einsum(f"{out},{first_}->{second}", gradient, x)
    if layer.options["normalize"]:
        by_x = (by_x - x * (by_x * x).sum(axis=a, keepdims=True)) / lengths[0]
        by_y = (by_y - y * (by_y * y).sum(axis=b, keepdims=True)) / lengths[1]
    return Back([by_x, by_y])


def _wide(mask: Array | None, x: Array) -> Array | None:
    return None if mask is None else np.broadcast_to(mask[..., None], x.shape)
