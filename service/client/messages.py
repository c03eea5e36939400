"""Conversion between NumPy arrays and the messages of the API, for clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from service.datatypes import DATA_TYPES, DTYPES
from service.errors import InvalidArgumentError
from service.pb import unroll_pb2 as pb

Array = npt.NDArray[Any]
Arrays = Mapping[str, npt.ArrayLike]
Inputs = npt.ArrayLike | Arrays
Range = tuple[int, int]  # (start, stop); (0, 0) is the whole axis


@dataclass(frozen=True)
class LayerTrace:
    """What happened in a layer: arrays by what they are, with time as axis 1 where there is time."""

    class_name: str
    tensors: Mapping[str, Array]


@dataclass(frozen=True)
class ClassScore:
    """A class, and what a network answered for it."""

    label: str  # empty where the version has no labels
    index: int
    score: float


@dataclass(frozen=True)
class WeightChange:
    """A change of one weight: `value` is set, added, or multiplied; `ranges` is (start, stop) for each axis."""

    weight: str
    value: npt.ArrayLike
    operation: str = "set"  # set, add, scale
    ranges: Sequence[tuple[int, int]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Patch:
    """A change of a state, a gate or an output while a network computes.

    `value` is a number, or broadcasts to [sequences, timesteps, units] as the ranges, (start, stop), select them.
    """

    layer: str
    tensor: str  # as a trace names it: hidden_state, forget_gate, output
    value: npt.ArrayLike = 0.0
    operation: str = "set"  # set, add, scale, keep
    sequences: Range = (0, 0)
    timesteps: Range = (0, 0)
    units: Range = (0, 0)


def to_tensor(array: npt.ArrayLike, name: str = "") -> pb.Tensor:
    """An array as a message.

    float32 and float16 go as they are; all other numbers as `values`, which the server converts to what the network
    computes in. Raises InvalidArgumentError for what is no array of numbers.
    """
    try:
        array = np.asarray(array)
    except ValueError:
        what = f"{name}: " if name else ""
        raise InvalidArgumentError(
            f"{what}lists of different lengths do not form an array: send equal lengths, or one call for each",
            field=name,
        ) from None
    if array.dtype.kind == "U" or (array.dtype == object and all(isinstance(x, str) for x in array.flat)):
        return pb.Tensor(name=name, data_type=pb.DATA_TYPE_STRING, shape=array.shape, strings=array.ravel().tolist())
    if array.dtype.kind not in "fiub":
        raise InvalidArgumentError(f"an array of {array.dtype} cannot be sent; send numbers or strings")
    if array.dtype in (np.float32, np.float16):
        return pb.Tensor(name=name, data_type=DATA_TYPES[array.dtype], shape=array.shape, raw=array.tobytes())
    return pb.Tensor(name=name, shape=array.shape, values=array.ravel().tolist())


def to_array(tensor: pb.Tensor) -> Array:
    """A message as an array."""
    dtype = DTYPES[tensor.data_type]
    if tensor.data_type == pb.DATA_TYPE_STRING:
        return np.array(tensor.strings, object).reshape(tensor.shape)
    if tensor.raw:
        return np.frombuffer(tensor.raw, dtype).reshape(tensor.shape)
    return np.array(tensor.values, dtype).reshape(tensor.shape)


def tensors(given: Inputs) -> list[pb.Tensor]:
    """One array, or several by name, as messages."""
    if isinstance(given, Mapping):
        return [to_tensor(array, name) for name, array in given.items()]
    return [to_tensor(given)]


def arrays(messages: Sequence[pb.Tensor]) -> dict[str, Array]:
    """Messages as arrays, by name."""
    return {tensor.name: to_array(tensor) for tensor in messages}


def to_classes(message: pb.TopClasses) -> Array:
    """The classes of an output as an array of `ClassScore`, [batch, classes] or with timesteps between."""
    found = np.empty(len(message.classes), object)
    found[:] = [ClassScore(one.label, one.index, one.score) for one in message.classes]
    return found.reshape(message.shape)


def change(made: WeightChange) -> pb.WeightChange:
    """A weight change as a message."""
    return pb.WeightChange(
        weight=made.weight,
        operation=f"WEIGHT_OPERATION_{made.operation.upper()}",
        ranges=[pb.IndexRange(start=start, stop=stop) for start, stop in made.ranges],
        value=to_tensor(made.value),
    )


def patch(made: Patch) -> pb.Patch:
    """A patch as a message."""
    ranges = {
        name: pb.IndexRange(start=start, stop=stop)
        for name, (start, stop) in (
            ("sequences", made.sequences),
            ("timesteps", made.timesteps),
            ("units", made.units),
        )
        if (start, stop) != (0, 0)
    }
    return pb.Patch(
        layer=made.layer,
        tensor=made.tensor,
        operation=f"PATCH_OPERATION_{made.operation.upper()}",
        value=to_tensor(np.asarray(made.value, np.float64)),
        **ranges,
    )
