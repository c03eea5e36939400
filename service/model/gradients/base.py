"""The gradient of a layer: one function for each class of layers, dispatched by class.

The gradient of a layer in service/model/layers/FILE.py stands in service/model/gradients/FILE.py. It is registered for
the class with `@backward.register`, and holds for subclasses. Where a function has a kink, it takes the side that
TensorFlow takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from service.errors import NotSupportedError
from service.model.layers.base import Layer
from service.model.layers.cells import States
from service.model.layers.patch import Hook
from service.model.tensors import Array


@dataclass(frozen=True)
class Seen:
    """What one call of a layer took and gave, in at least single precision."""

    weights: Mapping[str, Array]  # by the name in the layer, in the type that it computes in
    inputs: Sequence[Array]
    masks: Sequence[Array | None]
    outputs: Sequence[Array]
    record: Mapping[str, Array]  # as a trace shows it
    start: States | None = None  # of a recurrent layer; None: zeros
    resumed: bool = True  # whether these come from an earlier call, not from the graph
    hook: Hook | None = None
    by_weights: bool = True  # whether gradients by weights are wanted; a layer may give them where they are not

    @property
    def x(self) -> Array:
        """The one input."""
        return self.inputs[0]

    @property
    def y(self) -> Array:
        """The first output."""
        return self.outputs[0]


@dataclass(frozen=True)
class Back:
    """Gradients by what a call took: of the shape of what they are by, None where there is none."""

    inputs: Sequence[Array | None]
    weights: Mapping[str, Array] = field(default_factory=dict)
    start: Sequence[Array] = ()  # by the initial states of a recurrent layer
    inside: Mapping[str, Array] = field(default_factory=dict)  # by what a trace shows: states, pre-activation


@singledispatch
def backward(layer: Layer, _seen: Seen, _above: Sequence[Array | None]) -> Back:
    """The gradients of one call of a layer, given those by its outputs (None: the output has no influence).

    Raises NotSupportedError, naming layer and class, where there is no gradient.
    """
    raise NotSupportedError(f"{layer.where}: it has no gradient", layer=layer.name, layer_class=layer.CLASS)


def has_gradient(kind: type[Layer]) -> bool:
    """Whether a gradient is registered for a class of layers."""
    return backward.dispatch(kind) is not backward.dispatch(Layer)


def summed_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient by an array of that shape which was broadcast to the shape of the gradient."""
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, extent in enumerate(shape) if extent == 1 and gradient.shape[i + extra] != 1
    )
    return gradient.sum(axis=axes).reshape(shape) if axes else gradient.reshape(shape)


def rows(x: Array) -> Array:
    """An array as (everything else, last axis)."""
    return x.reshape(-1, x.shape[-1])


def first(above: Sequence[Array | None], like: Array) -> Array:
    """The gradient by the first output; zeros where it has no influence."""
    return np.zeros_like(like) if above[0] is None else above[0]
