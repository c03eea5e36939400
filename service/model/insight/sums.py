"""One pre-activation written out: every product in the sum, in the order of addition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidArgumentError, NotFoundError
from service.model.gradients.base import Seen
from service.model.gradients.tape import seen_by
from service.model.insight.memory import parts
from service.model.layers.cells import Cell, GRUCell, StackedCells
from service.model.layers.conv_lstm import ConvLSTMCell
from service.model.layers.dense import Dense
from service.model.layers.patch import Patch
from service.model.layers.recurrent import Recurrent
from service.model.network import LayerCall, Network
from service.model.tensors import Array


@dataclass(frozen=True)
class Term:
    """value · weight; a bias is multiplied with 1, and `gate` (the reset gate, else 1) with the product."""

    source: str  # `hidden_state[3]` before the timestep, `input[0]`, or `1`
    weight_name: str  # `gru/recurrent_kernel[3, 5]`
    value: float
    weight: float
    gate: float = 1.0

    @property
    def product(self) -> float:
        """What it adds."""
        return self.value * self.weight * self.gate


@dataclass(frozen=True)
class Sum:
    """A pre-activation, (timestep, column) of one sequence, term by term."""

    layer: str
    sequence: int
    timestep: int
    column: int  # of the pre-activation, gates side by side
    terms: tuple[Term, ...]
    total: float  # the pre-activation that was computed


def written_out(
    network: Network,
    inputs: Mapping[str, Array],
    initial_state: Mapping[str, Array],
    patches: Sequence[Patch],
    wanted: Sequence[tuple[str, int, int, int]],
) -> list[Sum]:
    """The sums of some (layer, sequence, timestep, column). A layer may have its direction or cell after it.

    Raises NotFoundError for a layer that does not exist, and as `write_out`.
    """
    _, recorded = network.record(inputs, initial_state, patches)
    calls = {call.node.name: call for call in recorded}
    found = []
    for i, (layer, *place) in enumerate(wanted):
        name = max((n for n in calls if f"{layer}/".startswith(f"{n}/")), key=len, default="")
        if not name:
            raise NotFoundError(f"no layer {layer!r}; there are: {', '.join(calls)}", field=f"sums[{i}].layer")
        found.append(write_out(calls[name], layer[len(name) + 1 :], *place))
    return found


def write_out(call: LayerCall, direction: str, sequence: int, timestep: int, column: int) -> Sum:
    """The sum of one element of `pre_activation` of a Dense or recurrent layer.

    direction: of a Bidirectional, `forward` or `backward`; `cell_1` of stacked cells; else empty.

    Raises InvalidArgumentError for a layer without a pre-activation, and for what is outside it.
    """
    if isinstance(call.layer, Dense):
        return _of_dense(call, sequence, timestep, column)
    if not isinstance(call.layer, Recurrent):
        raise InvalidArgumentError(f"sums: {call.layer.where} has no sums to write out", field="sums")
    name, _, inner = direction.partition("/")
    found = {part.name: part for part in parts(call)}
    wanted = next((n for n in (f"{call.node.name}/{name}", call.node.name) if n in found), "")
    if not wanted:
        raise InvalidArgumentError(
            f"sums: {call.node.name} has two directions, forward and backward; name one", field="sums"
        )
    part = found[wanted]
    x = part.seen.x[:, ::-1] if part.layer.backwards else part.seen.x
    inner = name if wanted == call.node.name else inner
    return _of_cell(part.name, part.layer.cell, part.seen, x, inner, (sequence, timestep, column))


def _of_dense(call: LayerCall, sequence: int, timestep: int, column: int) -> Sum:
    seen = seen_by(call)
    pre, x = seen.record["pre_activation"], seen.x
    if pre.ndim == 2:
        pre, x = pre[:, None], x[:, None]
    if pre.ndim != 3:
        raise InvalidArgumentError(f"sums: {call.layer.where} has more axes than sums are shown for", field="sums")
    _check(call.node.name, pre, sequence, timestep, column)
    terms = _products(f"{call.node.layer}/kernel", "input", x[sequence, timestep], seen.weights["kernel"], column)
    if "bias" in seen.weights:
        terms.append(_bias(f"{call.node.layer}/bias[{column}]", seen.weights["bias"][column]))
    total = float(pre[sequence, timestep, column])
    return Sum(call.node.name, sequence, timestep, column, tuple(terms), total)


def _of_cell(name: str, cell: Cell, seen: Seen, x: Array, inner: str, place: tuple[int, int, int]) -> Sum:
    prefix, first = "", 0
    x = x.reshape(*x.shape[:2], -1)
    if isinstance(cell, StackedCells):
        numbers = {f"cell_{i}": i for i in range(len(cell.cells))}
        if inner not in numbers:
            raise InvalidArgumentError(f"sums: {name} has cells; name one of {', '.join(numbers)}", field="sums")
        number = numbers[inner]
        if number:
            x = seen.record[f"cell_{number - 1}/hidden_state"]
        first = sum(len(one.states()) for one in cell.cells[:number])
        prefix, cell = f"{inner}/", cell.cells[number]
    sequence, timestep, column = place
    pre = seen.record[f"{prefix}pre_activation"]
    _check(name, pre, sequence, timestep, column)
    hidden = seen.record[f"{prefix}hidden_state"]
    start = np.zeros(cell.units, pre.dtype) if seen.start is None else seen.start[first][sequence].ravel()
    before = start if timestep == 0 else hidden[sequence, timestep - 1]
    weights = {n.removeprefix(prefix): w for n, w in seen.weights.items() if n.startswith(prefix)}
    full = f"{name}/{prefix}"
    total = float(pre[sequence, timestep, column])
    if isinstance(cell, ConvLSTMCell):
        terms = _of_windows(full, cell, weights, before, x[sequence, timestep], column)
        return Sum(name, sequence, timestep, column, tuple(terms), total)
    of_x = _products(f"{full}kernel", "input", x[sequence, timestep], weights["kernel"], column)
    bias = weights.get("bias")
    gate, candidate = 1.0, isinstance(cell, GRUCell) and column >= 2 * cell.units
    after = isinstance(cell, GRUCell) and bool(cell.options["reset_after"])
    if candidate:
        reset = seen.record[f"{prefix}reset_gate"][sequence, timestep]
        if after:
            gate = float(reset[column - 2 * cell.units])
        else:
            before = before * reset
    of_h = _products(f"{full}recurrent_kernel", "hidden_state", before, weights["recurrent_kernel"], column, gate)
    if isinstance(cell, GRUCell):
        terms = of_x
        if bias is not None:
            terms.append(
                _bias(f"{full}bias[{'0, ' if after else ''}{column}]", bias[0, column] if after else bias[column])
            )
        terms += of_h
        if bias is not None and after:
            terms.append(_bias(f"{full}bias[1, {column}]", bias[1, column], gate))
    else:
        terms = of_h + of_x
        if bias is not None:
            terms.append(_bias(f"{full}bias[{column}]", bias[column]))
    return Sum(name, sequence, timestep, column, tuple(terms), total)


def _of_windows(
    full: str, cell: ConvLSTMCell, weights: Mapping[str, Array], before: Array, x: Array, column: int
) -> list[Term]:
    gate, unit = divmod(column, cell.units)
    place, of_filter = cell.place_and_filter(unit)
    last = gate * cell.filters + of_filter
    terms = [
        Term(
            f"{source}[{i}]", f"{full}{name}[{k}, {channel}, {last}]", float(values[i]), float(kernel[k, channel, last])
        )
        for source, name, values, sliding in (
            ("hidden_state", "recurrent_kernel", before, cell.of_state),
            ("input", "kernel", x, cell.of_input),
        )
        for kernel in (weights[name],)
        for (k, channel), i in sliding.window(place)
    ]
    if "bias" in weights:
        terms.append(_bias(f"{full}bias[{last}]", weights["bias"][last]))
    return terms


def _products(weight: str, source: str, values: Array, kernel: Array, column: int, gate: float = 1.0) -> list[Term]:
    return [
        Term(f"{source}[{i}]", f"{weight}[{i}, {column}]", float(value), float(kernel[i, column]), gate)
        for i, value in enumerate(values)
    ]


def _bias(name: str, value: Array, gate: float = 1.0) -> Term:
    return Term("1", name, 1.0, float(value), gate)


def _check(layer: str, pre: Array, sequence: int, timestep: int, column: int) -> None:
    for what, index, extent in zip(
        ("sequence", "timestep", "column"), (sequence, timestep, column), pre.shape, strict=True
    ):
        if not 0 <= index < extent:
            raise InvalidArgumentError(
                f"sums: {what} {index} is not within 0:{extent} of the pre-activation of {layer}", field="sums"
            )
