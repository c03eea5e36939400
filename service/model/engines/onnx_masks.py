"""Masks in a graph for ONNX Runtime: how they are made, and how recurrent operators go by them.

ONNX's recurrent operators know how long a sequence is, not which of its timesteps are masked. So the timesteps that
are not masked are moved to the front, in their order, and the operator is told how many there are. That is exact for
any mask, since a masked timestep leaves the states as they are. What the operator gives is moved back.
"""

from typing import Any, NamedTuple

import numpy as np

from service.model.engines.onnx_builder import Builder, Value
from service.model.layers.array_operations import Operand
from service.model.layers.operations import Operation
from service.model.tensors import DType

BOOL, INT32, INT64, FLOAT, DOUBLE = 9, 6, 7, 1, 11  # TensorProto.DataType


class Packing(NamedTuple):
    """How the timesteps of a batch are packed by a mask. Names of values, (batch, timesteps) but `lengths`."""

    mask: str
    order: str  # which timestep comes to this place
    upto: str  # how many timesteps are not masked up to this one
    place: str  # of the last of those, or 0
    lengths: str  # (batch,): timesteps that are not masked, but at least 1, as the operators want it
    none: str  # (batch, 1): whether all are masked

    def packed(self, b: Builder, x: Value) -> str:
        """A sequence packed, time first."""
        return b.node("Transpose", gathered(b, b.batch_major(x), self.order), perm=[1, 0, 2])

    def unpacked(self, b: Builder, y: str, otherwise: str, *, repeat: bool) -> str:
        """A packed sequence, time first, as it was, batch first.

        At a masked timestep stands the value before, and `otherwise` before the first one; without `repeat` always
        `otherwise`.
        """
        found = gathered(b, b.node("Transpose", y, perm=[1, 0, 2]), self.place)
        known = b.node("Greater", self.upto, b.constant(0, np.int64)) if repeat else self.mask
        return b.node("Where", wide(b, known), found, otherwise)

    def last(self, b: Builder, y: str, *, first: bool) -> str:
        """Y (batch, units), and 0 where the last timestep (the first one, with `first`) is masked."""
        shown = b.node("Gather", self.mask, b.constant([0 if first else -1], np.int64), axis=1)
        return b.node("Where", shown, y, b.constant(0))


def packing(b: Builder, mask: str) -> Packing:
    """The packing by a mask."""
    number = b.node("Cast", mask, to=INT64)
    masked = b.node("Sub", b.constant(1, np.int64), number)
    axis = b.constant(1, np.int64)
    upto, masked_upto = b.node("CumSum", number, axis), b.node("CumSum", masked, axis)
    count = b.node("ReduceSum", number, b.constant([1], np.int64), keepdims=1)  # (batch, 1)
    one, zero = b.constant(1, np.int64), b.constant(0, np.int64)
    at_front, behind = b.node("Sub", upto, one), b.node("Sub", b.node("Add", count, masked_upto), one)
    goes_to = b.node("Where", mask, at_front, behind)
    timestep = b.node("Sub", b.node("Add", upto, masked_upto), one)
    return Packing(
        mask,
        b.node("ScatterElements", timestep, goes_to, timestep, axis=1),
        upto,
        b.node("Max", at_front, zero),
        b.node("Cast", b.node("Squeeze", b.node("Max", count, one), b.constant([1], np.int64)), to=INT32),
        b.node("Equal", count, zero),
    )


def gathered(b: Builder, x: str, places: str) -> str:
    """Of each sequence of x, (batch, timesteps, n), the timesteps at some places, (batch, m)."""
    return b.node("GatherND", x, b.node("Unsqueeze", places, b.constant([2], np.int64)), batch_dims=1)


def wide(b: Builder, mask: str) -> str:
    """A mask (batch, timesteps) as one of all units."""
    return b.node("Unsqueeze", mask, b.constant([2], np.int64))


def differs(b: Builder, x: str, value: Any) -> str:
    """Where x, of any type, is not a value of that type. Both are compared in double precision, which holds either."""
    return b.node("Not", b.node("Equal", b.node("Cast", x, to=DOUBLE), b.constant(value, np.float64)))


def any_of_last(b: Builder, x: str) -> str:
    """Whether any of the last axis is true."""
    return b.node("Cast", b.node("ReduceMax", b.node("Cast", x, to=FLOAT), axes=[-1], keepdims=0), to=BOOL)


def operation(b: Builder, kind: Operation, x: Value, dtype: DType) -> Value | None:
    """One of the operations of which Keras makes the mask that a call names; None for any other. `dtype`: that of x."""
    arguments = kind.arguments
    if kind.kind == "NotEqual" and isinstance(arguments[0], Operand) and not isinstance(arguments[1], Operand):
        return Value(differs(b, b.batch_major(x), dtype.type(arguments[1])), x.shape)
    if kind.kind == "Any" and kind.options["axis"] in (-1, x.rank - 1):
        return Value(any_of_last(b, b.batch_major(x)), x.shape)
    return None


def mean(b: Builder, x: Value, *, keep: bool) -> str:
    """The mean of the timesteps that are not masked."""
    valid = wide(b, x.mask)
    shown = b.node("Where", valid, b.batch_major(x), b.constant(0))
    axis = b.constant([1], np.int64)
    total, count = (
        b.node("ReduceSum", value, axis, keepdims=int(keep)) for value in (shown, b.node("Cast", valid, to=FLOAT))
    )
    return b.node("Div", total, count)
