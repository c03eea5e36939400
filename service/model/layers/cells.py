"""The recurrent cells: one timestep of SimpleRNN, GRU, LSTM, and of several cells on top of each other.

A cell splits its work as the sums allow: `project` takes what depends on the input alone, for all timesteps at once,
and `step` what depends on the state. The order of additions is Keras's, so that the rounding is too.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from service.errors import UnsupportedModelError
from service.model.activations import ACTIVATIONS, Activation
from service.model.layers.options import Option, activation, flag, number, size
from service.model.naming import Counter
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
        shapes: list[tuple[str, tuple[int, ...]]] = [
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

    def activation(self, option: str) -> Activation:
        """The activation that an option names."""
        return ACTIVATIONS[self.options[option]]

    def output_state(self) -> int:
        """Which of the states is the output."""
        return 0


class SimpleRNNCell(Cell):
    """h[t] = f((x[t]·W + b) + h[t-1]·U); J. Elman, Finding Structure in Time, 1990."""

    CLASS = "SimpleRNNCell"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "units": size(),
        "activation": activation("tanh"),
        "use_bias": flag(True),
        **DROPOUTS,
    }
    GATES = 1

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """Kernel and bias go into the projection."""
        function = self.activation("activation")
        recurrent = matrix(self.cast(weights, "recurrent_kernel"))

        def step(x: Array, states: States, gates: Gates | None) -> States:
            sums = recurrent(states[0])  # (batch, units)
            sums += x
            if gates is not None:
                gates["pre_activation"] = sums
            return (function(sums),)

        return affine(self.cast(weights, "kernel"), self.cast(weights, "bias") if self.use_bias else None), step


class GRUCell(Cell):
    """The gated recurrent unit, gates side by side in the order z, r, h.

    z = σ(x·Wz + h·Uz), r = σ(x·Wr + h·Ur), h' = z∘h + (1-z)∘c with the candidate
    c = f(x·Wh + r∘(h·Uh)) where `reset_after` (K. Cho et al. 2014, v3 of arXiv:1406.1078), and
    c = f(x·Wh + (r∘h)·Uh) where not (v1). With `reset_after` input and recurrence have a bias each:
    bias is (2, 3·units).
    """

    CLASS = "GRUCell"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "units": size(),
        "activation": activation("tanh"),
        "recurrent_activation": activation("sigmoid"),
        "use_bias": flag(True),
        "reset_after": flag(True),
        **DROPOUTS,
    }
    GATES = 3

    def bias_shape(self) -> tuple[int, ...]:
        """One bias or two."""
        return (2, 3 * self.units) if self.options["reset_after"] else (3 * self.units,)

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """The input's bias goes into the projection."""
        after: bool = self.options["reset_after"]
        units = self.units
        function = self.activation("activation")
        gate = self.activation("recurrent_activation")
        kernel, recurrent = self.cast(weights, "kernel"), self.cast(weights, "recurrent_kernel")
        bias = self.cast(weights, "bias") if self.use_bias else None
        input_bias, recurrent_bias = (bias[0], bias[1]) if after and bias is not None else (bias, None)
        inner = affine(recurrent if after else np.ascontiguousarray(recurrent[:, : 2 * units]), recurrent_bias)
        candidate = matrix(np.ascontiguousarray(recurrent[:, 2 * units :]))
        one = self.policy.compute.type(1)

        def step(x: Array, states: States, gates: Gates | None) -> States:
            (h,) = states
            recurrence = inner(h)  # (batch, 3 · units), or 2 · units where the reset comes before
            sums = x[:, : 2 * units] + recurrence[:, : 2 * units]
            zr = gate(sums.reshape(-1, 2, units))  # a softmax is over the units of one gate
            z, r = zr[:, 0], zr[:, 1]
            last = r * recurrence[:, 2 * units :] if after else candidate(r * h)
            last += x[:, 2 * units :]
            c = function(last)
            if gates is not None:
                gates["pre_activation"] = np.concatenate((sums, last), axis=1)
                gates.update(update_gate=z, reset_gate=r, candidate=c)
            return (z * h + (one - z) * c,)

        return affine(kernel, input_bias), step


class LSTMCell(Cell):
    """Long short-term memory, gates side by side in the order i, f, c, o.

    i, f, o = σ(x·W + h·U + b), c' = f∘c + i∘g(x·Wc + h·Uc + bc), h' = o∘g(c'); S. Hochreiter, J. Schmidhuber 1997,
    with the forget gate of F. Gers et al. 2000.
    """

    CLASS = "LSTMCell"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "units": size(),
        "activation": activation("tanh"),
        "recurrent_activation": activation("sigmoid"),
        "use_bias": flag(True),
        "unit_forget_bias": flag(True),  # how the bias starts; its values are in the file
        **DROPOUTS,
    }
    STATES = ("hidden_state", "cell_state")
    GATES = 4

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """Keras adds the bias last, but first where there is recurrent dropout (its `implementation` 1)."""
        units = self.units
        function = self.activation("activation")
        gate = self.activation("recurrent_activation")
        recurrent = matrix(self.cast(weights, "recurrent_kernel"))
        bias = self.cast(weights, "bias") if self.use_bias else None
        first = bool(self.options["recurrent_dropout"])
        late = None if first else bias

        def step(x: Array, states: States, gates: Gates | None) -> States:
            h, c = states
            sums = recurrent(h)  # (batch, 4 · units)
            sums += x
            if late is not None:
                sums += late
            parts = sums.reshape(-1, 4, units)
            opened = gate(parts)  # of the third gate nothing is used: one call costs less than two
            new = opened[:, 0] * function(parts[:, 2])
            new += opened[:, 1] * c
            if gates is not None:
                gates.update(
                    pre_activation=sums,
                    input_gate=opened[:, 0],
                    forget_gate=opened[:, 1],
                    candidate=function(parts[:, 2]),
                    output_gate=opened[:, 3],
                )
            return opened[:, 3] * function(new), new

        return affine(self.cast(weights, "kernel"), bias if first else None), step


class StackedCells(Cell):
    """Cells on top of each other, each timestep going through all of them (Keras's StackedRNNCells)."""

    CLASS = "StackedRNNCells"
    OPTIONS: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, policy: Policy, cells: tuple[Cell, ...]) -> None:
        self.policy = policy
        self.cells = cells
        self.units = cells[-1].units

    def states(self) -> tuple[tuple[str, int, DType], ...]:
        """Those of all cells, from the lowest."""
        return tuple(
            (f"cell_{i}/{name}", units, dtype)
            for i, cell in enumerate(self.cells)
            for name, units, dtype in cell.states()
        )

    def weights(self, features: int) -> tuple[tuple[str, tuple[int, ...], str, DType], ...]:
        """Those of all cells, from the lowest."""
        count = Counter()
        found = []
        for i, cell in enumerate(self.cells):
            folder = f"cells/{count(cell.CLASS)}"
            found += [
                (f"cell_{i}/{name}", shape, f"{folder}/{path}", dtype)
                for name, shape, path, dtype in cell.weights(features)
            ]
            features = cell.units
        return tuple(found)

    def compile(self, weights: Mapping[str, Array]) -> tuple[Project, Step]:
        """The input of all but the lowest is known only timestep by timestep."""
        compiled = [
            cell.compile(
                {name.removeprefix(f"cell_{i}/"): w for name, w in weights.items() if name.startswith(f"cell_{i}/")}
            )
            for i, cell in enumerate(self.cells)
        ]
        counts = [len(cell.states()) for cell in self.cells]

        def step(x: Array, states: States, gates: Gates | None) -> States:
            new: States = ()
            for i, ((project, one), count) in enumerate(zip(compiled, counts, strict=True)):
                inside: Gates | None = None if gates is None else {}
                after = one(project(x) if i else x, states[len(new) : len(new) + count], inside)
                x = after[0]
                new += after
                if gates is not None and inside is not None:
                    gates.update({f"cell_{i}/{name}": value for name, value in inside.items()})
            return new

        return compiled[0][0], step

    def output_state(self) -> int:
        """The first state of the uppermost cell."""
        return sum(len(cell.states()) for cell in self.cells[:-1])


CELLS: dict[str, type[Cell]] = {cell.CLASS: cell for cell in (SimpleRNNCell, GRUCell, LSTMCell)}


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
