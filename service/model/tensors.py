"""The basic types of the numerics: arrays, and the descriptions of arrays that do not exist yet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Shape = tuple[int | None, ...]  # None: an extent that depends on the call


@dataclass(frozen=True)
class TensorSpec:
    """A named input, output or state of a network."""

    name: str
    dtype: DType
    shape: Shape  # with the leading batch axis, which is None; the axis of time may be None too


class RawSequence:
    """What goes through a network as bytes, float32 and little-endian: one sequence in, one tensor out."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.name, self.output = inputs[0].name, outputs[0].name
        self.plain = len(inputs) == len(outputs) == 1 and {inputs[0].dtype, outputs[0].dtype} == {np.dtype("<f4")}
        """Whether one tensor of float32 goes in, and one comes out."""
        self._wanted = inputs[0].shape
        self.possible = self.plain and len(self._wanted) == 3 and self._wanted[2] is not None
        """Whether it takes and gives such bytes at all."""

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether the network is such a one, and takes one sequence of this shape, (1, timesteps, features)."""
        if not self.possible or len(shape) != 3:
            return False
        one, timesteps, features = shape
        return (
            one == 1 and timesteps >= 1 and timesteps == (self._wanted[1] or timesteps) and features == self._wanted[2]
        )

    @staticmethod
    def size(shape: tuple[int, ...]) -> int:
        """Bytes of sequences of this shape."""
        return math.prod(shape) * 4

    @staticmethod
    def numbers(raw: bytes, extents: tuple[int, ...]) -> Array | None:
        """Any number of sequences, each (timesteps, features); None where one holds NaN or infinity."""
        found = np.frombuffer(raw, "<f4").reshape(-1, *extents)
        return found if np.isfinite(found).all() else None


class Time(Enum):
    """How a value relates to the timesteps of the input, when these arrive in pieces."""

    SEQUENCE = "axis 1 is time"
    LATEST = "the value after the last timestep so far"
    WHOLE = "depends on all timesteps at once"


@dataclass(frozen=True)
class Tensor:
    """A value inside a network, before there is one."""

    shape: Shape  # with the batch axis
    dtype: DType
    time: Time = Time.LATEST

    @property
    def rank(self) -> int:
        """Number of axes, batch included."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Elements for each sequence of a batch, where all extents are known."""
        return math.prod(extent or 1 for extent in self.shape[1:])


@dataclass(frozen=True)
class Policy:
    """Keras's dtype policy of a layer: what it computes in, and what its weights are stored in."""

    name: str
    compute: DType
    variable: DType


POLICIES = {
    name: Policy(name, np.dtype(compute), np.dtype(variable))
    for name, compute, variable in (
        ("float16", "f2", "f2"),
        ("float32", "f4", "f4"),
        ("float64", "f8", "f8"),
        ("mixed_float16", "f2", "f4"),
    )
}
STRING = np.dtype(object)  # of Python's strings
INPUT_DTYPES = {name: np.dtype(name) for name in ("float16", "float32", "float64", "int32", "int64", "bool")} | {
    "string": STRING
}


def type_name(dtype: DType) -> str:
    """A type of elements as errors show it."""
    return "string" if dtype == STRING else dtype.name
