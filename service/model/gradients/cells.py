"""Backpropagation through one timestep of each recurrent cell, and the weight gradients over all timesteps.

Equations: F. Gers, Long Short-Term Memory in Recurrent Neural Networks, 2001, appendix; K. Greff et al., LSTM: A Search
Space Odyssey, 2017, §II.B; for the other cells by the same chain rule. δ stands for the gradient by a pre-activation.
Arrays are laid out as in service.model.layers.cells: (timesteps, units, batch), a timestep being (units, batch).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.model.activations import ACTIVATIONS
from service.model.gradients.activations import COUPLED, SLOPES
from service.model.layers.cells import Cell, GRUCell, LSTMCell, SimpleRNNCell, StackedCells
from service.model.layers.patch import Hook
from service.model.tensors import Array

Through = Callable[[int, Array], Array]  # dL/d pre-activation of timestep t, from dL/d activation


class CellBack:
    """A cell on its way back over the timesteps.

    x (timesteps, features, batch); tensors: what a trace shows, by name; start: states before the first timestep,
    (units, batch) each; prefix: of the names by which the hook knows what it patches.
    """

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        x: Array,
        tensors: Mapping[str, Array],
        start: Sequence[Array],
        hook: Hook | None,
        prefix: str = "",
    ) -> None:
        self.cell, self.weights, self.x, self.hook, self.prefix = cell, weights, x, hook, prefix
        self.recurrent = weights["recurrent_kernel"]
        self.pre = tensors["pre_activation"]
        self.delta = np.empty_like(self.pre)  # δ of every timestep
        self.before = [
            np.concatenate((first[None], tensors[name][:-1]))
            for name, first in zip(cell.STATES, start, strict=True)
        ]  # fmt: skip
        self.prepare(tensors)

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Lays out what the steps need."""
        raise NotImplementedError

    def step(self, t: int, above: Sequence[Array], live: Array | None) -> list[Array]:
        """The gradients by the states before timestep t, from those by the states after it.

        Keeps δ. live (batch,): False where the timestep is masked.
        """
        raise NotImplementedError

    def output(self) -> Array:
        """What the cell above takes, (timesteps, units, batch): the output before the states are patched."""
        raise NotImplementedError

    def inputs(self) -> Array:
        """dL/dx = W·δ, (timesteps, features, batch)."""
        return np.matmul(self.weights["kernel"], self.delta)

    def input_at(self, t: int) -> Array:
        """dL/dx of one timestep."""
        return np.dot(self.weights["kernel"], self.delta[t])

    def by_weights(self) -> dict[str, Array]:
        """dL/dW = Σ x·δᵀ, dL/dU = Σ h·δᵀ, dL/db = Σ δ, over timesteps and batch."""
        found = {"kernel": over_all(self.x, self.delta), "recurrent_kernel": over_all(self.before[0], self.delta)}
        if "bias" in self.weights:
            found["bias"] = self.delta.sum(axis=(0, 2))
        return found

    def inside(self) -> dict[str, Array]:
        """δ by the name that a trace gives it."""
        return {"pre_activation": self.delta}

    def slope(self, option: str, pre: Array, opened: Array) -> Through:
        """The way back through an activation of the cell. `opened` are its values before any patch."""
        name = self.cell.options[option]
        if name in SLOPES:
            factor = SLOPES[name](pre, opened)
            return lambda t, above: above * factor[t]
        product = COUPLED[name]
        return lambda t, above: product(above.T, pre[t].T, opened[t].T).T

    def opened(self, option: str, pre: Array, recorded: Array) -> Array:
        """What an activation gave: as recorded, unless patches may have changed that since."""
        return recorded if self.hook is None else self.activated(option, pre)

    def activated(self, option: str, pre: Array) -> Array:
        """An activation of the cell, over its units."""
        return ACTIVATIONS[self.cell.options[option]](pre.swapaxes(1, 2)).swapaxes(1, 2)

    def unpatched(self, gate: str, above: Array) -> Array:
        """The gradient by a gate before its patches."""
        return above if self.hook is None else self.hook.back(f"{self.prefix}{gate}", above)

    def hold(self, t: int, live: Array | None) -> Array:
        """δ of a timestep, with masked sequences at zero."""
        delta = self.delta[t]
        if live is not None:
            delta[:, ~live] = 0
        return delta


class SimpleRNNBack(CellBack):
    """δ = dh ∘ f'(a), dh_before = U·δ."""

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """F' at every timestep."""
        self.h = self.opened("activation", self.pre, tensors["hidden_state"])
        self.back = self.slope("activation", self.pre, self.h)

    def output(self) -> Array:
        """f(a)."""
        return self.h

    def step(self, t: int, above: Sequence[Array], live: Array | None) -> list[Array]:
        """One product."""
        self.delta[t] = self.back(t, above[0])
        return [np.dot(self.recurrent, self.hold(t, live))]


class LSTMBack(CellBack):
    """dc += dh∘o∘g'(c), δo = dh∘g(c)∘σ', δi = dc∘c̃∘σ', δf = dc∘c_before∘σ', δc̃ = dc∘i∘g'; dc_before = dc∘f."""

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Gates as they were used, and what they were before patches."""
        names = self.cell.GATE_NAMES
        pres = np.split(self.pre, self.cell.GATES, axis=1)
        self.gates = [tensors[name] for name in names]
        options = ("recurrent_activation", "recurrent_activation", "activation", "recurrent_activation")
        self.back = [
            self.slope(option, pre, self.opened(option, pre, gate))
            for option, pre, gate in zip(options, pres, self.gates, strict=True)
        ]
        i, f, candidate, _ = self.gates
        c = tensors["cell_state"] if self.hook is None else f * self.before[1] + i * candidate
        self.shown = self.activated("activation", c)
        self.back_shown = self.slope("activation", c, self.shown)

    def output(self) -> Array:
        """o∘g(c)."""
        return self.gates[3] * self.shown

    def step(self, t: int, above: Sequence[Array], live: Array | None) -> list[Array]:
        """One product."""
        dh, dc = above
        i, f, candidate, o = (gate[t] for gate in self.gates)
        dc = dc + self.back_shown(t, dh * o)
        by_gates = (dc * candidate, dc * self.before[1][t], dc * i, dh * self.shown[t])
        blocks = np.split(self.delta[t], self.cell.GATES)
        for block, back, name, by in zip(blocks, self.back, self.cell.GATE_NAMES, by_gates, strict=True):
            block[...] = back(t, self.unpatched(name, by))
        return [np.dot(self.recurrent, self.hold(t, live)), dc * f]


class GRUBack(CellBack):
    """δc = dh∘(1-z)∘f', δz = dh∘(h_before - c)∘σ'; the reset gate by what it multiplies."""

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Gates as they were used; what the reset gate multiplies."""
        units = self.cell.units
        self.after = bool(self.cell.options["reset_after"])
        self.gates = [tensors[name] for name in self.cell.GATE_NAMES]
        options = ("recurrent_activation", "recurrent_activation", "activation")
        self.back = [
            self.slope(option, pre, self.opened(option, pre, gate))
            for option, pre, gate in zip(options, np.split(self.pre, 3, axis=1), self.gates, strict=True)
        ]
        (h,) = self.before
        if self.after:
            self.inner = np.matmul(self.recurrent[:, 2 * units :].T, h)
            if "bias" in self.weights:
                self.inner += self.weights["bias"][1, 2 * units :, None]
            # The gradient by the product with the state: as δ, but for the candidate, which the reset gate scales.
            self.delta_inner = np.empty_like(self.delta)
        else:
            self.delta_inner = self.delta

    def output(self) -> Array:
        """z∘h_before + (1 - z)∘c."""
        z, _, c = self.gates
        return z * self.before[0] + (1 - z) * c

    def step(self, t: int, above: Sequence[Array], live: Array | None) -> list[Array]:
        """One product with `reset_after`, else two."""
        units = self.cell.units
        (dh,), h = above, self.before[0][t]
        z, r, c = (gate[t] for gate in self.gates)
        back_z, back_r, back_c = self.back
        of_z, of_r, of_c = np.split(self.delta[t], 3)
        of_c[...] = back_c(t, self.unpatched("candidate", dh * (1 - z)))
        of_z[...] = back_z(t, self.unpatched("update_gate", dh * (h - c)))
        if self.after:
            of_r[...] = back_r(t, self.unpatched("reset_gate", of_c * self.inner[t]))
            self.hold(t, live)
            inner = self.delta_inner[t]
            inner[: 2 * units] = self.delta[t, : 2 * units]
            np.multiply(of_c, r, out=inner[2 * units :])
            return [dh * z + np.dot(self.recurrent, inner)]
        by_reset = np.dot(self.recurrent[:, 2 * units :], of_c)
        of_r[...] = back_r(t, self.unpatched("reset_gate", by_reset * h))
        self.hold(t, live)
        return [dh * z + by_reset * r + np.dot(self.recurrent[:, : 2 * units], self.delta[t, : 2 * units])]

    def by_weights(self) -> dict[str, Array]:
        """As in general; what the state is multiplied with goes by what comes of that product."""
        units = self.cell.units
        (h,) = self.before
        found = {"kernel": over_all(self.x, self.delta)}
        if self.after:
            found["recurrent_kernel"] = over_all(h, self.delta_inner)
        else:
            gates, candidate = self.delta[:, : 2 * units], self.delta[:, 2 * units :]
            found["recurrent_kernel"] = np.concatenate(
                (over_all(h, gates), over_all(self.gates[1] * h, candidate)), axis=1
            )
        if "bias" in self.weights:
            bias = self.delta.sum(axis=(0, 2))
            found["bias"] = np.stack((bias, self.delta_inner.sum(axis=(0, 2)))) if self.after else bias
        return found


class StackedBack:
    """Cells on top of each other; the way back goes from the uppermost down, at each timestep."""

    def __init__(
        self,
        cell: StackedCells,
        weights: Mapping[str, Array],
        x: Array,
        tensors: Mapping[str, Array],
        start: Sequence[Array],
        hook: Hook | None,
    ) -> None:
        self.parts: list[CellBack] = []
        self.widths = [len(one.states()) for one in cell.cells]
        place = 0
        for i, (one, width) in enumerate(zip(cell.cells, self.widths, strict=True)):
            prefix = f"cell_{i}/"
            shown, kernels = _within(tensors, prefix), _within(weights, prefix)
            self.parts.append(
                BACK[type(one)](one, kernels, x, shown, start[place : place + width], hook, prefix)
            )  # fmt: skip
            place += width
            x = shown["hidden_state"] if hook is None else self.parts[-1].output()

    def step(self, t: int, above: Sequence[Array], live: Array | None) -> list[Array]:
        """As CellBack.step, for the states of all cells, from the lowest."""
        gradients = list(above)
        end = len(gradients)
        by_output: Array | None = None  # what the cell above takes
        for part, width in zip(reversed(self.parts), reversed(self.widths), strict=True):
            own = list(above[end - width : end])
            if by_output is not None:
                own[0] = own[0] + by_output
            gradients[end - width : end] = part.step(t, own, live)
            by_output = part.input_at(t)
            end -= width
        return gradients

    def inputs(self) -> Array:
        """Of the lowest."""
        return self.parts[0].inputs()

    def by_weights(self) -> dict[str, Array]:
        """Of all cells."""
        return {f"cell_{i}/{name}": w for i, part in enumerate(self.parts) for name, w in part.by_weights().items()}

    def inside(self) -> dict[str, Array]:
        """Of all cells."""
        return {f"cell_{i}/{name}": a for i, part in enumerate(self.parts) for name, a in part.inside().items()}


BACK: dict[type[Cell], type[CellBack]] = {SimpleRNNCell: SimpleRNNBack, GRUCell: GRUBack, LSTMCell: LSTMBack}


def way_back(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    tensors: Mapping[str, Array],
    start: Sequence[Array],
    hook: Hook | None,
) -> CellBack | StackedBack:
    """The cell on its way back; arguments as of CellBack."""
    if isinstance(cell, StackedCells):
        return StackedBack(cell, weights, x, tensors, start, hook)
    return BACK[type(cell)](cell, weights, x, tensors, start, hook)


def _within(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def over_all(a: Array, b: Array) -> Array:
    """Σ over timesteps and batch of a·bᵀ; a (timesteps, n, batch), b (timesteps, m, batch), result (n, m)."""
    return np.tensordot(a, b, axes=((0, 2), (0, 2)))
