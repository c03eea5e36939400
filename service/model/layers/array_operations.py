"""Operations of keras.ops on whole arrays: reductions, shapes, indices, products and types."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.model import activations
from service.model.layers.merge import Refusing, broadcast, together
from service.model.layers.options import MAX_EXTENT
from service.model.tensors import Array, DType, Tensor, Time

TYPES = {name: np.dtype(name) for name in ("bool", "float16", "float32", "float64", "int32", "int64")}
LETTERS = 26


@dataclass(frozen=True)
class Operand:
    """Where a tensor stands among the arguments of an operation."""

    place: int


class Operation(Refusing, Protocol):
    """What is asked of the operation that a rule is for."""

    kind: str
    arguments: Sequence[Any]
    options: Mapping[str, Any]

    def one(self, inputs: Sequence[Tensor]) -> Tensor:
        """The one tensor that it takes."""


@dataclass(frozen=True)
class Rule:
    """What an operation makes of tensors, and computes."""

    build: Callable[[Operation, Sequence[Tensor]], Tensor]
    call: Callable[[Operation, Sequence[Array]], Array]


# Types.


def _cast_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    return Tensor(x.shape, target(operation, x.dtype), x.time)


def _cast(operation: Operation, inputs: Sequence[Array]) -> Array:
    dtype = target(operation, inputs[0].dtype)
    x = inputs[0]
    if dtype.kind == "i" and x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("it casts numbers that are not finite to integers")
    return x.astype(dtype)


def target(operation: Operation, dtype: DType) -> DType:
    """The type that an operation casts to; that of its input where it says nothing."""
    wanted = operation.options.get("dtype")
    if wanted is None:
        return dtype
    if not isinstance(wanted, str) or wanted not in TYPES:
        raise operation.unsupported("its dtype is not supported")
    return TYPES[wanted]


# Reductions.


def reduced_axes(operation: Operation, rank: int) -> tuple[int, ...]:
    """The axes of an operation, counted from the front; not the batch."""
    axis = operation.options.get("axis")
    values: list[Any] = axis if isinstance(axis, list) else [axis]
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or not -rank <= v < rank for v in values):
        raise operation.unsupported("its axis is not supported")
    found = tuple(sorted({v % rank for v in values}))
    if 0 in found or len(found) < len(values):
        raise operation.unsupported("its axis is not supported: it is the batch, or named twice")
    return found


def _kept(operation: Operation) -> bool:
    keep = operation.options.get("keepdims", False)
    if not isinstance(keep, bool):
        raise operation.unsupported("its keepdims is not supported")
    return keep


def _reduce_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    over, keep = reduced_axes(operation, x.rank), _kept(operation)
    shape = tuple(1 if i in over else e for i, e in enumerate(x.shape) if keep or i not in over)
    dtype = x.dtype
    if operation.kind == "Mean" and dtype.kind != "f":
        raise operation.unsupported(f"{dtype.name} would become another type, which is not supported")
    if dtype.kind == "b":
        dtype = np.dtype(np.int32)
    return Tensor(shape, dtype, whole_if(x, 1 in over))


def _sum(operation: Operation, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    return _accumulated(np.sum, operation, x, np.dtype(np.int32) if x.dtype.kind == "b" else x.dtype)


def _mean(operation: Operation, inputs: Sequence[Array]) -> Array:
    return _accumulated(np.mean, operation, inputs[0], inputs[0].dtype)


def _accumulated(function: Callable[..., Any], operation: Operation, x: Array, dtype: DType) -> Array:
    """Added up in double precision, since NumPy adds along some axes one after the other, and there may be many."""
    kind = np.float64 if x.dtype.kind == "f" else dtype
    over = reduced_axes(operation, x.ndim)
    return np.asarray(function(x, axis=over, keepdims=_kept(operation), dtype=kind)).astype(dtype)


def one_axis(operation: Operation, rank: int) -> int:
    """The axis of an operation, counted from the front; not the batch."""
    axis = operation.options.get("axis")
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank or axis % rank == 0:
        raise operation.unsupported("its axis is not supported")
    return axis % rank


def _softmax_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    if x.dtype.kind != "f":
        raise operation.unsupported(f"an input of type {x.dtype.name} is not supported")
    return Tensor(x.shape, x.dtype, whole_if(x, 1 in reduced_axes(operation, x.rank)))


def _softmax(operation: Operation, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    return activations.softmax(wide, reduced_axes(operation, x.ndim)).astype(x.dtype, copy=False)


def _cumsum_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    dtype = target(operation, x.dtype)
    if x.dtype.kind == "b" or dtype.kind == "b" or (dtype.kind == "i" and x.dtype.kind == "f"):
        raise operation.unsupported("its type is not supported")
    return Tensor(x.shape, dtype, whole_if(x, one_axis(operation, x.rank) == 1))


def _cumsum(operation: Operation, inputs: Sequence[Array]) -> Array:
    dtype = target(operation, inputs[0].dtype)
    kind = np.float64 if dtype.kind == "f" else dtype
    x = inputs[0].astype(dtype)
    return np.cumsum(x, axis=one_axis(operation, x.ndim), dtype=kind).astype(dtype)


def whole_if(x: Tensor, over_time: bool) -> Time:
    """How a result relates to time that takes axis 1 apart, or does not."""
    return Time.WHOLE if over_time and x.time is not Time.LATEST else x.time


# Shapes.


def _reshape_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    given = new_shape(operation)
    if given[0] != -1:
        raise operation.unsupported("its newshape does not begin with -1, for the batch")
    if None in x.shape[1:]:
        raise operation.unsupported("it reshapes axes of unknown extent")
    rest: list[int] = list(given[1:])
    if -1 in rest or math.prod(rest) != math.prod(e or 1 for e in x.shape[1:]):
        raise operation.unsupported(f"newshape={list(given)} does not fit")
    return Tensor((None, *rest), x.dtype, whole_if(x, over_time=True))


def new_shape(operation: Operation) -> tuple[int, ...]:
    """The shape that a Reshape makes, -1 for the batch."""
    given = operation.options.get("newshape")
    values = list(given) if isinstance(given, list) else []
    if not values or any(isinstance(v, bool) or not isinstance(v, int | None) or v == 0 for v in values):
        raise operation.unsupported("its newshape is not supported")
    found = tuple(-1 if v is None else v for v in values)
    if len(found) > LETTERS or max(found) > MAX_EXTENT or min(found) < -1:
        raise operation.unsupported("its newshape is not supported")
    return found


def _reshape(operation: Operation, inputs: Sequence[Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), *new_shape(operation)[1:])


def _transpose_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    axes = permutation(operation, x.rank)
    return Tensor(tuple(x.shape[i] for i in axes), x.dtype, whole_if(x, len(axes) > 1 and axes[1] != 1))


def permutation(operation: Operation, rank: int) -> tuple[int, ...]:
    """The axes of a Transpose, which leaves the batch where it is."""
    axes = operation.options.get("axes")
    if not isinstance(axes, list) or any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
        raise operation.unsupported("its axes are not supported")
    found = tuple(a % rank if -rank <= a < rank else -1 for a in axes)
    if sorted(found) != list(range(rank)) or found[0] != 0:
        raise operation.unsupported("its axes are no permutation that leaves the batch where it is")
    return found


def _transpose(operation: Operation, inputs: Sequence[Array]) -> Array:
    return inputs[0].transpose(permutation(operation, inputs[0].ndim))


def _stack_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    if any(other.rank != x.rank or other.dtype != x.dtype for other in inputs):
        raise operation.unsupported("tensors of different ranks or types are not supported")
    axis = one_axis(operation, x.rank + 1)
    shape = broadcast(operation, [other.shape for other in inputs], ones=False)
    time = together(inputs)
    return Tensor(
        (*shape[:axis], len(inputs), *shape[axis:]),
        x.dtype,
        Time.WHOLE if axis == 1 and time is not Time.LATEST else time,
    )


def _stack(operation: Operation, inputs: Sequence[Array]) -> Array:
    return np.stack(inputs, axis=one_axis(operation, inputs[0].ndim + 1))


# Indices.


def indices(operation: Operation, inputs: Sequence[Any]) -> Any:
    """The indices of a Take: a tensor, or an array of integers that the config holds."""
    given = operation.arguments[1] if len(operation.arguments) == 2 else None
    if not operation.arguments or operation.arguments[0] != Operand(0):
        raise operation.unsupported("its arguments are not supported")
    if isinstance(given, Operand):
        return inputs[given.place]
    if isinstance(given, Mapping) and isinstance(given.get("config"), Mapping):  # how Keras stores an array
        given = given["config"].get("value")
    try:
        found = np.array(given, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise operation.unsupported("its indices are not supported") from error
    if found.ndim > 4 or not found.size or found.size > MAX_EXTENT or not _integers(given):
        raise operation.unsupported("its indices are not supported")
    return found


def _integers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_integers, value))
    return isinstance(value, int) and not isinstance(value, bool)


def _take_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    chosen, axis = indices(operation, inputs), one_axis(operation, x.rank)
    if isinstance(chosen, Tensor):
        raise operation.unsupported("indices that are computed are not supported; take_along_axis takes them")
    extent = x.shape[axis]
    if extent is not None and (chosen.min() < -extent or chosen.max() >= extent):
        raise operation.unsupported("an index is outside its axis")
    shape = (*x.shape[:axis], *chosen.shape, *x.shape[axis + 1 :])
    return Tensor(shape, x.dtype, whole_if(x, axis == 1))


def _take(operation: Operation, inputs: Sequence[Array]) -> Array:
    chosen, axis = indices(operation, inputs), one_axis(operation, inputs[0].ndim)
    try:
        return np.take(inputs[0], chosen, axis)
    except IndexError as error:
        raise ValueError(str(error)) from error


def _along_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) != 2:
        raise operation.unsupported("its arguments are not supported")
    x, indices = inputs
    axis = one_axis(operation, x.rank)
    if indices.rank != x.rank or indices.dtype.kind != "i":
        raise operation.unsupported("its indices are not integers of as many axes as the tensor")
    rest = [(*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in inputs]
    shape = broadcast(operation, rest)
    return Tensor(
        (*shape[:axis], indices.shape[axis], *shape[axis + 1 :]),
        x.dtype,
        Time.LATEST if x.time is indices.time is Time.LATEST else Time.WHOLE,
    )


def _along(operation: Operation, inputs: Sequence[Array]) -> Array:
    """Raises ValueError for an index outside the axis, which Keras fills with what it finds."""
    x, indices = inputs
    axis = one_axis(operation, x.ndim)
    extent = x.shape[axis]
    if indices.min() < -extent or indices.max() >= extent:
        raise ValueError(f"an index is outside its axis, whose extent is {extent}")
    return np.take_along_axis(x, indices, axis)


def _where_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    if len(operation.arguments) != 3 or not all(isinstance(a, Operand | int | float) for a in operation.arguments):
        raise operation.unsupported("its arguments are not supported")
    condition, *values = operation.arguments
    if not isinstance(condition, Operand) or inputs[condition.place].dtype.kind != "b":
        raise operation.unsupported("its condition is not of truth values")
    if len({x.rank for x in inputs}) > 1:
        raise operation.unsupported("tensors of different ranks are not supported")
    tensors = [inputs[v.place] for v in values if isinstance(v, Operand)]
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) != 1:
        raise operation.unsupported("it has no tensor to choose from, or tensors of different types")
    (dtype,) = dtypes
    for constant in (v for v in values if not isinstance(v, Operand)):
        if dtype.kind != "f" and (isinstance(constant, float) or dtype.kind == "b"):
            raise operation.unsupported("its constant is of another type than its tensor")
        if not (math.isfinite(constant) if isinstance(constant, float) else -(2**31) <= constant < 2**31):
            raise operation.unsupported("its constant is not supported")
    return Tensor(broadcast(operation, [x.shape for x in inputs]), dtype, together(inputs))


def _where(operation: Operation, inputs: Sequence[Array]) -> Array:
    tensors = [inputs[a.place] for a in operation.arguments[1:] if isinstance(a, Operand)]
    kind = tensors[0].dtype.type
    condition, first, second = (inputs[a.place] if isinstance(a, Operand) else kind(a) for a in operation.arguments)
    return np.where(condition, first, second)


def _clip_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x = operation.one(inputs)
    if x.dtype.kind == "b":
        raise operation.unsupported("an input of truth values is not supported")
    clip_bounds(operation, x.dtype)
    return Tensor(x.shape, x.dtype, x.time)


def clip_bounds(operation: Operation, dtype: DType) -> tuple[Any, Any]:
    """The least and the largest number, in the type of the tensor."""
    found = [operation.options.get(name) for name in ("x_min", "x_max")]
    for bound in found:
        fits = isinstance(bound, int | float if dtype.kind == "f" else int) and not isinstance(bound, bool)
        if not fits or not (math.isfinite(bound) and abs(bound) < 2**31):  # type: ignore[arg-type]
            raise operation.unsupported("its bounds are not supported")
    return dtype.type(found[0]), dtype.type(found[1])


def _clip(operation: Operation, inputs: Sequence[Array]) -> Array:
    low, high = clip_bounds(operation, inputs[0].dtype)
    return np.maximum(np.minimum(inputs[0], high), low)  # TensorFlow's order, where the bounds are the wrong way round


# Products.


def _matmul_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x, y = _two(operation, inputs)
    if x.rank < 3 or x.rank != y.rank or differ(x.shape[-1], y.shape[-2]):
        raise operation.unsupported("expected two tensors of one rank, 3 at least, whose matrices fit")
    outer = broadcast(operation, [x.shape[:-2], y.shape[:-2]])
    time = Time.LATEST if x.time is y.time is Time.LATEST else Time.WHOLE
    return Tensor((*outer, x.shape[-2], y.shape[-1]), x.dtype, time)


def _matmul(_operation: Operation, inputs: Sequence[Array]) -> Array:
    return widened(np.matmul, *inputs)


def _two(operation: Operation, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    if len(inputs) != 2 or len(operation.arguments) != 2:
        raise operation.unsupported("its arguments are not supported")
    x, y = inputs
    if x.dtype != y.dtype or x.dtype.kind != "f":
        raise operation.unsupported("expected two tensors of floats of one type")
    return x, y


def differ(one: int | None, two: int | None) -> bool:
    """Whether two extents are known not to be the same."""
    return one is not None and two is not None and one != two


def widened(function: Callable[..., Any], *arrays: Array) -> Array:
    """A function of arrays; half precision is computed in single and rounded once."""
    dtype = arrays[0].dtype
    if dtype == np.float16:
        return np.asarray(function(*(x.astype(np.float32) for x in arrays))).astype(dtype)
    return np.asarray(function(*arrays))


def _einsum_build(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    x, y = _two(operation, inputs)
    *sources, made = subscripts(operation)
    extents: dict[str, int | None] = {}
    for letters, tensor in zip(sources, (x, y), strict=True):
        if len(letters) != tensor.rank:
            raise operation.unsupported("its subscripts do not fit the tensors")
        for letter, extent in zip(letters, tensor.shape, strict=True):
            if differ(extents.get(letter), extent):
                raise operation.unsupported("its subscripts do not fit the tensors")
            extents[letter] = extents.get(letter) or extent
    batch = made[0]
    if any(letters[0] != batch or batch in letters[1:] for letters in sources):
        raise operation.unsupported("its subscripts mix the batch with other axes")
    time = Time.LATEST if x.time is y.time is Time.LATEST else Time.WHOLE
    return Tensor(tuple(extents[letter] for letter in made), x.dtype, time)


def subscripts(operation: Operation) -> tuple[str, str, str]:
    """Of two tensors and of the result; each letter once in each."""
    given = operation.options.get("subscripts")
    text = given.replace(" ", "") if isinstance(given, str) and len(given) < 3 * LETTERS else ""
    sources, arrow, made = text.partition("->")
    parts = (*sources.split(","), made)
    proper = all(part.isascii() and part.isalpha() and len(set(part)) == len(part) for part in parts)
    if not arrow or len(parts) != 3 or not proper or not set(made) <= set(sources):
        raise operation.unsupported("its subscripts are not supported; expected such as bij,bjk->bik")
    return parts[0], parts[1], parts[2]


def _einsum(operation: Operation, inputs: Sequence[Array]) -> Array:
    first, second, made = subscripts(operation)
    return widened(lambda x, y: np.einsum(f"{first},{second}->{made}", x, y), *inputs)


RULES: dict[str, Rule] = {
    "Cast": Rule(_cast_build, _cast),
    "ConvertToTensor": Rule(_cast_build, _cast),
    "Sum": Rule(_reduce_build, _sum),
    "Mean": Rule(_reduce_build, _mean),
    "Softmax": Rule(_softmax_build, _softmax),
    "Cumsum": Rule(_cumsum_build, _cumsum),
    "Reshape": Rule(_reshape_build, _reshape),
    "Transpose": Rule(_transpose_build, _transpose),
    "Stack": Rule(_stack_build, _stack),
    "Take": Rule(_take_build, _take),
    "TakeAlongAxis": Rule(_along_build, _along),
    "Where": Rule(_where_build, _where),
    "Clip": Rule(_clip_build, _clip),
    "Matmul": Rule(_matmul_build, _matmul),
    "Einsum": Rule(_einsum_build, _einsum),
}
