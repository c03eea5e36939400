"""Writing the few ONNX messages that a recurrent network needs (onnx/onnx.proto, IR version 8).

Ten messages of protobuf's wire format are less than a dependency on the `onnx` package, which serving would need only
for this.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.model.tensors import Array

IR_VERSION, OPSET = 8, 17
TENSOR_TYPES = {np.dtype(np.float32): 1, np.dtype(np.int32): 6, np.dtype(np.int64): 7, np.dtype(np.float64): 11}
FLOAT, INT, STRING, INTS, STRINGS = 1, 2, 3, 7, 8  # AttributeProto.AttributeType
Attribute = float | int | str | Sequence[int] | Sequence[str]


@dataclass
class Model:
    """A graph of ONNX operators, grown node by node."""

    nodes: list[bytes] = field(default_factory=list)
    initializers: list[bytes] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    count: int = 0

    def node(
        self, operator: str, *inputs: str, outputs: int = 1, omitted: int = 0, **attributes: Attribute
    ) -> list[str]:
        """Adds an operator on named values ("" for one left out); gives the names of its outputs.

        `omitted`: so many outputs before these are not wanted.
        """
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(
            b"".join(_bytes(1, name.encode()) for name in inputs)
            + b"".join(_bytes(2, name.encode()) for name in [*[""] * omitted, *names])
            + _bytes(4, operator.encode())
            + b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        )
        return names

    def constant(self, array: Array) -> str:
        """Adds an array; gives its name."""
        name = self.name()
        self.initializers.append(
            b"".join(_int(1, extent) for extent in array.shape)
            + _int(2, TENSOR_TYPES[array.dtype])
            + _bytes(8, name.encode())
            + _bytes(9, np.ascontiguousarray(array).tobytes())
        )
        return name

    def input(self, name: str, array_type: np.dtype, shape: Sequence[int | None]) -> None:
        """Declares an input."""
        self.inputs.append(_value(name, array_type, shape))

    def output(self, name: str, array_type: np.dtype, shape: Sequence[int | None]) -> None:
        """Declares an output."""
        self.outputs.append(_value(name, array_type, shape))

    def rename(self, value: str, name: str) -> None:
        """Gives a value a name of the network's own."""
        self.nodes.append(_bytes(1, value.encode()) + _bytes(2, name.encode()) + _bytes(4, b"Identity"))

    def name(self) -> str:
        """A new name of a value."""
        self.count += 1
        return f"value {self.count}"

    def serialized(self) -> bytes:
        """The model as ONNX Runtime reads it."""
        graph = (
            b"".join(_bytes(1, node) for node in self.nodes)
            + _bytes(2, b"network")
            + b"".join(_bytes(5, array) for array in self.initializers)
            + b"".join(_bytes(11, value) for value in self.inputs)
            + b"".join(_bytes(12, value) for value in self.outputs)
        )
        return _int(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _int(2, OPSET))


def _attribute(name: str, value: Attribute) -> bytes:
    head = _bytes(1, name.encode())
    if isinstance(value, float):
        return head + _varint(2 << 3 | 5) + struct.pack("<f", value) + _int(20, FLOAT)
    if isinstance(value, int):
        return head + _int(3, value) + _int(20, INT)
    if isinstance(value, str):
        return head + _bytes(4, value.encode()) + _int(20, STRING)
    if all(isinstance(part, int) for part in value):
        return head + b"".join(_int(8, int(part)) for part in value) + _int(20, INTS)
    return head + b"".join(_bytes(9, str(part).encode()) for part in value) + _int(20, STRINGS)


def _value(name: str, array_type: np.dtype, shape: Sequence[int | None]) -> bytes:
    """ValueInfoProto: name, element type, extents; those that are open have a name of their own."""
    extents = b"".join(
        _bytes(1, _bytes(2, f"{name}_{i}".encode()) if extent is None else _int(1, extent))
        for i, extent in enumerate(shape)
    )
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _int(1, TENSOR_TYPES[array_type]) + _bytes(2, extents)))


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value & ((1 << 64) - 1))


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
