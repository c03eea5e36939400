"""Operations of keras.ops between layers of a functional graph: arithmetic on tensors, and Keras's own masks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from service.model import activations
from service.model.layers.array_operations import RULES, Operand
from service.model.layers.base import Built, Layer, Record
from service.model.layers.merge import broadcast, together
from service.model.layers.options import shown
from service.model.tensors import POLICIES, Array, Shape, Tensor, Time

Function = Callable[..., Any]


ARITHMETIC: dict[str, Function] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Divide": np.divide,
    "TrueDivide": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}
COMPARISONS: dict[str, Function] = {
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
}
UNARY: dict[str, Function] = {
    "Negative": np.negative,
    "Absolute": np.absolute,
    "Square": np.square,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Tanh": np.tanh,
    "Sigmoid": activations.sigmoid,
    "Relu": activations.relu,
}
EXACT = {"Negative", "Absolute", "Square", "Relu"}  # unary ones that make integers of integers
LIKE: dict[str, Function] = {"OnesLike": np.ones_like, "ZerosLike": np.zeros_like}
AXIS = {"ExpandDims", "Squeeze", "Any", "Concatenate", "GetItem"}
OPERATIONS = sorted({*ARITHMETIC, *COMPARISONS, *UNARY, *LIKE, *AXIS, *RULES})


class Operation(Layer):
    """One operation with its constants filled in; its tensors are its inputs, in order."""

    MANY_INPUTS = True
    PASSES_MASK = False
    AUTOCAST = False
    KEEPS_INTEGERS = True
    TYPES = "fib"

    def __init__(self, name: str, kind: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        """`arguments`: constants, `Operand`s, lists of these. `options`: what its config holds besides the name."""
        super().__init__(name, POLICIES["float32"], {"arguments": repr(arguments), **options})
        self.kind, self.CLASS = kind, shown(kind)
        self.arguments = arguments
        if kind not in OPERATIONS:
            raise self.unsupported("the operation is not supported")

    @property
    def where(self) -> str:
        """The operation as errors name it."""
        return f"operation {self.name} ({self.CLASS})"

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Shape and type by kind."""
        if not inputs:
            raise self.unsupported("it has no tensor among its arguments")
        kind = self.kind
        if kind in RULES:
            return Built((RULES[kind].build(self, inputs),))
        if kind in UNARY or kind in LIKE:
            (x,) = self._tensors(inputs, 1)
            if kind in UNARY and x.dtype.kind != "f" and not (kind in EXACT and x.dtype.kind == "i"):
                raise self.unsupported(f"{x.dtype.name} would become another type, which is not supported")
            return Built((Tensor(x.shape, self._like(x.dtype) if kind in LIKE else x.dtype, x.time),))
        if kind in ARITHMETIC or kind in COMPARISONS:
            if len(self.arguments) != 2 or not all(isinstance(a, Operand | float | int) for a in self.arguments):
                raise self.unsupported("its arguments are not supported")
            return Built((self._broadcast(inputs),))
        return Built((getattr(self, f"_build_{kind}")(inputs),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The result."""
        kind = self.kind
        if kind in RULES:
            return RULES[kind].call(self, inputs)
        if kind in LIKE:
            return LIKE[kind](inputs[0], dtype=self._like(inputs[0].dtype))
        if kind in UNARY:
            x = inputs[0]
            if x.dtype == np.float16:
                return UNARY[kind](x.astype(np.float32)).astype(np.float16)
            return UNARY[kind](x)
        if kind in ARITHMETIC or kind in COMPARISONS:
            first, second = (inputs[a.place] if isinstance(a, Operand) else a for a in self.arguments)
            return (ARITHMETIC.get(kind) or COMPARISONS[kind])(first, second)
        return getattr(self, f"_call_{kind}")(inputs)

    def one(self, inputs: Sequence[Tensor]) -> Tensor:
        """The one tensor that it takes, all its other arguments being options."""
        if len(inputs) != 1 or len(self.arguments) != 1:
            raise self.unsupported("its arguments are not supported")
        return inputs[0]

    def _tensors(self, inputs: Sequence[Tensor], count: int) -> Sequence[Tensor]:
        if len(inputs) != count:
            raise self.unsupported(f"expected {count} tensors, got {len(inputs)}")
        return inputs

    def _like(self, dtype: Any) -> Any:
        wanted = self.options.get("dtype")
        if wanted is None:
            return dtype
        if wanted not in ("bool", "float16", "float32", "float64", "int32", "int64"):
            raise self.unsupported("its dtype is not supported")
        return np.dtype(wanted)

    def _broadcast(self, inputs: Sequence[Tensor]) -> Tensor:
        rank = max(x.rank for x in inputs)
        shapes: list[Shape] = [(*[1] * (rank - x.rank), *x.shape) for x in inputs]
        if any(x.rank < rank for x in inputs) and rank > 0:
            # NumPy aligns shapes at their ends: a batch axis would meet another one.
            raise self.unsupported("tensors of different ranks are not supported")
        dtypes = {x.dtype for x in inputs}
        if len(dtypes) > 1:
            raise self.unsupported("tensors of different types are not supported")
        (dtype,) = dtypes
        if dtype.kind == "b" and self.kind in ARITHMETIC:
            raise self.unsupported("arithmetic on truth values is not supported")
        constants = [a for a in self.arguments if not isinstance(a, Operand)]
        if dtype.kind == "i" and (
            self.kind in {"Divide", "TrueDivide"} or any(isinstance(c, float) for c in constants)
        ):
            raise self.unsupported("integers would become floats, which is not supported")
        if not all(math.isfinite(c) if isinstance(c, float) else -(2**31) <= c < 2**31 for c in constants):
            raise self.unsupported("its constant is not supported")
        result = np.dtype(bool) if self.kind in COMPARISONS else dtype
        return Tensor(broadcast(self, shapes), result, together(inputs))

    def _axis(self, rank: int) -> int:
        axis = self.options.get("axis")
        if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank or axis % rank == 0:
            raise self.unsupported("its axis is not supported")
        return axis % rank

    def _build_ExpandDims(self, inputs: Sequence[Tensor]) -> Tensor:  # noqa: N802 - named by its kind
        (x,) = self._tensors(inputs, 1)
        axis = self._axis(x.rank + 1)
        time = Time.WHOLE if axis == 1 and x.time is not Time.LATEST else x.time
        return Tensor((*x.shape[:axis], 1, *x.shape[axis:]), x.dtype, time)

    def _call_ExpandDims(self, inputs: Sequence[Array]) -> Array:  # noqa: N802
        return np.expand_dims(inputs[0], self.options["axis"])

    def _build_Squeeze(self, inputs: Sequence[Tensor]) -> Tensor:  # noqa: N802
        (x,) = self._tensors(inputs, 1)
        axis = self._axis(x.rank)
        if x.shape[axis] != 1:
            raise self.unsupported("the axis to squeeze does not have extent 1")
        time = Time.WHOLE if axis == 1 and x.time is not Time.LATEST else x.time
        return Tensor((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype, time)

    def _call_Squeeze(self, inputs: Sequence[Array]) -> Array:  # noqa: N802
        return np.squeeze(inputs[0], self.options["axis"])

    def _build_Any(self, inputs: Sequence[Tensor]) -> Tensor:  # noqa: N802
        (x,) = self._tensors(inputs, 1)
        axis = self._axis(x.rank)
        if self.options.get("keepdims"):
            raise self.unsupported("keepdims=True is not supported")
        time = Time.WHOLE if axis == 1 and x.time is not Time.LATEST else x.time
        return Tensor((*x.shape[:axis], *x.shape[axis + 1 :]), np.dtype(bool), time)

    def _call_Any(self, inputs: Sequence[Array]) -> Array:  # noqa: N802
        return np.asarray(inputs[0].any(axis=self.options["axis"]))

    def _build_Concatenate(self, inputs: Sequence[Tensor]) -> Tensor:  # noqa: N802
        rank = inputs[0].rank
        axis = self._axis(rank)
        if any(x.rank != rank or x.dtype != inputs[0].dtype for x in inputs):
            raise self.unsupported("tensors of different ranks or types are not supported")
        extents = [x.shape[axis] for x in inputs]
        known = [extent for extent in extents if extent is not None]
        rest = broadcast(self, [(*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in inputs], ones=False)
        time = together(inputs)
        return Tensor(
            (*rest[:axis], sum(known) if len(known) == len(extents) else None, *rest[axis + 1 :]),
            inputs[0].dtype,
            Time.WHOLE if axis == 1 and time is Time.SEQUENCE else time,
        )

    def _call_Concatenate(self, inputs: Sequence[Array]) -> Array:  # noqa: N802
        return np.concatenate(inputs, axis=self.options["axis"])

    def _build_GetItem(self, inputs: Sequence[Tensor]) -> Tensor:  # noqa: N802
        (x,) = self._tensors(inputs, 1)
        key = self.key(x.rank)
        if key[0] != slice(None):
            raise self.unsupported("it takes apart the batch")
        shape: list[int | None] = [x.shape[0]]
        for part, extent in zip(key[1:], x.shape[1:], strict=True):
            if isinstance(part, slice):
                if part == slice(None):
                    shape.append(extent)
                elif extent is None:
                    raise self.unsupported("it slices an axis of unknown extent")
                else:
                    shape.append(len(range(*part.indices(extent))))
            elif extent is not None and not -extent <= part < extent:
                raise self.unsupported(f"index {part} is outside its axis")
        time = x.time
        if x.time is Time.SEQUENCE and x.rank > 1 and key[1] != slice(None):
            time = Time.LATEST if key[1] == -1 else Time.WHOLE  # x[:, -1] is the value after the last timestep
        if 0 in shape:
            raise self.unsupported("nothing is left of its input")
        return Tensor(tuple(shape), x.dtype, time)

    def _call_GetItem(self, inputs: Sequence[Array]) -> Array:  # noqa: N802
        try:
            return np.asarray(inputs[0][self.key(inputs[0].ndim)])
        except IndexError as error:
            raise ValueError(str(error)) from error

    def key(self, rank: int) -> tuple[Any, ...]:
        """What a GetItem takes of each axis: a slice, or an index."""
        given = self.arguments[1] if len(self.arguments) == 2 else None
        parts = given if isinstance(given, list) else [given]
        key: list[Any] = []
        for part in parts:
            name, config = (part.get("class_name"), part.get("config")) if isinstance(part, dict) else (None, None)
            if name == "__ellipsis__":
                key += [slice(None)] * (rank - len(parts) + 1)
            elif name == "__slice__" and isinstance(config, dict):
                bounds = [config.get(end) for end in ("start", "stop", "step")]
                if (
                    any(b is not None and (isinstance(b, bool) or not isinstance(b, int)) for b in bounds)
                    or bounds[2] == 0
                ):
                    raise self.unsupported("its slice is not supported")
                key.append(slice(*bounds))
            elif isinstance(part, int) and not isinstance(part, bool):
                key.append(part)
            else:
                raise self.unsupported("its index is not supported")
        if len(key) > rank:
            raise self.unsupported("it has more indices than its tensor has axes")
        return (*key, *[slice(None)] * (rank - len(key)))
