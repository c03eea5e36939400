"""Layers with several inputs: sums, products, extremes, concatenation and dot products, and their masks."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Protocol

import numpy as np

from service.errors import UnsupportedModelError
from service.model.layers.base import Built, Layer, Record
from service.model.layers.options import Option, flag, integer
from service.model.tensors import Array, DType, Shape, Tensor, Time


class Merge(Layer):
    """An elementwise function of several inputs; of lower ranks, axes of 1 are put in after the batch."""

    MANY_INPUTS = True
    KEEPS_INTEGERS = True
    NUMBER: ClassVar[int | None] = None  # of inputs; None: any

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The shapes broadcast."""
        if not inputs or (self.NUMBER is not None and len(inputs) != self.NUMBER):
            raise self.unsupported(f"expected {self.NUMBER or 'some'} inputs, got {len(inputs)}")
        rank = max(x.rank for x in inputs)
        shapes = [(x.shape[0], *[1] * (rank - x.rank), *x.shape[1:]) for x in inputs]
        shape = broadcast(self, shapes)
        return Built((Tensor(shape, common(self, inputs), together(inputs)),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        rank, dtype = max(x.ndim for x in inputs), common(self, inputs)
        same = [x if x.ndim == rank else x.reshape(len(x), *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        same = [x if x.dtype == dtype else x.astype(dtype) for x in same]
        return self.merge(same, masks)

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output of inputs of one rank."""
        raise NotImplementedError

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """Valid where any input is; none where one of the inputs has no mask."""
        known = [mask for mask in masks if mask is not None]
        return reduce(np.logical_or, known) if len(known) == len(masks) else None


class Add(Merge):
    """Sum."""

    CLASS = "Add"

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output."""
        return reduce(np.add, inputs)


class Subtract(Merge):
    """Difference of two."""

    CLASS = "Subtract"
    NUMBER = 2

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output."""
        return np.asarray(inputs[0] - inputs[1])


class Average(Merge):
    """Mean."""

    CLASS = "Average"
    TYPES = "f"
    KEEPS_INTEGERS = False

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output."""
        return np.asarray(reduce(np.add, inputs) / inputs[0].dtype.type(len(inputs)))


class Multiply(Merge):
    """Product; masked elements count as 1, and as 0 where all are masked."""

    CLASS = "Multiply"

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output."""
        wide = [
            None if m is None else np.broadcast_to(m[..., None], x.shape) for m, x in zip(masks, inputs, strict=True)
        ]
        y = reduce(
            np.multiply,
            [x if m is None else np.where(m, x, x.dtype.type(1)) for x, m in zip(inputs, wide, strict=True)],
        )
        known = [m for m in wide if m is not None]
        return np.where(reduce(np.logical_or, known), y, y.dtype.type(0)) if len(known) == len(wide) else y


class Extreme(Merge):
    """The largest or smallest; a masked element gives way to the others."""

    FUNCTION: ClassVar[Callable[..., Any]]

    def merge(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
        """The output, pair by pair as Keras's Merge._apply_merge_op_and_or_mask."""
        y, y_mask = inputs[0], _wide(masks[0], inputs[0])
        for x, mask in zip(inputs[1:], masks[1:], strict=True):
            x_mask = _wide(mask, x)
            other = x if x_mask is None else np.where(x_mask, x, y)
            if y_mask is not None:
                y = np.where(y_mask, y, other)
            y_mask = None if x_mask is None or y_mask is None else y_mask | x_mask
            y = type(self).FUNCTION(y, other)
        return y


class Maximum(Extreme):
    """The largest."""

    CLASS = "Maximum"
    FUNCTION = np.maximum


class Minimum(Extreme):
    """The smallest."""

    CLASS = "Minimum"
    FUNCTION = np.minimum


class Concatenate(Layer):
    """Inputs one after the other along an axis."""

    CLASS = "Concatenate"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"axis": integer(-32, 32, -1)}
    MANY_INPUTS = True
    KEEPS_INTEGERS = True

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Extents along the axis add up."""
        rank = inputs[0].rank if inputs else 0
        axis = self.options["axis"] % rank if rank and -rank <= self.options["axis"] < rank else 0
        if axis == 0 or any(x.rank != rank for x in inputs):
            raise self.unsupported("axis does not fit the inputs")
        extents = [x.shape[axis] for x in inputs]
        known = [extent for extent in extents if extent is not None]
        rest = broadcast(self, [(*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in inputs], ones=False)
        shape = (*rest[:axis], sum(known) if len(known) == len(extents) else None, *rest[axis + 1 :])
        time = together(inputs)
        time = Time.WHOLE if time is Time.SEQUENCE and axis == 1 else time
        return Built((Tensor(shape, common(self, inputs), time),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        return np.concatenate(inputs, axis=self.options["axis"], dtype=common(self, inputs))

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """Valid where any concatenated element is; an input without a mask is valid throughout."""
        if all(mask is None for mask in masks):
            return None
        wide = [
            np.ones(x.shape, bool) if m is None else (np.broadcast_to(m[..., None], x.shape) if m.ndim < x.ndim else m)
            for x, m in zip(inputs, masks, strict=True)
        ]
        return np.concatenate(wide, axis=self.options["axis"]).any(axis=-1)


class Dot(Layer):
    """Sums of products of two inputs over an axis of each, one for each element of the batch."""

    CLASS = "Dot"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "axes": Option(lambda v: _dot_axes(v), "an axis or two"),
        "normalize": flag(False),
    }
    MANY_INPUTS = True
    PASSES_MASK = False

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Shapes without the two axes, one after the other."""
        if len(inputs) != 2:
            raise self.unsupported(f"expected 2 inputs, got {len(inputs)}")
        a, b = self.axes_of([x.rank for x in inputs])
        x, y = inputs
        if not 0 < a < x.rank or not 0 < b < y.rank or x.shape[a] != y.shape[b] or max(x.rank, y.rank) > 3:
            raise self.unsupported(
                f"axes={self.options['axes']} does not fit the inputs, or they have more than 3 axes"
            )
        shape = (None, *x.shape[1:a], *x.shape[a + 1 :], *y.shape[1:b], *y.shape[b + 1 :])
        time = Time.LATEST if x.time is y.time is Time.LATEST else Time.WHOLE
        return Built((self.output(shape if len(shape) > 1 else (None, 1), time),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        a, b = self.axes_of([x.ndim for x in inputs])
        x, y = inputs
        if x.dtype == np.float16:
            return self.call(weights, [v.astype(np.float32) for v in inputs], masks, record).astype(np.float16)
        if self.options["normalize"]:
            x, y = (v / np.sqrt(np.maximum((v * v).sum(axis=i, keepdims=True), 1e-12)) for v, i in ((x, a), (y, b)))
        first, second, out = self.subscripts(x.ndim, y.ndim, a, b)
        z = np.einsum(f"{first},{second}->{out}", x, y)
        return z if z.ndim > 1 else z[:, None]

    @staticmethod
    def subscripts(first: int, second: int, a: int, b: int) -> tuple[str, str, str]:
        """Of two inputs of such ranks, summed over axes a and b, and of the output, as np.einsum has them."""
        left, right = "ij"[: first - 2], "kl"[: second - 2]
        return f"b{left[: a - 1]}s{left[a - 1 :]}", f"b{right[: b - 1]}s{right[b - 1 :]}", f"b{left}{right}"

    def axes_of(self, ranks: Sequence[int]) -> tuple[int, int]:
        """The axis of each input, counted from the front."""
        axes = self.options["axes"]
        a, b = axes if isinstance(axes, tuple) else (axes, axes)
        return a % ranks[0], b % ranks[1]


def common(layer: Layer, inputs: Sequence[Tensor] | Sequence[Array]) -> DType:
    """The type that several values are made of: integers among floats become what the layer computes in."""
    kinds = {x.dtype for x in inputs}
    return layer.policy.compute if any(kind.kind == "f" for kind in kinds) else np.result_type(*kinds)


def together(inputs: Sequence[Tensor]) -> Time:
    """How a function of several values relates to time: only values of one kind can be fed in pieces together."""
    times = {x.time for x in inputs}
    return times.pop() if len(times) == 1 else Time.WHOLE


class Refusing(Protocol):
    """What broadcasts: a layer, or an operation."""

    def unsupported(self, message: str) -> UnsupportedModelError:
        """An error about it."""


def broadcast(layer: Refusing, shapes: Sequence[Shape], *, ones: bool = True) -> Shape:
    """The shape that some shapes of one rank broadcast to; with `ones` off, extents must be the same."""
    result: list[int | None] = []
    for extents in zip(*shapes, strict=True):
        known = {extent for extent in extents if extent is not None}
        if ones and len(known) > 1:
            known.discard(1)
        if len(known) > 1:
            raise layer.unsupported(f"shapes {', '.join(map(str, shapes))} do not go together")
        unknown = None in extents
        result.append(None if unknown and (not known or known == {1}) else known.pop())
    return tuple(result)


def _wide(mask: Array | None, x: Array) -> Array | None:
    return None if mask is None else np.broadcast_to(mask[..., None], x.shape)


def _dot_axes(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if len(values) not in {1, 2} or any(isinstance(v, bool) or not isinstance(v, int) or abs(v) > 8 for v in values):
        raise ValueError
    return tuple(values) if isinstance(value, list) and len(values) == 2 else values[0]
