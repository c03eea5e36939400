"""A graph for ONNX Runtime while it is built: its values, operators, constants and weights."""

from typing import Any, NamedTuple

import numpy as np

from service.model.engines.onnx_format import Model
from service.model.layers.base import Layer
from service.model.network import Network
from service.model.tensors import Array, Shape


class Value(NamedTuple):
    """A value of the graph."""

    name: str
    shape: Shape  # as Keras has it, batch and open extents None
    time_major: bool = False  # whether it is (time, batch, features) rather than (batch, time, features)
    mask: str = ""  # (batch, time); empty: it has none

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def named(self, name: str) -> "Value":
        """Another value of the same shape and mask."""
        return self._replace(name=name)


class Builder:
    """The graph so far."""

    def __init__(self, network: Network) -> None:
        self.model = Model()
        self.finals: dict[str, str] = {}  # where the final states are, by full name
        self._network = network

    def weights(self, layer: Layer) -> dict[str, Array]:
        """The weights of a layer by their names in it."""
        return self._network.layer_weights(layer.name)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """An operator of one output."""
        return self.model.node(operator, *inputs, **attributes)[0]

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """An array."""
        return self.model.constant(np.asarray(value, dtype))

    def batch_major(self, value: Value) -> str:
        """The value as Keras has it."""
        return self.node("Transpose", value.name, perm=[1, 0, 2]) if value.time_major else value.name

    def time_major(self, value: Value) -> str:
        """A sequence as recurrent operators take it."""
        return value.name if value.time_major else self.node("Transpose", value.name, perm=[1, 0, 2])
