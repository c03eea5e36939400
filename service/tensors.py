"""Checks of arrays that arrive in messages, for both protocols: shapes, bytes and numbers."""

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError
from service.model.tensors import Array, DType

SMALL = 64  # elements up to which Python's own sum is quicker than NumPy's
MOST_AXES = 32
LITTLE = sys.byteorder == "little"


def checked_shape(extents: Sequence[int], field: str, limits: Limits) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises InvalidArgumentError for a negative extent or too many axes, LimitExceededError for too many elements.
    """
    if len(extents) > MOST_AXES:  # whose product alone could take seconds
        raise InvalidArgumentError(
            f"{field}: a shape of {len(extents)} axes, the limit is {MOST_AXES}", field=f"{field}.shape"
        )
    shape = tuple(extents)
    if shape and min(shape) < 0:
        raise InvalidArgumentError(f"{field}: shape {list(shape)} has a negative extent", field=f"{field}.shape")
    count = math.prod(shape)  # Python integers do not overflow
    if count > limits.elements:
        raise LimitExceededError(
            f"{field}: shape {list(shape)} asks for {count} elements, the limit is {limits.elements}",
            field=f"{field}.shape",
            limit=limits.elements,
            actual=count,
        )
    return shape


def from_raw(raw: bytes, shape: tuple[int, ...], dtype: DType, field: str) -> Array:
    """Little-endian bytes, viewed as an array. Raises InvalidArgumentError as `decode` does."""
    needed = math.prod(shape) * dtype.itemsize
    if len(raw) != needed:
        raise InvalidArgumentError(
            f"{field}: shape {list(shape)} of {dtype.name} needs {needed} bytes of raw, got {len(raw)}",
            field=f"{field}.raw",
            expected=needed,
            actual=len(raw),
        )
    array = np.frombuffer(raw, dtype).reshape(shape)
    if dtype.kind == "b" and needed and array.view(np.uint8).max() > 1:
        raise InvalidArgumentError(f"{field}: expected bytes of 0 or 1 for bool", field=f"{field}.raw")
    return finite(array, field)


def from_values(
    values: Sequence[float], shape: tuple[int, ...], dtype: DType, field: str, wide_type: type = np.float64
) -> Array:
    """Numbers, which `wide_type` holds, as an array of `dtype`. Raises InvalidArgumentError as `decode` does."""
    count = math.prod(shape)
    if len(values) != count:
        raise InvalidArgumentError(
            f"{field}: shape {list(shape)} needs {count} values, got {len(values)}",
            field=f"{field}.values",
            expected=count,
            actual=len(values),
        )
    wide = finite(np.array(values, wide_type).reshape(shape), field)
    with np.errstate(all="ignore"):  # what does not fit is found below, by name
        array = wide.astype(dtype)
    if dtype.kind in "ib":
        if not np.array_equal(array, wide):
            raise InvalidArgumentError(f"{field}: expected values of {dtype.name}", field=f"{field}.values")
        return array
    return finite(array, field)


def from_texts(texts: Sequence[str], shape: tuple[int, ...], field: str, limits: Limits) -> Array:
    """Texts as an array of Python's strings.

    Raises InvalidArgumentError for another number of them than the shape says, LimitExceededError for too much text.
    """
    count = math.prod(shape)
    if len(texts) != count:
        raise InvalidArgumentError(
            f"{field}: shape {list(shape)} needs {count} strings, got {len(texts)}",
            field=f"{field}.strings", expected=count, actual=len(texts),
        )  # fmt: skip
    size = sum(map(len, texts))
    if size > limits.characters:
        raise LimitExceededError(
            f"{field}: {size} characters of text, the limit is {limits.characters}",
            field=field, limit=limits.characters, actual=size,
        )  # fmt: skip
    array = np.empty(count, object)
    array[:] = texts
    return array.reshape(shape)


def finite(array: Array, field: str) -> Array:
    """The array itself, if it holds neither NaN nor infinity. Raises InvalidArgumentError naming the first index."""
    if array.dtype.kind != "f":
        return array
    # A sum of finite numbers may overflow; then the slower look decides.
    if array.size <= SMALL and math.isfinite(sum(array.ravel().tolist())):
        return array
    fits = np.isfinite(array)
    if fits.all():
        return array
    bad = np.argwhere(~fits)
    index = tuple(int(i) for i in bad[0])
    raise InvalidArgumentError(f"{field}: element {list(index)} is {array[index]}, not a finite number", field=field)


def check_extents(inputs: Mapping[str, Array], limits: Limits) -> None:
    """Holds the inputs of a call against the bounds of the server. Raises LimitExceededError."""
    for array in inputs.values():
        if array.size <= min(limits.batch, limits.timesteps):
            continue  # then no extent is larger either
        for extent, limit, what in zip(
            array.shape, (limits.batch, limits.timesteps), ("sequences", "timesteps"), strict=False
        ):
            if extent > limit:
                raise LimitExceededError(
                    f"inputs: {extent} {what} in one call, the limit is {limit}",
                    field="inputs",
                    limit=limit,
                    actual=extent,
                )
