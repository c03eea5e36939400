"""Recurrent layers as ONNX operators, their states as inputs and outputs of the graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.model.composed import KERAS2_HARD_SIGMOID
from service.model.engines.onnx_builder import Builder, Value
from service.model.engines.onnx_masks import packing
from service.model.layers.cells import Cell
from service.model.layers.recurrent import CellLayer, Recurrent
from service.model.layers.wrappers import Bidirectional
from service.model.tensors import Array

RECURRENT_ACTIVATIONS = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "softsign": "Softsign",
    KERAS2_HARD_SIGMOID: "HardSigmoid",  # whose defaults, alpha 0.2 and beta 0.5, are Keras 2's
}
# Keras's gates in ONNX's order: LSTM i f c o -> i o f c, GRU z r h -> z r h.
OPERATORS = {"SimpleRNNCell": ("RNN", (0,)), "GRUCell": ("GRU", (0, 1, 2)), "LSTMCell": ("LSTM", (0, 3, 1, 2))}


def recurrent(b: Builder, call: str, layer: Recurrent, x: Value, initial: Sequence[Value]) -> list[Value] | None:
    """Output, and with `return_state` the final states.

    x has a mask where the layer goes by one.
    """
    if isinstance(layer, Bidirectional):
        parts, directions = layer.parts, ["forward/", "backward/"]
        if layer.options["merge_mode"] is None or parts[0].backwards:
            return None
    elif isinstance(layer, CellLayer):
        parts, directions = [layer], [""]
        if layer.backwards and layer.return_sequences:
            return None
    else:
        return None
    cells = [part.cell for part in parts]
    first = cells[0]
    if not all(_same_kind(cell, first) for cell in cells):
        return None
    operator, order = OPERATORS[first.CLASS]
    functions = [first.options["activation"]]
    if "recurrent_activation" in first.options:
        functions.insert(0, first.options["recurrent_activation"])
    if operator == "LSTM":
        functions.append(first.options["activation"])
    if not set(functions) <= RECURRENT_ACTIVATIONS.keys():
        return None
    own = b.weights(layer)
    weights = [{name: own.get(f"{d}{name}") for name in ("kernel", "recurrent_kernel", "bias")} for d in directions]
    units, many = first.units, len(parts)
    states = [f"{call}/{d}{name}" for d in directions for name in first.STATES]  # by direction, then by state
    if not initial:
        for name in states:
            b.model.input(name, np.dtype(np.float32), (None, units))
    begin = [value.name for value in initial] or states
    kinds = len(first.STATES)
    starts = []
    for kind in range(kinds):
        wide = [b.node("Unsqueeze", name, b.constant([0], np.int64)) for name in begin[kind::kinds]]
        starts.append(b.node("Concat", *wide, axis=0) if many > 1 else wide[0])
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "activations": [RECURRENT_ACTIVATIONS[f] for f in functions] * many,
        "direction": "bidirectional" if many > 1 else "reverse" if parts[0].backwards else "forward",
    }
    if operator == "GRU":
        attributes["linear_before_reset"] = int(first.options["reset_after"])
    sequences = parts[0].return_sequences
    packed = packing(b, x.mask) if x.mask else None
    made = b.model.node(
        operator,
        packed.packed(b, x) if packed else b.time_major(x),
        b.constant(np.stack([_gates(w["kernel"], order) for w in weights])),
        b.constant(np.stack([_gates(w["recurrent_kernel"], order) for w in weights])),
        b.constant(np.stack([_biases(w["bias"], units, order) for w in weights])),
        packed.lengths if packed else "",
        *starts,
        outputs=sequences + kinds,
        omitted=not sequences,  # what is not asked for is not written either
        **attributes,
    )
    each = [_each(b, final, many, axis=0) for final in made[-kinds:]]  # by state, then by direction
    ends = [each[kind][direction] for direction in range(many) for kind in range(kinds)]
    last = ends[::kinds]
    if packed:
        # Before its first timestep a layer shows its first state; zeros where that is one that the graph names.
        shown = [b.constant(0)] * many if initial else begin[::kinds]
        last = [b.node("Where", packed.none, *pair) for pair in zip(shown, last, strict=True)]
        ends = [b.node("Where", packed.none, *pair) for pair in zip(begin, ends, strict=True)]
    if not initial:
        b.finals.update(zip(states, ends, strict=True))
    outputs = _each(b, made[0], many, axis=1) if sequences else last
    merged = _merged(b, layer.options["merge_mode"], outputs) if many > 1 else outputs[0]
    zero = parts[0].zero_masked  # both directions of a Bidirectional have the same
    if packed and sequences:
        before = b.constant(0) if zero or initial else b.node("Unsqueeze", begin[0], b.constant([1], np.int64))
        merged = packed.unpacked(b, merged, before, repeat=not zero)
    elif packed and zero:
        merged = packed.last(b, merged, first=parts[0].backwards)
    found = [Value(merged, x.shape, time_major=sequences and not packed)]
    return found + [Value(end, x.shape) for end in ends] if parts[0].options["return_state"] else found


def _merged(b: Builder, mode: str, outputs: Sequence[str]) -> str:
    if mode == "concat":
        return b.node("Concat", *outputs, axis=-1)
    merged = b.node("Mul" if mode == "mul" else "Add", *outputs)
    return b.node("Div", merged, b.constant(2)) if mode == "ave" else merged


def _same_kind(cell: Cell, other: Cell) -> bool:
    keys = ("units", "activation", "recurrent_activation", "reset_after")
    return (
        cell.CLASS == other.CLASS
        and cell.CLASS in OPERATORS
        and all(cell.options.get(key) == other.options.get(key) for key in keys)
    )


def _each(b: Builder, value: str, many: int, axis: int) -> list[str]:
    """The directions of a value, one by one, without their axis."""
    parts = b.model.node("Split", value, outputs=many, axis=axis) if many > 1 else [value]
    return [b.node("Squeeze", part, b.constant([axis], np.int64)) for part in parts]


def _gates(matrix: Array | None, order: tuple[int, ...]) -> Array:
    """A kernel (n, gates · units) as ONNX wants it: (gates · units, n), the gates in its order."""
    assert matrix is not None
    blocks = np.split(matrix, len(order), axis=1)
    return np.concatenate([blocks[i] for i in order], axis=1).T


def _biases(bias: Array | None, units: int, order: tuple[int, ...]) -> Array:
    """Biases of input and recurrence, one after the other: (2 · gates · units)."""
    both = np.zeros((2, len(order) * units), np.float32)
    if bias is not None:
        both[: bias.ndim if bias.ndim == 2 else 1] = bias
    return np.concatenate([np.split(row, len(order))[i] for row in both for i in order])
