"""The recurrent cells: one timestep of SimpleRNN, GRU, LSTM, and of stacked cells.

At work a cell has memory of its own, made once a call, and its operations write into it. There vectors are columns:
inputs, states and gates are (units, batch), so that a gate of the whole batch is one block. Where Keras adds up
x·W + b + h·U, SimpleRNN and LSTM make one product of it, (h, x, 1) · (U, W, b): state and input lie one after the other
in the same memory. BLAS adds up in that order, and the state is mostly smaller than the input; the other way round the
rounding error of long sums is twice as large.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import numpy as np

from service.errors import UnsupportedModelError
from service.model.activations import into
from service.model.layers.base import StateSpec
from service.model.layers.options import Option, activation, flag, in_equations, number, size
from service.model.naming import Counter
from service.model.numerics import prepare
from service.model.tensors import Array, DType, Policy

States = tuple[Array, ...]
Gates = dict[str, Array]  # by name: (units, batch) at one timestep, (timesteps, units, batch) in a record
Touch = Callable[[Gates], object]  # may change the gates of a timestep in place, before they are used


class Keeping(NamedTuple):
    """What a cell at work does for a trace."""

    note: Callable[[int], object]  # keeps what the last step computed, as that of timestep t
    kept: Gates  # what was kept: pre-activation and gates, (timesteps, units, batch) each


class Work(NamedTuple):
    """A cell at work on a batch."""

    step: Callable[[Array], object]  # takes the input of one timestep, (features, batch)
    states: States  # (units, batch) each, zero at first; `step` changes them in place
    rows: int  # that a trace keeps of each timestep, states aside
    keep: Callable[[Array], Keeping]  # takes memory for them, (timesteps, rows, batch)


Start = Callable[[int, Touch | None], Work]  # for a batch of so many
Product = Callable[[Array, Array], object]  # of x (n, batch) into an array (m, batch)
# For a batch of so many: memory of the hidden state, and what takes the input of a timestep and writes its sums.
Sums = Callable[[int, Array], tuple[Array, Callable[[Array], object]]]

DROPOUTS = {"dropout": number(0.0), "recurrent_dropout": number(0.0)}  # they act in training only


class Cell:
    """The options of a cell, checked. Its output is its first state."""

    CLASS: ClassVar[str]
    OPTIONS: ClassVar[Mapping[str, Option]]
    STATES: ClassVar[tuple[str, ...]] = ("hidden_state",)
    GATES: ClassVar[int]
    GATE_NAMES: ClassVar[tuple[str, ...]] = ()  # as a trace shows them, in the order of the weights
    SIZE: ClassVar[str] = "units"  # the option that says how wide its output is

    def __init__(self, where: str, policy: Policy, options: Mapping[str, Any]) -> None:
        if "glu" in {options["activation"], options.get("recurrent_activation")}:
            raise UnsupportedModelError(
                f"{where}: glu changes the width, which a recurrent layer cannot", option="activation"
            )
        self.policy = policy
        self.shape: tuple[int, ...] = (options[self.SIZE],)  # of a state and the output, of one sequence
        self.units = math.prod(self.shape)
        self.use_bias: bool = options["use_bias"]
        self.options = options

    def states(self) -> tuple[StateSpec, ...]:
        """The states."""
        return tuple(StateSpec(name, self.shape, self.policy.compute) for name in self.STATES)

    def gates(self) -> tuple[tuple[str, int], ...]:
        """Name and units of each gate."""
        return tuple((name, self.units) for name in self.GATE_NAMES)

    def weights(self, given: tuple[int, ...]) -> tuple[tuple[str, tuple[int, ...], str, DType], ...]:
        """Name, shape, path below the cell's folder and type of each weight.

        `given`: the shape of the input at one timestep of one sequence.
        """
        return tuple(
            (name, shape, f"vars/{i}", self.policy.variable) for i, (name, shape) in enumerate(self.shapes(given))
        )

    def shapes(self, given: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of each weight. Argument as of `weights`."""
        (features,) = given
        shapes: list[tuple[str, tuple[int, ...]]] = [
            ("kernel", (features, self.GATES * self.units)),
            ("recurrent_kernel", (self.units, self.GATES * self.units)),
        ]
        if self.use_bias:
            shapes.append(("bias", self.bias_shape()))
        return shapes

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.GATES * self.units,)

    def compile(self, weights: Mapping[str, Array]) -> Start:
        """The cell with these weights."""
        raise NotImplementedError

    def cast(self, weights: Mapping[str, Array], name: str) -> Array:
        """A weight in the type that the cell computes in; without bias, a bias of zeros."""
        array = weights[name] if name in weights else np.zeros(self.bias_shape())
        return array.astype(self.policy.compute, copy=False)

    def activation(self, option: str) -> Callable[[Array, Array], object]:
        """The activation that an option names, of (gates · units, batch) into such an array."""
        return into(self.options[option], self.policy.compute, self.shape[-1])

    def in_equations(self) -> dict[str, str]:
        """As for layers."""
        return in_equations(self.options)

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

    def compile(self, weights: Mapping[str, Array]) -> Start:
        """One product a timestep."""
        kernel, recurrent, bias = (self.cast(weights, name) for name in ("kernel", "recurrent_kernel", "bias"))
        function = self.activation("activation")
        multiply = product(np.concatenate((recurrent, kernel, bias[None])))
        features, units = len(kernel), self.units

        def start(batch: int, _touch: Touch | None = None) -> Work:  # it has no gates
            both = and_one(units + features, batch, kernel.dtype)
            h, x = both[:units], both[units:-1]
            sums = np.empty_like(h)

            def step(given: Array) -> None:
                x[...] = given
                multiply(both, sums)
                function(sums, h)

            def keep(memory: Array) -> Keeping:
                def note(t: int) -> None:
                    memory[t] = sums

                return Keeping(note, {"pre_activation": memory})

            return Work(step, (h,), units, keep)

        return start


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
    GATE_NAMES = ("update_gate", "reset_gate", "candidate")

    def bias_shape(self) -> tuple[int, ...]:
        """One bias or two."""
        return (2, 3 * self.units) if self.options["reset_after"] else (3 * self.units,)

    def compile(self, weights: Mapping[str, Array]) -> Start:
        """Input and recurrence have a product each, since the reset gate comes in between."""
        kernel, recurrent, bias = (self.cast(weights, name) for name in ("kernel", "recurrent_kernel", "bias"))
        function, gate = self.activation("activation"), self.activation("recurrent_activation")
        features, units, after = len(kernel), self.units, bool(self.options["reset_after"])
        input_bias, recurrent_bias = bias if after else (bias, np.zeros_like(bias))
        width = (3 if after else 2) * units  # of what the state is multiplied with before the reset
        inputs = product(np.concatenate((kernel, input_bias[None])))
        recurrence = product(np.concatenate((recurrent, recurrent_bias[None]))[:, :width])
        candidate = product(recurrent[:, 2 * units :])

        def start(batch: int, touch: Touch | None = None) -> Work:
            x_and_one = and_one(features, batch, kernel.dtype)
            h_and_one = and_one(units, batch, kernel.dtype)
            x, h = x_and_one[:-1], h_and_one[:-1]
            sums, inner = np.empty((3 * units, batch), kernel.dtype), np.empty((width, batch), kernel.dtype)
            sums_zr, sums_c = sums[: 2 * units], sums[2 * units :]
            inner_zr, inner_c = inner[: 2 * units], inner[2 * units :]
            zr = np.empty_like(sums_zr)
            z, r = zr[:units], zr[units:]
            c, part = np.empty_like(h), np.empty_like(h)
            opened, candidates = {"update_gate": z, "reset_gate": r}, {"candidate": c}

            def step(given: Array) -> None:
                x[...] = given
                inputs(x_and_one, sums)
                recurrence(h_and_one, inner)
                np.add(sums_zr, inner_zr, sums_zr)
                gate(sums_zr, zr)
                if touch is not None:
                    touch(opened)
                if after:
                    np.multiply(r, inner_c, part)
                else:
                    np.multiply(r, h, c)
                    candidate(c, part)
                np.add(sums_c, part, sums_c)
                function(sums_c, c)
                if touch is not None:
                    touch(candidates)
                np.multiply(z, h, h)
                np.subtract(1, z, part)
                np.multiply(part, c, part)
                np.add(h, part, h)

            def keep(memory: Array) -> Keeping:
                def note(t: int) -> None:
                    now = memory[t]
                    now[: 3 * units] = sums
                    now[3 * units : 5 * units] = zr
                    now[5 * units :] = c

                pre, *gates = rows_of(memory, [3 * units, units, units, units])
                return Keeping(note, {"pre_activation": pre, **dict(zip(self.GATE_NAMES, gates, strict=True))})

            return Work(step, (h,), 6 * units, keep)

        return start


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
    GATE_NAMES = ("input_gate", "forget_gate", "candidate", "output_gate")

    def compile(self, weights: Mapping[str, Array]) -> Start:
        """The sums of a timestep, then its gates, in the order i, f, o, c: what goes through σ lies together."""
        function, gate = self.activation("activation"), self.activation("recurrent_activation")
        add_up, units = self.sums(weights), self.units

        def start(batch: int, touch: Touch | None = None) -> Work:
            sums = np.empty((4 * units, batch), self.policy.compute)
            h, take = add_up(batch, sums)
            opened = np.empty_like(sums)
            sums_ifo, sums_c = sums[: 3 * units], sums[3 * units :]
            ifo, candidate = opened[: 3 * units], opened[3 * units :]
            i, f, o = ifo[:units], ifo[units : 2 * units], ifo[2 * units :]
            c, part = np.zeros_like(candidate), np.empty_like(candidate)
            gates = {"input_gate": i, "forget_gate": f, "candidate": candidate, "output_gate": o}

            def step(given: Array) -> None:
                take(given)
                gate(sums_ifo, ifo)
                function(sums_c, candidate)
                if touch is not None:
                    touch(gates)
                np.multiply(f, c, c)
                np.multiply(i, candidate, part)
                np.add(c, part, c)
                function(c, part)
                np.multiply(o, part, h)

            def keep(memory: Array) -> Keeping:
                def note(t: int) -> None:
                    now = memory[t]
                    now[: 2 * units] = sums[: 2 * units]  # in Keras's order: i, f, c, o
                    now[2 * units : 3 * units] = sums_c
                    now[3 * units : 4 * units] = sums_ifo[2 * units :]
                    now[4 * units :] = opened

                pre, of_i, of_f, of_o, of_c = rows_of(memory, [4 * units, units, units, units, units])
                return Keeping(
                    note,
                    {
                        "pre_activation": pre,
                        "input_gate": of_i,
                        "forget_gate": of_f,
                        "candidate": of_c,
                        "output_gate": of_o,
                    },
                )

            return Work(step, (h, c), 8 * units, keep)

        return start

    def sums(self, weights: Mapping[str, Array]) -> Sums:
        """One product a timestep, into an array (4 · units, batch)."""
        kernel, recurrent, bias = (self.cast(weights, name) for name in ("kernel", "recurrent_kernel", "bias"))
        features, units = len(kernel), self.units
        multiply = product(sigmoids_first(np.concatenate((recurrent, kernel, bias[None]))))

        def add_up(batch: int, sums: Array) -> tuple[Array, Callable[[Array], object]]:
            both = and_one(units + features, batch, kernel.dtype)
            h, x = both[:units], both[units:-1]

            def take(given: Array) -> None:
                x[...] = given
                multiply(both, sums)

            return h, take

        return add_up


def sigmoids_first(weight: Array) -> Array:
    """The columns of an LSTM's weight in the order i, f, o, c."""
    i, f, c, o = np.split(weight, 4, axis=1)
    return np.concatenate((i, f, o, c), axis=1)


class StackedCells(Cell):
    """Cells on top of each other, each timestep going through all of them (Keras's StackedRNNCells)."""

    CLASS = "StackedRNNCells"
    OPTIONS: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, policy: Policy, cells: tuple[Cell, ...]) -> None:
        self.policy = policy
        self.cells = cells
        self.shape, self.units = cells[-1].shape, cells[-1].units

    def states(self) -> tuple[StateSpec, ...]:
        """Those of all cells, from the lowest."""
        return tuple(
            replace(state, name=f"cell_{i}/{state.name}")
            for i, cell in enumerate(self.cells)
            for state in cell.states()
        )

    def gates(self) -> tuple[tuple[str, int], ...]:
        """Those of all cells, from the lowest."""
        return tuple((f"cell_{i}/{name}", units) for i, cell in enumerate(self.cells) for name, units in cell.gates())

    def weights(self, given: tuple[int, ...]) -> tuple[tuple[str, tuple[int, ...], str, DType], ...]:
        """Those of all cells, from the lowest."""
        count = Counter()
        found = []
        for i, cell in enumerate(self.cells):
            folder = f"cells/{count(cell.CLASS)}"
            found += [
                (f"cell_{i}/{name}", shape, f"{folder}/{path}", dtype)
                for name, shape, path, dtype in cell.weights(given)
            ]
            given = cell.shape
        return tuple(found)

    def compile(self, weights: Mapping[str, Array]) -> Start:
        """Each cell takes what the one below gives."""
        starts = [
            cell.compile(
                {name.removeprefix(f"cell_{i}/"): w for name, w in weights.items() if name.startswith(f"cell_{i}/")}
            )
            for i, cell in enumerate(self.cells)
        ]

        def start(batch: int, touch: Touch | None = None) -> Work:
            works = [one(batch, _named(touch, f"cell_{i}/")) for i, one in enumerate(starts)]

            def step(given: Array) -> None:
                for work in works:
                    work.step(given)
                    given = work.states[0]

            def keep(memory: Array) -> Keeping:
                shares = rows_of(memory, [work.rows for work in works])
                keeping = [work.keep(share) for work, share in zip(works, shares, strict=True)]

                def note(t: int) -> None:
                    for one in keeping:
                        one.note(t)

                return Keeping(
                    note, {f"cell_{i}/{name}": gate for i, one in enumerate(keeping) for name, gate in one.kept.items()}
                )

            states = tuple(state for work in works for state in work.states)
            return Work(step, states, sum(work.rows for work in works), keep)

        return start

    def in_equations(self) -> dict[str, str]:
        """Those of all cells, from the lowest."""
        return {f"cell_{i}/{k}": v for i, cell in enumerate(self.cells) for k, v in cell.in_equations().items()}

    def output_state(self) -> int:
        """The first state of the uppermost cell."""
        return sum(len(cell.states()) for cell in self.cells[:-1])


CELLS: dict[str, type[Cell]] = {cell.CLASS: cell for cell in (SimpleRNNCell, GRUCell, LSTMCell)}


def _named(touch: Touch | None, prefix: str) -> Touch | None:
    """`touch` for the gates of one of several cells."""
    return None if touch is None else lambda gates: touch({f"{prefix}{name}": gate for name, gate in gates.items()})


def rows_of(memory: Array, sizes: Sequence[int]) -> list[Array]:
    """Views of memory (timesteps, rows, batch), so many rows each, one after the other."""
    ends = list(accumulate(sizes))
    return [memory[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]


def and_one(rows: int, batch: int, dtype: DType) -> Array:
    """Memory of zeros, (rows, batch), and below it a row of ones: what a bias is multiplied with."""
    array = np.zeros((rows + 1, batch), dtype)
    array[rows] = 1
    return array


def product(weight: Array) -> Product:
    """Multiplies the columns of one timestep: x (n, batch) by a weight (n, m), into an array (m, batch)."""
    transposed = prepare(weight).T  # the products of a batch of one read it fastest so
    if weight.dtype != np.float16:
        return partial(np.dot, transposed)  # with less to do before it calls BLAS than np.matmul

    def rounded_once(x: Array, out: Array) -> None:
        out[...] = np.dot(transposed, x.astype(np.float32))

    return rounded_once
