"""The recurrent cells: one timestep of SimpleRNN, GRU, LSTM, and of several cells on top of each other.

A cell splits its work as the sums allow: `project` takes what depends on the input alone, for all timesteps at once,
and `step` what depends on the state. The order of additions is Keras's, so that the rounding is too.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from service.errors import UnsupportedModelError
from service.model.activations import ACTIVATIONS
from service.model.layers.options import Option, activation, flag, number, size
from service.model.numerics import prepare
from service.model.tensors import Array, DType, Policy

States = tuple[Array, ...]  # (batch, units) each
Gates = dict[str, Array]  # what a trace shows of one timestep
Project = Callable[[Array], Array]  # x (…, batch, features) -> (…, batch, gates · units)
Step = Callable[[Array, States, Gates | None], States]  # projected (batch, gates · units) -> new states

# Dropout acts in training only, but recurrent dropout makes Keras choose the other of two orders of additions.
DROPOUTS = {"dropout": number(0.0), "recurrent_dropout": number(0.0)}


class Cell:
    """The options of a cell, checked. Its output is its first state."""

    CLASS: ClassVar[str]
    OPTIONS: ClassVar[Mapping[str, Option]]
    STATES: ClassVar[tuple[str, ...]] = ("hidden_state",)
    GATES: ClassVar[int]

    def __init__(self, where: str, policy: Policy, options: Mapping[str, Any]) -> None:
        if "glu" in {options["activation"], options.get("recurrent_activation")}:
            raise UnsupportedModelError(
                f"{where}: glu changes the width, which a recurrent layer cannot", option="activation"
            )
        self.policy = policy
        self.units: int = options["units"]
        self.use_bias: bool = options["use_bias"]
        self.options = options

    def states(self) -> tuple[tuple[str, int, DType], ...]:
        """Name, units and type of each state."""
        return tuple((name, self.units, self.policy.compute) for name in self.STATES)

    def weights(self, features: int) -> tuple[tuple[str, tuple[int, ...], str, DType], ...]:
        """Name, shape, path below the cell's folder and type of each weight."""
        shapes = [
            ("kernel", (features, self.GATES * self.units)),
            ("recurrent_kernel", (self.units, self.GATES * self.units)),
        ]
        if self.use_bias:
            shapes.append(("bias", self.bias_shape()))
        return tuple((name, shape, f"vars/{i}", self.policy.variable) for i, (name, shape) in enumerate(shapes))

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.GATES * self.units,)

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """The two functions of the cell with these weights."""
        raise NotImplementedError

    def cast(self, weights: Mapping[str, Array], name: str) -> Array:
        """A weight in the type that the cell computes in."""
        return weights[name].astype(self.policy.compute, copy=False)


class SimpleRNNCell(Cell):
    """h[t] = f((x[t]·W + b) + h[t-1]·U); J. Elman, Finding Structure in Time, 1990."""

    CLASS = "SimpleRNNCell"
    OPTIONS = {"units": size(), "activation": activation("tanh"), "use_bias": flag(True), **DROPOUTS}
    GATES = 1

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """Kernel and bias go into the projection."""
        function = ACTIVATIONS[self.options["activation"]]
        recurrent = matrix(self.cast(weights, "recurrent_kernel"))

        def step(x: Array, states: States, gates: Gates | None) -> States:
            sums = recurrent(states[0])  # (batch, units)
            sums += x
            if gates is not None:
                gates["pre_activation"] = sums
            return (function(sums),)

        return affine(self.cast(weights, "kernel"), self.cast(weights, "bias") if self.use_bias else None), step


CELLS: dict[str, type[Cell]] = {cell.CLASS: cell for cell in (SimpleRNNCell,)}


def matrix(weight: Array) -> Callable[[Array], Array]:
    """X ↦ x·W for one timestep, x (batch, n)."""
    prepared = prepare(weight)
    if weight.dtype == np.float16:
        return lambda x: np.matmul(x.astype(np.float32), prepared).astype(np.float16)
    return lambda x: np.matmul(x, prepared)


def affine(weight: Array, bias: Array | None) -> Project:
    """X ↦ x·W + b for any number of timesteps, x (…, batch, n)."""
    times = matrix(weight)
    if bias is None:
        return times

    def project(x: Array) -> Array:
        y = times(x)
        y += bias
        return y

    return project
