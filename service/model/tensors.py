"""What the numerics speak of: arrays, and descriptions of arrays that do not exist yet."""

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


def is_sequence(raw: bytes, shape: tuple[int, ...], wanted: Shape) -> bool:
    """Whether float32 bytes are one sequence, not empty, of the wanted shape (batch, timesteps, features)."""
    _, timesteps, features = wanted
    return (
        len(shape) == 3
        and shape[0] == 1
        and shape[1] >= 1
        and shape[1] == (timesteps or shape[1])
        and shape[2] == features
        and len(raw) == shape[1] * shape[2] * 4
    )


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
INPUT_DTYPES = {name: np.dtype(name) for name in ("float16", "float32", "float64", "int32", "int64")}
