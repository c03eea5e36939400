"""The target of differentiation: one number for each sequence, from an output or a loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from service.errors import InvalidArgumentError
from service.model.gradients.tape import wide
from service.model.tensors import Array

SMALLEST = 1e-7  # keras.config.epsilon(): what Keras keeps probabilities away from 0 and 1 by


class Loss(Enum):
    """Losses as Keras defines them, of one sequence: the mean over elements."""

    MEAN_SQUARED_ERROR = "mean_squared_error"
    BINARY_CROSSENTROPY = "binary_crossentropy"
    CATEGORICAL_CROSSENTROPY = "categorical_crossentropy"


@dataclass(frozen=True)
class Target:
    """A number for each sequence: an element of an output, its product with a direction, or a loss.

    output: by name; empty: the only one. timestep: of an output at every timestep; negative ones count from the end.
    direction: of the shape of the output, with or without the batch; then element and timestep are not looked at.
    """

    output: str = ""
    timestep: int = -1
    element: int = 0
    direction: Array | None = None
    loss: Loss | None = None
    expected: Array | None = None  # for a loss: of the shape of the output


def seed(outputs: Mapping[str, Array], target: Target) -> tuple[str, Array, Array]:
    """The output meant; the number for each sequence, (batch,); and its gradient by the output.

    Raises InvalidArgumentError, with `field` below `target`, for what does not fit the output.
    """
    name = target.output or (next(iter(outputs)) if len(outputs) == 1 else "")
    if name not in outputs:
        raise InvalidArgumentError(
            f"target.output: no output {target.output!r}; there are: {', '.join(outputs)}", field="target.output"
        )
    y = wide(outputs[name])
    if y.dtype.kind != "f":
        raise InvalidArgumentError(f"target.output: {name} is of integers", field="target.output")
    if target.loss is not None:
        return (name, *_loss(y, target))
    if target.direction is not None:
        if target.direction.shape not in {y.shape, y.shape[1:]}:
            raise InvalidArgumentError(
                f"target.direction: expected shape {list(y.shape[1:])} or {list(y.shape)}, "
                f"got {list(target.direction.shape)}",
                field="target.direction.shape",
            )
        direction = np.broadcast_to(target.direction.astype(y.dtype), y.shape)
        return name, _sum(y * direction), direction
    gradient = np.zeros_like(y)
    if y.ndim > 3:
        raise InvalidArgumentError(
            f"target: {name} has {y.ndim} axes; give a direction of its shape", field="target.direction"
        )
    if y.ndim == 3:
        if not -y.shape[1] <= target.timestep < y.shape[1]:
            raise InvalidArgumentError(
                f"target.timestep: {target.timestep} is not within the {y.shape[1]} timesteps of {name}",
                field="target.timestep",
            )
        at = gradient[:, target.timestep]
    else:
        at = gradient
    if not 0 <= target.element < at.shape[-1]:
        raise InvalidArgumentError(
            f"target.element: {target.element} is not within the {at.shape[-1]} elements of {name}",
            field="target.element",
        )
    at[..., target.element] = 1
    return name, _sum(y * gradient), gradient


def _loss(y: Array, target: Target) -> tuple[Array, Array]:
    if target.expected is None or target.expected.shape != y.shape:
        shape = "none" if target.expected is None else list(target.expected.shape)
        raise InvalidArgumentError(
            f"target.expected: a loss needs values of shape {list(y.shape)}, got {shape}", field="target.expected"
        )
    wanted = target.expected.astype(y.dtype)
    count = y[0].size
    if target.loss is Loss.MEAN_SQUARED_ERROR:
        error = y - wanted
        return _sum(np.square(error)) / count, 2 * error / count
    low = y.dtype.type(SMALLEST)
    if target.loss is Loss.BINARY_CROSSENTROPY:
        p = np.clip(y, low, 1 - low)
        inside = p == y
        value = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
        return _sum(value) / count, inside * ((1 - wanted) / (1 - p) - wanted / p) / count
    # Over the last axis, which Keras scales to a sum of 1; the mean over what is left.
    count //= y.shape[-1]
    total = y.sum(axis=-1, keepdims=True)
    q = y / total
    p = np.clip(q, low, 1 - low)
    by_q = np.where(p == q, -wanted / p, 0) / count
    gradient = (by_q - (by_q * q).sum(axis=-1, keepdims=True)) / total
    return _sum(-wanted * np.log(p)) / count, gradient.astype(y.dtype)


def _sum(array: Array) -> Array:
    return array.reshape(len(array), -1).sum(axis=1)
