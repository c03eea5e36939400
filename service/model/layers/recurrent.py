"""Recurrent layers: a cell applied timestep by timestep, with Keras's semantics of masks and direction."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.layers.base import Built, Layer, Record, Weights, WeightSpec
from service.model.layers.cells import (
    CELLS,
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedCells,
    Start,
    States,
    rows_of,
)
from service.model.layers.config import COMMON, check_composed, layer_policy, unwrap
from service.model.layers.options import ANY, Option, choice, flag, parse, shown
from service.model.layers.patch import Hook
from service.model.tensors import Array, Policy, Tensor, Time

SEQUENCE_OPTIONS = {
    "return_sequences": flag(False),
    "return_state": flag(False),
    "go_backwards": flag(False),
    "stateful": flag(False),
    "unroll": flag(False),  # how Keras builds its graph; the sums are the same
    "zero_output_for_mask": flag(False),
    "use_cudnn": ANY,
    "implementation": ANY,  # older files; Keras goes by recurrent_dropout
    "time_major": choice(False, default=False),  # older files
}
SHOWN = 8  # a GRU of u units shows 3u sums, 3u gates and u states at each timestep; others show less per state


def scan(
    start: Start,
    x: Array,
    states: States | None,
    mask: Array | None,
    previous: Array | None,
    *,
    every: bool,
    zero_masked: bool,
    output_state: int,
    record: Record | None,
    names: Sequence[str],
    hook: Hook | None = None,
) -> tuple[Array, States]:
    """Carries a cell over the timesteps of x; gives its outputs and its states after the last.

    x (batch, time, …), states (batch, …) or None for zeros, mask (batch, time), or (batch, time, units) where units are
    masked one by one, or None. Where a timestep is masked the states stay, and the output is the one before (zero with
    `zero_masked`); `previous` is the output before the first timestep, zero if None. The output is one of the states:
    (batch, time, units) with `every`, else (batch, units). See keras.src.backend.tensorflow.rnn.rnn. `hook` changes
    gates before they are used, and states after the timestep.
    """
    batch, timesteps = x.shape[:2]
    x = x.reshape(batch, timesteps, -1)
    work = start(batch, None if hook is None else hook.apply)
    step, current = work.step, work.states  # (units, batch) each, as `service.model.layers.cells` has them
    if states is not None:
        for own, given in zip(current, states, strict=True):
            own[...] = given.reshape(batch, -1).T
    output = current[output_state]
    outputs = np.empty((batch, timesteps, len(output)), output.dtype) if every else None
    shown = output
    if mask is not None:
        shown = np.zeros_like(output) if previous is None else previous.reshape(batch, -1).T
    history: list[Array] = []
    if record is not None:
        # In one piece, which the allocator keeps for the next trace; fresh pages cost more than what is written there.
        sizes = [work.rows, *map(len, current)]
        memory = np.empty((timesteps, sum(sizes), batch), output.dtype)
        gates, *history = rows_of(memory, sizes)
        note, kept = work.keep(gates)
        kept = kept | dict(zip(names, history, strict=True))
        record.update({name: array.transpose(2, 0, 1) for name, array in kept.items()})  # (batch, time, units)
    for t, given in enumerate(x.transpose(1, 2, 0)):
        if mask is None and hook is None:
            step(given)
        else:
            before = [state.copy() for state in current]
            if hook is not None:
                hook.at(t)
            step(given)
            if mask is not None:
                masked = ~mask[:, t].T
                for own, old in zip(current, before, strict=True):
                    np.copyto(own, old, where=masked)
            if hook is not None:
                hook.apply(dict(zip(names, current, strict=True)), dict(zip(names, before, strict=True)))
            if mask is not None:
                shown = np.where(masked, output.dtype.type(0) if zero_masked else shown, output)
        if outputs is not None:
            outputs[:, t] = shown.T
        if record is not None:
            note(t)
            for states_then, state in zip(history, current, strict=True):
                states_then[t] = state
    final = tuple([state.T.copy() for state in current])
    if outputs is None:
        outputs = final[output_state] if mask is None else shown.T.copy()
    return outputs, final


class Recurrent(Layer):
    """A layer that carries states. Its `call` is `run`, which takes them and gives them back."""

    def run(
        self,
        weights: Any,
        x: Array,
        mask: Array | None,
        states: States | None,
        record: Record | None,
        *,
        resumed: bool = True,
        hook: Hook | None = None,
    ) -> tuple[tuple[Array, ...], States]:
        """Outputs and final states.

        x (batch, time, …), mask (batch, time) or, with axes that the input has too, (batch, time, …); states as
        `build` lists them, None for zeros. `resumed`: the states are where an earlier call left off, so that the output
        before the first timestep was the first of them; else they come from elsewhere in the graph, and Keras takes
        that output as zero. `hook` patches states and gates.
        """
        raise NotImplementedError

    def inner_tensors(self) -> Mapping[str, int]:
        """Names of the states and gates, as a trace shows them, with their number of units."""
        raise NotImplementedError


class CellLayer(Recurrent):
    """A recurrent layer around one cell."""

    CELL: ClassVar[type[Cell]]
    NOTE = "`stateful=True` is served statelessly"

    def __init__(self, name: str, policy: Policy, options: Mapping[str, Any]) -> None:
        super().__init__(name, policy, options)
        self.cell = self.make_cell()
        self.state_names = [state.name for state in self.cell.states()]
        self.return_sequences: bool = options["return_sequences"]
        self.backwards: bool = options["go_backwards"]
        self.zero_masked: bool = options["zero_output_for_mask"]

    def make_cell(self) -> Cell:
        """The cell, from the layer's own options."""
        return self.CELL(self.where, self.policy, self.options)

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Weights of the cell; its states."""
        (x,) = inputs
        cell = self.cell = self.fitted(x)
        batch, time, *given = x.shape
        if self.backwards or x.time is Time.WHOLE:
            when = Time.WHOLE
        elif x.time is Time.SEQUENCE:
            when = Time.SEQUENCE if self.return_sequences else Time.LATEST
        else:
            when = Time.WHOLE  # its timesteps are not those of the input
        outputs = [self.output((batch, *((time,) if self.return_sequences else ()), *cell.shape), when)]
        states = cell.states()
        if self.options["return_state"]:
            last = Time.LATEST if when is not Time.WHOLE else Time.WHOLE
            outputs += [self.output((batch, *state.shape), last) for state in states]
        return Built(
            tuple(outputs),
            tuple(
                WeightSpec(name, shape, dtype, f"cell/{path}")
                for name, shape, path, dtype in cell.weights(tuple(extent or 0 for extent in given))
            ),
            states,
        )

    def fitted(self, x: Tensor) -> Cell:
        """The cell for such an input; always the same one. Raises UnsupportedModelError for an input that fits none."""
        if x.rank != 3:
            raise self.unsupported(f"expected an input of 3 axes, got {x.rank}")
        self.width(x)
        return self.cell

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """A trace keeps states and gates after each timestep, fewer than SHOWN tensors of the size of the states."""
        (x,) = inputs
        return (x.shape[1] or 0) * SHOWN * sum(state.units for state in self.cell.states()) if traced else 0

    def inner_tensors(self) -> Mapping[str, int]:
        """Those of the cell."""
        return {state.name: state.units for state in self.cell.states()} | dict(self.cell.gates())

    def in_equations(self) -> dict[str, str]:
        """Those of the cell."""
        return self.cell.in_equations()

    def prepare(self, weights: Weights) -> Any:
        """The cell with its weights."""
        return self.cell.compile(weights)

    def run(
        self,
        weights: Any,
        x: Array,
        mask: Array | None,
        states: States | None,
        record: Record | None,
        *,
        resumed: bool = True,
        hook: Hook | None = None,
    ) -> tuple[tuple[Array, ...], States]:
        """Outputs and final states; with go_backwards the outputs are in the order of processing, as Keras has them."""
        if self.backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        index, shape = self.cell.output_state(), self.cell.shape
        output, final = scan(
            weights,
            x,
            states,
            None if mask is None else self.over_units(mask),
            states[index] if states is not None and resumed else None,
            every=self.return_sequences,
            output_state=index,
            zero_masked=self.zero_masked,
            record=record,
            names=self.state_names,
            hook=hook,
        )
        if len(shape) > 1:
            output = output.reshape(*output.shape[:-1], *shape)
            final = tuple([state.reshape(-1, *shape) for state in final])
        if self.options["return_state"]:
            return (output, *final), final
        return (output,), final

    def over_units(self, mask: Array) -> Array:
        """A mask as `scan` takes it."""
        return mask

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """The mask goes on where the output is a sequence (in the order of the input, as Keras has it)."""
        outputs = 1 + (len(self.cell.states()) if self.options["return_state"] else 0)
        return (masks[0] if self.return_sequences else None, *[None] * (outputs - 1))


class SimpleRNN(CellLayer):
    """SimpleRNNCell over the timesteps."""

    CLASS = "SimpleRNN"
    CELL = SimpleRNNCell
    OPTIONS: ClassVar[Mapping[str, Option]] = {**SimpleRNNCell.OPTIONS, **SEQUENCE_OPTIONS}


class GRU(CellLayer):
    """GRUCell over the timesteps."""

    CLASS = "GRU"
    CELL = GRUCell
    OPTIONS: ClassVar[Mapping[str, Option]] = {**GRUCell.OPTIONS, **SEQUENCE_OPTIONS}


class LSTM(CellLayer):
    """LSTMCell over the timesteps."""

    CLASS = "LSTM"
    CELL = LSTMCell
    OPTIONS: ClassVar[Mapping[str, Option]] = {**LSTMCell.OPTIONS, **SEQUENCE_OPTIONS}


class RNN(CellLayer):
    """A cell, or a list of cells on top of each other, over the timesteps."""

    CLASS = "RNN"
    NOTE = "over `SimpleRNNCell`, `GRUCell`, `LSTMCell`, or `StackedRNNCells` of these"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **SEQUENCE_OPTIONS,
        "cell": Option(lambda value: value, "a cell, or StackedRNNCells"),
    }

    def make_cell(self) -> Cell:
        """The cell in the option of that name."""
        document = self.options["cell"]
        _, class_name, config = unwrap(document, self.where)
        if class_name != StackedCells.CLASS:
            return self._one(document)
        if layer_policy(config.get("dtype"), self.where).compute != self.policy.compute:
            raise self.unsupported("cells of another dtype than the layer's are not supported")
        cells = config.get("cells")
        if not isinstance(cells, list) or not 0 < len(cells) <= 64:
            raise self.unsupported("cells is not a list of cells")
        if self.options["return_state"]:
            raise self.unsupported("return_state=True is not supported together with StackedRNNCells")
        return StackedCells(self.policy, tuple(self._one(cell) for cell in cells))

    def _one(self, document: Any) -> Cell:
        name, class_name, config = unwrap(document, self.where)
        kind = CELLS.get(class_name)
        if kind is None:
            raise self.unsupported(f"the cell {shown(class_name)} is not supported; expected one of {', '.join(CELLS)}")
        where = f"cell {name} ({class_name}) of {self.where}"
        options = parse(config, kind.OPTIONS, where, COMMON)
        policy = layer_policy(config.get("dtype"), where)
        check_composed(options, policy, where)
        if policy.compute != self.policy.compute:
            raise self.unsupported("cells of another dtype than the layer's are not supported")
        return kind(where, policy, options)
