"""The scalar engine: plain Python numbers, for tiny networks at batch 1.

A call of NumPy costs microseconds whatever the size, and twice that inside a server, whose work between two calls
displaces what the processor had at hand. A network of a few dozen weights is fewer operations than that.

Sums are computed in double precision. The state is rounded to single precision at each timestep, as a caller sees it:
so a sequence fed in pieces gives the same bits as in one call. Covers layers in a row: SimpleRNN, GRU, LSTM forward,
Dense, scaling, softmax, and what does nothing to a prediction; float32, no masks, batch 1.

The whole forward pass is one Python function, which `service.model.engines.written` makes.
"""

import math
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from service.model.engines import written
from service.model.engines.written import ACTIVATIONS, Source
from service.model.layers.base import Layer
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


class ScalarEngine:
    """A network in plain numbers. `forward` takes batches of 1 only."""

    name = "scalar"

    def __init__(self, network: Network, source: Source, states: Mapping[str, int]) -> None:
        """states: units of the states, by name, in the order of the source."""
        self._input = network.inputs[0].name
        self._raw = RawSequence(network.inputs, network.outputs)
        self._output = network.outputs[0].name
        self._run = source.compiled()
        self._sequence, self._width = source.every, len(source.outputs)
        self._zeros = {name: (0.0,) * units for name, units in states.items()}

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward` on a batch of 1, within the bound of the proof."""
        given = initial_state or {}
        before = [given[name][0].tolist() if name in given else zero for name, zero in self._zeros.items()]
        outputs, after = self._run(inputs[self._input][0].tolist(), before)
        found = np.array(outputs, np.float32).reshape((1, -1, self._width) if self._sequence else (1, self._width))
        final = {name: np.array([state], np.float32) for name, state in zip(self._zeros, after, strict=True)}
        return Result({self._output: found}, final)

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """As `Choice.prepare`, with no array made on the way; for short sequences alone."""
        if not self._raw.takes(shape) or self._raw.size(shape) > MAX_RAW_BYTES:
            return None
        _, timesteps, features = shape
        numbers, rows = struct.Struct(f"{timesteps * features}f").unpack, struct.Struct(f"{features}f").iter_unpack
        pack = struct.Struct(f"{self._width * (timesteps if self._sequence else 1)}f").pack
        run, finite, zeros = self._run, math.isfinite, tuple(self._zeros.values())

        def forward(raw: bytes) -> RawResult | None:
            if not finite(sum(numbers(raw))):
                return None
            return pack(*run(rows(raw), zeros)[0]), None

        return forward


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
    features = network.inputs[0].shape[2]
    if features is None:
        return None
    source, states = Source(features), dict[str, int]()
    for layer in row:
        weights = {name: array.astype(np.float64) for name, array in network.layer_weights(layer.name).items()}
        if isinstance(layer, Identity):
            continue
        if isinstance(layer, CellLayer):
            maker = CELLS.get(type(layer.cell))
            if maker is None or layer.backwards or layer.options["return_state"] or not _known(layer.cell.options):
                return None
            source.carry(
                maker(layer.cell.options, weights), layer.cell.units, len(layer.cell.STATES), layer.return_sequences
            )
            states |= {f"{layer.name}/{name}": layer.cell.units for name in layer.cell.STATES}
        else:
            point = _point(layer, weights)
            if point is None:
                return None
            source.write(point)
    return ScalarEngine(network, source, states)


CELLS: Mapping[type, Callable[[Mapping[str, Any], written.Weights], written.Cell]] = {
    SimpleRNNCell: written.simple,
    LSTMCell: written.lstm,
    GRUCell: written.gru,
}


def _known(options: Mapping[str, Any]) -> bool:
    """Whether a cell has no activation that is not known here."""
    return {options["activation"], options.get("recurrent_activation", "linear")} <= ACTIVATIONS.keys()


def _point(layer: Layer, weights: written.Weights) -> written.Point | None:
    """A layer that looks at one timestep; None: another, or with an activation that is not known here."""
    if isinstance(layer, Dense) and layer.options["activation"] in {*ACTIVATIONS, "softmax"}:
        return written.dense(weights, layer.options["activation"])
    if isinstance(layer, Activation) and layer.options["activation"] == "softmax":
        return written.softmax
    if isinstance(layer, Rescaling):
        return written.scaled(layer.options["scale"], layer.options["offset"])
    if isinstance(layer, Normalization) and layer.options["axis"] in {(-1,), (2,)} and "mean" in weights:
        mean, deviation = (array.astype(np.float64) for array in layer.prepare(weights))
        if layer.options["invert"]:
            return written.scaled(deviation, mean)
        return written.scaled(1 / deviation, -mean / deviation)
    return None
