"""Gradients of operations on whole arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.model.gradients.activations import softmax
from service.model.gradients.base import Seen, first, summed_to
from service.model.layers import array_operations as operations
from service.model.layers.array_operations import Operand
from service.model.layers.operations import Operation
from service.model.tensors import Array

Gradient = Callable[[Operation, Seen, Array], Sequence[Array | None]]


def _cast(_operation: Operation, _seen: Seen, gradient: Array) -> Sequence[Array | None]:
    return [gradient]


def _reduced(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    """To all that was added up; of a mean in equal parts."""
    over = operations.reduced_axes(operation, seen.x.ndim)
    wide = gradient.reshape([1 if i in over else extent for i, extent in enumerate(seen.x.shape)])
    count = np.prod([seen.x.shape[axis] for axis in over]) if operation.kind == "Mean" else 1
    return [np.broadcast_to(wide / gradient.dtype.type(count), seen.x.shape)]


def _softmax(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    return [softmax(gradient, seen.x, seen.y, operations.reduced_axes(operation, seen.x.ndim))]


def _cumsum(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    """Each element is in all sums from its own on."""
    axis = operations.one_axis(operation, seen.x.ndim)
    return [np.flip(np.cumsum(np.flip(gradient, axis), axis=axis), axis)]


def _reshape(_operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    return [gradient.reshape(seen.x.shape)]


def _transpose(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    return [gradient.transpose(np.argsort(operations.permutation(operation, seen.x.ndim)))]


def _stack(operation: Operation, _seen: Seen, gradient: Array) -> Sequence[Array | None]:
    axis = operations.one_axis(operation, gradient.ndim)
    return list(np.moveaxis(gradient, axis, 0))


def _take(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    axis = operations.one_axis(operation, seen.x.ndim)
    indices = operations.indices(operation, seen.inputs)
    moved = np.moveaxis(gradient, range(axis, axis + indices.ndim), range(indices.ndim))
    by_x = np.zeros((seen.x.shape[axis], *np.delete(seen.x.shape, axis)), gradient.dtype)
    np.add.at(by_x, indices, moved)
    return [np.moveaxis(by_x, 0, axis)]


def _along(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    x, chosen = seen.inputs
    axis = operations.one_axis(operation, x.ndim)
    wide = [extent if i != axis else x.shape[axis] for i, extent in enumerate(gradient.shape)]
    by_x = np.zeros(wide, gradient.dtype)
    places: list[Array] = list(np.indices(gradient.shape, sparse=True))
    places[axis] = np.broadcast_to(chosen, gradient.shape)
    np.add.at(by_x, tuple(places), gradient)
    return [summed_to(by_x, x.shape), None]


def _where(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    found: list[Any] = [None] * len(seen.inputs)
    condition, *values = operation.arguments
    for value, taken in zip(values, (True, False), strict=True):
        if isinstance(value, Operand):
            own = np.where(seen.inputs[condition.place] == taken, gradient, 0).astype(gradient.dtype)
            own = summed_to(own, seen.inputs[value.place].shape)
            found[value.place] = own if found[value.place] is None else found[value.place] + own
    return found


def _clip(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    """To what lies within the bounds, these included."""
    low, high = operations.clip_bounds(operation, seen.x.dtype)
    return [np.where((seen.x >= low) & (seen.x <= high), gradient, 0).astype(gradient.dtype)]


def _matmul(_operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    x, y = seen.inputs
    return [summed_to(gradient @ y.swapaxes(-1, -2), x.shape), summed_to(x.swapaxes(-1, -2) @ gradient, y.shape)]


def _einsum(operation: Operation, seen: Seen, gradient: Array) -> Sequence[Array | None]:
    """By one operand: the other one and the gradient contracted; what it alone was summed over, spread again."""
    *sources, made = operations.subscripts(operation)
    found = []
    for own, other, array, x in zip(sources, reversed(sources), reversed(seen.inputs), seen.inputs, strict=True):
        known = "".join(letter for letter in own if letter in made or letter in other)
        by = np.einsum(f"{made},{other}->{known}", gradient, array)
        spread = by.reshape([x.shape[i] if letter in known else 1 for i, letter in enumerate(own)])
        found.append(np.broadcast_to(spread, x.shape))
    return found


GRADIENTS: dict[str, Gradient] = {
    "Cast": _cast,
    "ConvertToTensor": _cast,
    "Sum": _reduced,
    "Mean": _reduced,
    "Softmax": _softmax,
    "Cumsum": _cumsum,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Stack": _stack,
    "Take": _take,
    "TakeAlongAxis": _along,
    "Where": _where,
    "Clip": _clip,
    "Matmul": _matmul,
    "Einsum": _einsum,
}


def gradients(operation: Operation, seen: Seen, above: Sequence[Array | None]) -> list[Array | None]:
    """By each tensor; those that are no floats have none."""
    found = GRADIENTS[operation.kind](operation, seen, first(above, seen.y))
    return [by if x.dtype.kind == "f" else None for by, x in zip(found, seen.inputs, strict=True)]
