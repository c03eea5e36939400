"""Backpropagation through one timestep of ConvLSTMCell: as an LSTM's, with convolutions in place of products."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.cells import BACK, LSTMBack
from service.model.layers.conv_lstm import ConvLSTMCell, Sliding
from service.model.tensors import Array


class ConvLSTMBack(LSTMBack):
    """What each window saw gets W·δ of its place, and dL/dW is the sum of windows times δ."""

    cell: ConvLSTMCell

    def by_state(self, t: int, live: Array | None, before: Array) -> None:
        """Through the windows of the state."""
        self.hold(t, live)
        before[...] = self.through_windows(self.cell.of_state, "recurrent_kernel", t)

    def hand_on(self, live: Array, above: Sequence[Array], before: Sequence[Array]) -> None:
        """A unit that is masked is seen by neighbours that are not."""
        before[0][...] += np.where(live, 0, above[0])
        np.copyto(before[1], above[1], where=~live)

    def inputs(self) -> Array:
        """Through the windows of the input."""
        return np.stack([self.input_at(t) for t in range(len(self.delta))])

    def input_at(self, t: int) -> Array:
        """Of one timestep."""
        return self.through_windows(self.cell.of_input, "kernel", t)

    def by_weights(self) -> dict[str, Array]:
        """Over all timesteps."""
        found = {
            "kernel": self.over_windows(self.cell.of_input, self.x, "kernel"),
            "recurrent_kernel": self.over_windows(self.cell.of_state, self.before(0), "recurrent_kernel"),
        }
        if "bias" in self.weights:
            found["bias"] = sum(self.by_place(t).sum(axis=1) for t in range(len(self.delta)))
        return found

    def by_place(self, t: int) -> Array:
        """δ of a timestep as (4 · filters, places · batch)."""
        return self.cell.by_filter(self.delta[t]).reshape(4 * self.cell.filters, -1)

    def through_windows(self, sliding: Sliding, kernel: str, t: int) -> Array:
        """The gradient by what windows see at a timestep, (units, batch)."""
        weight = self.weights[kernel]
        batch = self.pre.shape[2]
        timestep, seen = sliding.memory(batch, self.delta.dtype)
        parts = (weight.reshape(sliding.rows, -1) @ self.by_place(t)).reshape(seen.shape)
        for into, part in zip(seen, parts, strict=True):  # places of one part of the window do not overlap
            into += part
        return timestep.reshape(-1, batch)

    def over_windows(self, sliding: Sliding, x: Array, kernel: str) -> Array:
        """Σ over timesteps, places and batch of what a window saw times δ; x (timesteps, units, batch)."""
        timestep, seen = sliding.memory(x.shape[2], x.dtype)
        total = np.zeros((sliding.rows, 4 * self.cell.filters), x.dtype)
        for t, given in enumerate(x):
            timestep[...] = given.reshape(timestep.shape)
            total += seen.reshape(sliding.rows, -1) @ self.by_place(t).T
        return total.reshape(self.weights[kernel].shape)


BACK[ConvLSTMCell] = ConvLSTMBack
