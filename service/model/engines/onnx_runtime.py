"""ONNX Runtime, for heavy networks: the network as a graph of its native RNN, GRU and LSTM operators.

Covers layers in a row: recurrent ones (Bidirectional too), Dense, and what does nothing to a prediction; float32, no
masks. The states are inputs and outputs of the graph. Neither TensorFlow nor an exporter takes part.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from service.model.engines.onnx_format import Model
from service.model.layers.base import Layer
from service.model.layers.cells import Cell
from service.model.layers.dense import Dense
from service.model.layers.elementwise import Activation, Identity
from service.model.layers.recurrent import CellLayer, Recurrent
from service.model.layers.wrappers import Bidirectional
from service.model.network import Network, Result
from service.model.tensors import Array

RECURRENT_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign"}
ACTIVATIONS = {**RECURRENT_ACTIVATIONS, "softplus": "Softplus", "softmax": "Softmax"}
# Keras's gates in ONNX's order: LSTM i f c o -> i o f c, GRU z r h -> z r h.
OPERATORS = {"SimpleRNNCell": ("RNN", (0,)), "GRUCell": ("GRU", (0, 1, 2)), "LSTMCell": ("LSTM", (0, 3, 1, 2))}


class OnnxRuntimeEngine:
    """A network in ONNX Runtime, one thread."""

    name = "onnxruntime"

    def __init__(self, network: Network, session: Any) -> None:
        self._run = session.run
        self._fetched = [value.name for value in session.get_outputs()]
        self._input, self._output = network.inputs[0].name, network.outputs[0].name
        self._states = [(spec.name, spec.shape[1] or 0, spec.dtype) for spec in network.states]

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`, within the bound of the proof."""
        x, given = np.ascontiguousarray(inputs[self._input]), initial_state or {}
        feed = {self._input: x}
        for name, units, dtype in self._states:
            feed[name] = given[name] if name in given else np.zeros((len(x), units), dtype)
        output, *final = self._run(self._fetched, feed)
        return Result(
            {self._output: output}, {name: end for (name, _, _), end in zip(self._states, final, strict=True)}
        )


def make(network: Network) -> OnnxRuntimeEngine | None:
    """The engine; None where the network has what it does not cover, or onnxruntime is not installed."""
    model = build(network)
    if model is None:
        return None
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.serialized(), options, providers=["CPUExecutionProvider"])
    return OnnxRuntimeEngine(network, session)


def build(network: Network) -> Model | None:
    """The network as an ONNX graph; None where it has what is not covered."""
    row = network.row()
    if row is None or any(array.dtype != np.float32 for array in network.weights.values()):
        return None
    (spec,), (output,) = network.inputs, network.outputs
    if len(spec.shape) != 3 or spec.dtype != np.float32:
        return None
    model = Model()
    model.input(spec.name, spec.dtype, spec.shape)
    (value,) = model.node("Transpose", spec.name, perm=[1, 0, 2])  # (time, batch, features) from here on
    sequence = True
    finals: list[str] = []
    for layer in row:
        if isinstance(layer, Recurrent):
            made = _recurrent(model, network, layer, value)
            if made is None:
                return None
            value, sequence, states = made
            finals += states
        else:
            maker = next((make for kind, make in POINTWISE.items() if isinstance(layer, kind)), None)
            made_value = maker(model, network, layer, value) if maker else None
            if made_value is None:
                return None
            value = made_value
    if sequence:
        (value,) = model.node("Transpose", value, perm=[1, 0, 2])
    # A value may not have the name of an input, and states go in and come out: what comes out is told by its place.
    names = [output.name, *(f"final {state.name}" for state in network.states)]
    for name, place, shape in zip(
        names, [value, *finals], [output.shape, *(spec.shape for spec in network.states)], strict=True
    ):
        model.rename(place, name)
        model.output(name, np.dtype(np.float32), shape)
    return model


def _dense(model: Model, network: Network, layer: Layer, value: str) -> str | None:
    function = layer.options["activation"]
    if function != "linear" and function not in ACTIVATIONS:
        return None
    (value,) = model.node("MatMul", value, model.constant(network.weights[f"{layer.name}/kernel"]))
    bias = network.weights.get(f"{layer.name}/bias")
    if bias is not None:
        (value,) = model.node("Add", value, model.constant(bias))
    return _activation(model, function, value)


def _activation(model: Model, function: str, value: str) -> str | None:
    if function == "linear":
        return value
    if function not in ACTIVATIONS:
        return None
    (value,) = model.node(ACTIVATIONS[function], value)
    return value


POINTWISE: dict[type[Layer], Callable[[Model, Network, Layer, str], str | None]] = {
    Dense: _dense,
    Activation: lambda model, _, layer, value: _activation(model, layer.options["activation"], value),
    Identity: lambda _model, _network, _layer, value: value,
}


def _recurrent(model: Model, network: Network, layer: Recurrent, value: str) -> tuple[str, bool, list[str]] | None:
    """Output, whether it is a sequence, and final states of a recurrent layer on a (time, batch, n)."""
    if isinstance(layer, Bidirectional):
        parts, directions = layer.parts, ["forward/", "backward/"]
        if layer.options["merge_mode"] not in {"concat", "sum", "mul"} or parts[0].backwards:
            return None
    elif isinstance(layer, CellLayer):
        parts, directions = [layer], [""]
        if layer.backwards and layer.return_sequences:
            return None
    else:
        return None
    cells = [part.cell for part in parts]
    first = cells[0]
    if any(part.options["return_state"] for part in parts) or not all(_alike(cell, first) for cell in cells):
        return None
    operator, order = OPERATORS[first.CLASS]
    functions = [first.options["activation"]]
    if "recurrent_activation" in first.options:
        functions.insert(0, first.options["recurrent_activation"])
    if operator == "LSTM":
        functions.append(first.options["activation"])
    if not set(functions) <= RECURRENT_ACTIVATIONS.keys():
        return None
    weights = [
        {name: network.weights.get(f"{layer.name}/{d}{name}") for name in ("kernel", "recurrent_kernel", "bias")}
        for d in directions
    ]
    units, many = first.units, len(parts)
    states = [
        [f"{layer.name}/{direction}{name}" for direction in directions] for name in first.STATES
    ]  # by state, then by direction
    starts = []
    for names in states:
        wide = []
        for name in names:
            model.input(name, np.dtype(np.float32), (None, units))
            wide += model.node("Unsqueeze", name, model.constant(np.array([0])))
        starts += model.node("Concat", *wide, axis=0) if many > 1 else wide
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "activations": [RECURRENT_ACTIVATIONS[f] for f in functions] * many,
        "direction": "bidirectional" if many > 1 else "reverse" if parts[0].backwards else "forward",
    }
    if operator == "GRU":
        attributes["linear_before_reset"] = int(first.options["reset_after"])
    sequences = parts[0].return_sequences
    made = model.node(
        operator,
        value,
        model.constant(np.stack([_gates(w["kernel"], order) for w in weights])),
        model.constant(np.stack([_gates(w["recurrent_kernel"], order) for w in weights])),
        model.constant(np.stack([_biases(w["bias"], units, order) for w in weights])),
        "",
        *starts,
        outputs=sequences + len(states),
        omitted=not sequences,  # what is not asked for is not written either
        **attributes,
    )
    ends: list[list[str]] = [
        _each(model, final, many, axis=0) for final in made[-len(states) :]
    ]  # by state, then by direction: (batch, units)
    outputs = _each(model, made[0], many, axis=1) if sequences else ends[0]
    if many == 1:
        merged = outputs[0]
    elif layer.options["merge_mode"] == "concat":
        (merged,) = model.node("Concat", *outputs, axis=-1)
    else:
        (merged,) = model.node("Add" if layer.options["merge_mode"] == "sum" else "Mul", *outputs)
    return merged, sequences, [ends[s][d] for d in range(many) for s in range(len(states))]


def _alike(cell: Cell, other: Cell) -> bool:
    keys = ("units", "activation", "recurrent_activation", "reset_after")
    return (
        cell.CLASS == other.CLASS
        and cell.CLASS in OPERATORS
        and all(cell.options.get(key) == other.options.get(key) for key in keys)
    )


def _each(model: Model, value: str, many: int, axis: int) -> list[str]:
    """The directions of a value, one by one, without their axis."""
    parts = model.node("Split", value, outputs=many, axis=axis) if many > 1 else [value]
    return [model.node("Squeeze", part, model.constant(np.array([axis])))[0] for part in parts]


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
