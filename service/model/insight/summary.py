"""Summaries of units and gates over many sequences: mean, spread, histogram, saturation; in bounded memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.model.composed import KERAS2_HARD_SIGMOID
from service.model.gradients.tape import Tape, wide
from service.model.layers.cells import Cell, StackedCells
from service.model.layers.patch import Patch
from service.model.layers.recurrent import CellLayer
from service.model.layers.wrappers import Bidirectional
from service.model.network import LayerCall, Network
from service.model.tensors import Array

BINS = 20
EDGE = 0.05  # of the range of an activation: within so much of an end, a value counts as saturated
DEAD = 0.01  # of the range: a unit whose standard deviation is below that hardly moves
RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    KERAS2_HARD_SIGMOID: (0.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "sparsemax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
}


@dataclass
class UnitSummary:
    """A state or gate of a layer over all timesteps seen, masked ones aside; arrays are (units,) or (units, BINS).

    low, high: the range of the histogram. For a gate it is that of its activation, for others that of the values
    first seen; what falls outside is counted in the outermost bins.
    """

    layer: str
    class_name: str
    tensor: str
    bounded: bool  # whether the activation has a range, so that a value can be saturated
    low: float
    high: float
    count: int = 0
    mean: Array = field(default_factory=lambda: np.zeros(0))
    squares: Array = field(default_factory=lambda: np.zeros(0))  # Σ (x - mean)²
    smallest: Array = field(default_factory=lambda: np.zeros(0))
    largest: Array = field(default_factory=lambda: np.zeros(0))
    histogram: Array = field(default_factory=lambda: np.zeros((0, BINS), np.int64))
    saturated_count: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def deviation(self) -> Array:
        """Standard deviation of the population."""
        return np.sqrt(self.squares / max(1, self.count))

    @property
    def saturated(self) -> Array:
        """Share of the values within EDGE of an end of the range; zero where there is none."""
        return self.saturated_count / max(1, self.count)

    @property
    def dead(self) -> Array:
        """Whether the unit hardly moves: its deviation is below DEAD of the range."""
        return np.asarray(self.deviation < DEAD * (self.high - self.low))

    def add(self, values: Array) -> None:
        """Takes values (n, units) into account: T. Chan et al., Updating Formulae for Sample Variances, 1979."""
        values = values.astype(np.float64)
        n = len(values)
        if not n:
            return
        if not self.count:
            units = values.shape[1]
            self.mean, self.squares = np.zeros(units), np.zeros(units)
            self.smallest, self.largest = np.full(units, np.inf), np.full(units, -np.inf)
            self.histogram = np.zeros((units, BINS), np.int64)
            self.saturated_count = np.zeros(units, np.int64)
        mean = values.mean(axis=0)
        shift, total = mean - self.mean, self.count + n
        self.squares += np.square(values - mean).sum(axis=0) + np.square(shift) * self.count * n / total
        self.mean = self.mean + shift * n / total
        self.count = total
        self.smallest = np.minimum(self.smallest, values.min(axis=0))
        self.largest = np.maximum(self.largest, values.max(axis=0))
        width = self.high - self.low
        with np.errstate(all="ignore"):
            bins = np.nan_to_num((values - self.low) / width * BINS, nan=0.0)
        bins = np.clip(bins, 0, BINS - 1).astype(np.int64)
        units = values.shape[1]
        counts = np.bincount((bins + np.arange(units) * BINS).ravel(), minlength=units * BINS)
        self.histogram += counts.reshape(units, BINS)
        if self.bounded:
            edge = EDGE * width
            self.saturated_count += ((values < self.low + edge) | (values > self.high - edge)).sum(axis=0)


class Summarizer:
    """Summaries of all states and gates of a network, batch by batch. Memory does not grow with the batches."""

    def __init__(self, network: Network, patches: Sequence[Patch] = ()) -> None:
        """`patches` hold in each batch; their ranges count within it."""
        self._network, self._patches = network, patches
        self._found: dict[tuple[str, str], UnitSummary] = {}
        self.sequences = 0
        self.timesteps = 0  # of all sequences together, as they were sent

    def add(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> None:
        """Takes a batch into account. Arguments and errors as `Network.trace`."""
        tape = Tape(self._network, inputs, initial_state, self._patches)
        first = next(iter(inputs.values()))
        self.sequences += len(first)
        self.timesteps += len(first) * (first.shape[1] if first.ndim > 1 else 1)
        for call in tape.calls:
            ranges = _ranges(call)
            for tensor, bounds in ranges.items():
                values = wide(call.record[tensor])
                mask = _mask(call, tensor)
                chosen = values.reshape(-1, values.shape[-1]) if mask is None else values[mask]
                key = (call.node.name, tensor)
                if key not in self._found:
                    self._found[key] = _empty(call, tensor, bounds, chosen)
                self._found[key].add(chosen)

    def summaries(self) -> list[UnitSummary]:
        """What was found so far, in the order of computation."""
        return list(self._found.values())


def _empty(call: LayerCall, tensor: str, bounds: tuple[float, float] | None, values: Array) -> UnitSummary:
    if bounds is None:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        margin = (high - low) / 2 or 1.0
        low, high = low - margin, high + margin
    else:
        low, high = bounds
    return UnitSummary(call.node.name, call.layer.CLASS, tensor, bounds is not None, low, high)


def _mask(call: LayerCall, tensor: str) -> Array | None:
    """The mask of a recurrent layer in the order in which a trace shows its timesteps."""
    mask = call.masks[0]
    if mask is not None and mask.ndim > 2:  # of positions: of a timestep counts what is not masked as a whole
        mask = np.asarray(mask.reshape(*mask.shape[:2], -1).any(axis=2))
    turned = isinstance(call.layer, CellLayer) and call.layer.backwards
    del tensor
    return mask if mask is None or not turned else mask[:, ::-1]


def _ranges(call: LayerCall) -> dict[str, tuple[float, float] | None]:
    """States and gates of a call, with the range of the activation that makes them."""
    if isinstance(call.layer, CellLayer):
        return _cell_ranges(call.layer.cell, "")
    if isinstance(call.layer, Bidirectional):
        found: dict[str, tuple[float, float] | None] = {}
        for part, direction in zip(call.layer.parts, call.layer.DIRECTIONS, strict=True):
            found |= _cell_ranges(part.cell, f"{direction}/")
        return found
    return {}


def _cell_ranges(cell: Cell, prefix: str) -> dict[str, tuple[float, float] | None]:
    if isinstance(cell, StackedCells):
        found: dict[str, tuple[float, float] | None] = {}
        for i, one in enumerate(cell.cells):
            found |= _cell_ranges(one, f"{prefix}cell_{i}/")
        return found
    own = RANGES.get(cell.options["activation"])
    gates = RANGES.get(cell.options.get("recurrent_activation", ""))
    found = {f"{prefix}{name}": own if name == "candidate" else gates for name in cell.GATE_NAMES}
    # A hidden state is an activation, or a mean of such; what a cell adds up in an LSTM has no bound.
    return found | {f"{prefix}{name}": own if name == "hidden_state" else None for name in cell.STATES}
