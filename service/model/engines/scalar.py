"""The scalar engine: plain Python numbers, for tiny networks at batch 1.

A call of NumPy costs microseconds whatever the size, and twice that inside a server, whose work between two calls
displaces what the processor had at hand. A network of a few dozen weights is fewer operations than that.

Sums are computed in double precision. The state is rounded to single precision at each timestep, as a caller sees it:
so a sequence fed in pieces gives the same bits as in one call. Covers layers in a row: SimpleRNN, GRU, LSTM forward,
Dense, scaling, softmax, and what does nothing to a prediction; float32, no masks, batch 1.
"""

import math
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import mul
from typing import Any

import numpy as np

from service.model.composed import KERAS2_HARD_SIGMOID, MIDDLE, SLOPE
from service.model.layers.cells import GRUCell, LSTMCell, SimpleRNNCell
from service.model.layers.dense import Dense
from service.model.layers.elementwise import Activation, Identity
from service.model.layers.normalization import Normalization, Rescaling
from service.model.layers.recurrent import CellLayer
from service.model.network import Network
from service.model.results import RawForward, RawResult, Result
from service.model.tensors import Array, RawSequence

MAX_WEIGHTS = 2_000  # above, NumPy is faster on any machine
MAX_RAW_BYTES = 4_096  # of one sequence; above, numbers of Python cost more than they save
MAX_WRITTEN_OUT = 512  # weights of a product that is written out as an expression
Row = Sequence[float]
Step = Callable[[Row, Row], Row]  # features, states -> states, one after the other; the first is the output
Point = Callable[[Row], Row]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0


def _softmax(row: Row) -> Row:
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    total = sum(powers)
    return [power / total for power in powers]


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    KERAS2_HARD_SIGMOID: lambda x: min(1.0, max(0.0, SLOPE * x + MIDDLE)),
    "relu": lambda x: x if x > 0 else 0.0,
    "softsign": lambda x: x / (1 + abs(x)),
}


class ScalarEngine:
    """A network in plain numbers. `forward` takes batches of 1 only."""

    name = "scalar"

    def __init__(self, network: Network, stages: Sequence["_Recurrence | _Pointwise"]) -> None:
        self._stages = stages
        self._input = network.inputs[0].name
        self._raw = RawSequence(network.inputs, network.outputs)
        self._output = network.outputs[0].name
        self._sequence = all(stage.every for stage in stages)

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward` on a batch of 1, within the bound of the proof."""
        final: dict[str, Array] = {}
        found = np.array(self._run(inputs[self._input][0].tolist(), initial_state, final), np.float32)
        return Result({self._output: found[None] if self._sequence else found}, final)

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """As `Choice.prepare`, with no array made on the way; for short sequences alone."""
        if not self._raw.takes(shape) or self._raw.size(shape) > MAX_RAW_BYTES:
            return None
        extents, runs, finite = shape[1:], [stage.run for stage in self._stages], math.isfinite
        zeros = self._run([(0.0,) * shape[2]] * shape[1], None, None)
        found = (1, len(zeros), len(zeros[0])) if self._sequence else (1, len(zeros[0]))
        pack = struct.Struct(f"{math.prod(found)}f").pack

        def forward(raw: bytes) -> RawResult | None:
            rows: list[Row] = memoryview(raw).cast("f", extents).tolist()  # type: ignore[assignment]
            if not finite(sum(map(sum, rows))):
                return None
            for run in runs:
                rows = run(rows, None, None)
            return RawResult(found, pack(*rows[0]) if len(rows) == 1 else pack(*chain.from_iterable(rows)))

        return forward

    def _run(self, rows: list[Row], initial: Mapping[str, Array] | None, final: dict[str, Array] | None) -> list[Row]:
        """Outputs of all timesteps or the last; the states after it go into `final`."""
        for stage in self._stages:
            rows = stage.run(rows, initial, final)
        return rows


class _Pointwise:
    """A layer that looks at one timestep."""

    every = True

    def __init__(self, function: Point) -> None:
        self._function = function

    def run(self, rows: list[Row], _initial: Mapping[str, Array] | None, _final: dict[str, Array] | None) -> list[Row]:
        """Each row by itself."""
        function = self._function
        return [function(row) for row in rows]


class _Recurrence:
    """A cell carried over the timesteps."""

    def __init__(self, step: Step, names: Sequence[str], units: int, every: bool) -> None:
        self.every = every
        self._step = step
        self._parts = {name: slice(i * units, (i + 1) * units) for i, name in enumerate(names)}
        self._units = units
        self._zero = (0.0,) * (units * len(names))
        rounding = struct.Struct(f"{len(self._zero)}f")
        self._pack, self._unpack = rounding.pack, rounding.unpack

    def run(self, rows: list[Row], initial: Mapping[str, Array] | None, final: dict[str, Array] | None) -> list[Row]:
        """Outputs, of all timesteps or the last; the states after it go into `final`."""
        state: Row = self._zero
        if initial:
            state = [
                number
                for name, part in self._parts.items()
                for number in (initial[name][0].tolist() if name in initial else self._zero[part])
            ]
        step, pack, unpack, units, every = self._step, self._pack, self._unpack, self._units, self.every
        outputs: list[Row] = []
        for row in rows:
            state = unpack(pack(*step(row, state)))  # single precision
            if every:
                outputs.append(state[:units])
        if final is not None:
            for name, part in self._parts.items():
                final[name] = np.array([state[part]], np.float32)
        return outputs if every else [state[:units]]


def make(network: Network) -> ScalarEngine | None:
    """The engine; None where the network has what it does not cover, or is too large to profit."""
    row = network.row()
    if (
        row is None
        or network.parameter_count > MAX_WEIGHTS
        or any(array.dtype != np.float32 for array in network.weights.values())
        or len(network.inputs[0].shape) != 3
        or network.inputs[0].dtype != np.float32
        or sys.byteorder != "little"  # bytes on the wire are read as they are
    ):
        return None
    stages: list[_Recurrence | _Pointwise] = []
    for layer in row:
        if isinstance(layer, Identity):
            continue
        weights = {name: array.astype(np.float64) for name, array in network.layer_weights(layer.name).items()}
        stage: _Recurrence | _Pointwise | None = None
        if isinstance(layer, Dense) and layer.options["activation"] in {*ACTIVATIONS, "softmax"}:
            stage = _Pointwise(_dense(weights, layer.options["activation"]))
        elif isinstance(layer, Activation) and layer.options["activation"] == "softmax":
            stage = _Pointwise(_softmax)
        elif isinstance(layer, Rescaling):
            stage = _Pointwise(_scaled(layer.options["scale"], layer.options["offset"]))
        elif isinstance(layer, Normalization) and layer.options["axis"] in {(-1,), (2,)} and "mean" in weights:
            stage = _Pointwise(_normalized(layer, weights))
        elif isinstance(layer, CellLayer) and not layer.backwards and not layer.options["return_state"]:
            stage = _recurrence(layer, weights)
        if stage is None:
            return None
        stages.append(stage)
    return ScalarEngine(network, stages)


def _recurrence(layer: CellLayer, weights: Mapping[str, Array]) -> _Recurrence | None:
    maker = MAKERS.get(type(layer.cell))
    if maker is None:
        return None
    names = {layer.cell.options["activation"], layer.cell.options.get("recurrent_activation", "linear")}
    if not names <= ACTIVATIONS.keys():
        return None
    return _Recurrence(
        maker(layer.cell.options, weights),
        [f"{layer.name}/{name}" for name in layer.cell.STATES],
        layer.cell.units,
        layer.return_sequences,
    )


def _dense(weights: Mapping[str, Array], activation: str) -> Point:
    bias, kernel = weights.get("bias"), weights["kernel"]
    if activation != "softmax":
        return _affine(bias, kernel, function=activation)
    affine = _affine(bias, kernel)
    return lambda row: _softmax(affine(row))


def _scaled(scale: Any, offset: Any) -> Point:
    """x · scale + offset."""
    if np.ndim(scale) == np.ndim(offset) == 0:
        return lambda row: [x * scale + offset for x in row]
    scales, offsets = np.broadcast_arrays(scale, offset)
    pairs = list(zip(scales.tolist(), offsets.tolist(), strict=True))
    if len(pairs) == 1:
        return _scaled(*pairs[0])
    return lambda row: [x * a + b for x, (a, b) in zip(row, pairs, strict=True)]


def _normalized(layer: Normalization, weights: Mapping[str, Array]) -> Point:
    """(x - mean) / deviation, or back."""
    mean, deviation = (array.astype(np.float64) for array in layer.prepare(weights))
    return _scaled(deviation, mean) if layer.options["invert"] else _scaled(1 / deviation, -mean / deviation)


def _simple(options: Mapping[str, Any], weights: Mapping[str, Array]) -> Step:
    """h = f(x·W + b + h·U)."""
    return _affine(weights.get("bias"), weights["kernel"], weights["recurrent_kernel"], function=options["activation"])


def _lstm(options: Mapping[str, Any], weights: Mapping[str, Array]) -> Step:
    function, gate = ACTIVATIONS[options["activation"]], ACTIVATIONS[options["recurrent_activation"]]
    units = options["units"]
    affine = _affine(weights.get("bias"), weights["kernel"], weights["recurrent_kernel"])

    def step(x: Row, state: Row) -> Row:
        sums = affine(x, state[:units])
        i, f = map(gate, sums[:units]), map(gate, sums[units : 2 * units])
        candidates, o = map(function, sums[2 * units : 3 * units]), map(gate, sums[3 * units :])
        c = [f1 * c1 + i1 * g1 for f1, c1, i1, g1 in zip(f, state[units:], i, candidates, strict=True)]
        return [*(o1 * function(c1) for o1, c1 in zip(o, c, strict=True)), *c]

    return step


def _gru(options: Mapping[str, Any], weights: Mapping[str, Array]) -> Step:
    function = ACTIVATIONS[options["activation"]]
    units, after = options["units"], options["reset_after"]
    kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
    bias = weights.get("bias", np.zeros(3 * units))
    outer, inner = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros(3 * units))
    both = 2 * units
    gates = _affine(
        (outer + inner)[:both], kernel[:, :both], recurrent[:, :both], function=options["recurrent_activation"]
    )
    candidates = _affine(outer[both:], kernel[:, both:])
    recurrences = _affine(inner[both:] if after else None, recurrent[:, both:])

    def step(x: Row, h: Row) -> Row:
        zr = gates(x, h)
        z, r = zr[:units], zr[units:]
        if after:
            back: Row = [r1 * total for r1, total in zip(r, recurrences(h), strict=True)]
        else:
            back = recurrences([r1 * h1 for r1, h1 in zip(r, h, strict=True)])
        new = [function(total + b) for b, total in zip(back, candidates(x), strict=True)]
        return [z1 * h1 + (1.0 - z1) * n1 for z1, h1, n1 in zip(z, h, new, strict=True)]

    return step


MAKERS: dict[type, Callable[[Mapping[str, Any], Mapping[str, Array]], Step]] = {
    SimpleRNNCell: _simple,
    LSTMCell: _lstm,
    GRUCell: _gru,
}


def _affine(bias: Array | None, *matrices: Array, function: str = "linear") -> Callable[..., Row]:
    """f(x·W + y·V + … + b) for rows x, y, …, one for each matrix, summed in the order of rows and columns.

    For few weights the sums are written out as one Python expression, three times quicker than a loop over them. The
    text that is compiled holds names made here and finite floats as `repr` writes them, nothing else.
    """
    stacked = np.concatenate(matrices)
    biases = [0.0] * stacked.shape[1] if bias is None else bias.tolist()
    columns = [(float(b), tuple(map(float, column))) for b, column in zip(biases, stacked.T.tolist(), strict=True)]
    f = ACTIVATIONS[function]
    if stacked.size > MAX_WRITTEN_OUT or not np.isfinite(stacked).all() or not np.isfinite(biases).all():
        return lambda *rows: [f(sum(map(mul, column, chain(*rows)), b)) for b, column in columns]
    rows = [[f"x{i}_{j}" for j in range(len(matrix))] for i, matrix in enumerate(matrices)]
    names = [name for row in rows for name in row]
    sums = [
        " + ".join([repr(b), *(f"{x} * {w!r}" for x, w in zip(names, column, strict=True))]) for b, column in columns
    ]
    elements = sums if function == "linear" else [f"f({total})" for total in sums]
    text = "\n ".join(
        [
            f"def affine({', '.join(f'x{i}' for i in range(len(rows)))}):",
            *(f"{', '.join(row)}, = x{i}" for i, row in enumerate(rows)),
            f"return [{', '.join(elements)}]",
        ]
    )
    scope: dict[str, Callable[..., Row]] = {}
    exec(text, {"f": f}, scope)  # noqa: S102  # see above
    return scope["affine"]
