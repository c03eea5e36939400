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

BLOCK = 32_768  # elements of pre-activations whose factors are laid out at a time: as many as stay in the cache


class CellBack:
    """A cell on its way back over the timesteps.

    x (timesteps, features, batch); tensors: what a trace shows, by name; start: states before the first timestep,
    (units, batch) each; prefix: of the names by which the hook knows what it patches.

    What an elementwise activation lets through is a factor that does not depend on what comes from above. The factors
    of some timesteps are computed at a time, with all else that the same number is multiplied with.
    """

    OPTIONS: tuple[str, ...]  # the activation of each block of the pre-activation, in order
    NAMES: tuple[str, ...] = ("",)  # the gate of each block

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
        self.delta = np.empty(self.pre.shape, self.pre.dtype)  # δ of every timestep
        self.gates = [tensors[name] for name in cell.GATE_NAMES]
        self.start, self.states = start, [tensors[name] for name in cell.STATES]
        timesteps, rows, batch = self.pre.shape
        shape = (timesteps, len(self.OPTIONS), rows // len(self.OPTIONS), batch)
        self.pres, self.deltas = self.pre.reshape(shape), self.delta.reshape(shape)  # by blocks
        self.coupled = [i for i, option in enumerate(self.OPTIONS) if cell.options[option] in COUPLED]
        self.touched = range(len(self.OPTIONS)) if hook is not None else self.coupled
        self.size = max(1, BLOCK // max(1, rows * batch))
        self.first = timesteps  # of those whose factors are laid out
        self.factors = np.empty((min(self.size, timesteps), *shape[1:]), self.pre.dtype)
        self.prepare(tensors)

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Lays out what the steps need beside the factors."""

    def lay_out(self, begin: int, end: int, factors: Array) -> None:
        """Writes the factors of the timesteps from `begin` to `end`, (timesteps, blocks, units, batch)."""
        raise NotImplementedError

    def step(self, t: int, above: Sequence[Array], live: Array | None, before: Sequence[Array]) -> None:
        """The gradients by the states before timestep t, written into `before`, from those by the states after it.

        Keeps δ. live (batch,), or (units, batch): False where the timestep is masked.
        """
        raise NotImplementedError

    def hand_on(self, live: Array, above: Sequence[Array], before: Sequence[Array]) -> None:
        """Where a timestep is masked, the states before it get what those after it get."""
        hand_on(live, above, before)

    def output(self) -> Array:
        """What the cell above takes, (timesteps, units, batch): the output before the states are patched."""
        raise NotImplementedError

    def inputs(self) -> Array:
        """dL/dx = W·δ, (timesteps, features, batch)."""
        return at_each(self.weights["kernel"], self.delta)

    def input_at(self, t: int) -> Array:
        """dL/dx of one timestep."""
        return np.dot(self.weights["kernel"], self.delta[t])

    def by_state(self, t: int, live: Array | None, before: Array) -> None:
        """Writes dL/dh_before = U·δ of a timestep."""
        np.dot(self.recurrent, self.hold(t, live), before)

    def by_weights(self) -> dict[str, Array]:
        """dL/dW = Σ x·δᵀ, dL/dU = Σ h·δᵀ, dL/db = Σ δ, over timesteps and batch."""
        found = {"kernel": over_all(self.x, self.delta), "recurrent_kernel": over_all(self.before(0), self.delta)}
        if "bias" in self.weights:
            found["bias"] = self.delta.sum(axis=(0, 2))
        return found

    def inside(self) -> dict[str, Array]:
        """δ by the name that a trace gives it."""
        return {"pre_activation": self.delta}

    def before(self, state: int, begin: int = 0, end: int | None = None) -> Array:
        """A state before each of some timesteps."""
        then, end = self.states[state], len(self.pre) if end is None else end
        return then[begin - 1 : end - 1] if begin else np.concatenate((self.start[state][None], then[: end - 1]))

    def at(self, t: int) -> Array:
        """The factors of a timestep, (blocks, units, batch). Timesteps are asked for from the last to the first."""
        if t < self.first:
            begin = max(0, t + 1 - self.size)
            self.lay_out(begin, t + 1, self.factors[: t + 1 - begin])
            self.first = begin
        return self.factors[t - self.first]

    def slope(self, option: str, pre: Array, opened: Array) -> Array:
        """The derivative of an activation; ones where it is coupled over units, which `through` goes back through."""
        name = self.cell.options[option]
        return SLOPES[name](pre, opened) if name in SLOPES else np.ones_like(pre)

    def through(self, block: int, t: int) -> None:
        """Takes δ of a block back through patches of the gate, and through an activation that is coupled over units."""
        delta = self.deltas[t, block]
        if self.hook is not None and self.NAMES[block]:
            delta[...] = self.hook.back(f"{self.prefix}{self.NAMES[block]}", delta)
        if block in self.coupled:
            option, pre = self.OPTIONS[block], self.pres[t : t + 1, block]
            opened = self.opened(block, t, t + 1)
            delta[...] = self.over_last(COUPLED[self.cell.options[option]], delta, pre[0], opened[0])

    def opened(self, block: int, begin: int, end: int) -> Array:
        """What the activation of a block gave: as recorded, unless patches may have changed that since."""
        if self.hook is None:
            return self.gates[block][begin:end]
        return self.activated(self.OPTIONS[block], self.pres[begin:end, block])

    def activated(self, option: str, pre: Array) -> Array:
        """An activation of the cell, over its units."""
        name = self.cell.options[option]
        return ACTIVATIONS[name](pre) if name in SLOPES else self.over_last(ACTIVATIONS[name], pre)

    def over_last(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """A function over the last axis of states, of arrays (…, units, batch)."""
        shape, width = arrays[0].shape, self.cell.shape[-1]
        split = (*shape[:-2], -1, width, shape[-1])
        laid = function(*(array.reshape(split).swapaxes(-1, -2) for array in arrays))
        return laid.swapaxes(-1, -2).reshape(shape)

    def hold(self, t: int, live: Array | None) -> Array:
        """δ of a timestep, with masked sequences at zero."""
        if live is not None:
            np.copyto(self.deltas[t], 0, where=~live)
        return self.delta[t]


class SimpleRNNBack(CellBack):
    """δ = dh ∘ f'(a), dh_before = U·δ."""

    OPTIONS = ("activation",)

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Its output is all that it opens."""
        self.gates = [tensors["hidden_state"]]

    def lay_out(self, begin: int, end: int, factors: Array) -> None:
        """F'."""
        factors[:, 0] = self.slope("activation", self.pre[begin:end], self.opened(0, begin, end))

    def output(self) -> Array:
        """f(a)."""
        return self.opened(0, 0, len(self.pre))

    def step(self, t: int, above: Sequence[Array], live: Array | None, before: Sequence[Array]) -> None:
        """One product."""
        np.multiply(above[0], self.at(t)[0], self.delta[t])
        for block in self.touched:
            self.through(block, t)
        self.by_state(t, live, before[0])


class LSTMBack(CellBack):
    """dc += dh∘o∘g'(c), δo = dh∘g(c)∘σ', δi = dc∘c̃∘σ', δf = dc∘c_before∘σ', δc̃ = dc∘i∘g'; dc_before = dc∘f."""

    OPTIONS = ("recurrent_activation", "recurrent_activation", "activation", "recurrent_activation")
    NAMES = LSTMCell.GATE_NAMES

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """Memory for what goes back from the output to the cell state, and how."""
        self.cells = tensors["cell_state"]
        self.carry = np.empty((len(self.factors), *self.cells.shape[1:]), self.pre.dtype)  # o∘g'(c)
        self.by_cell = np.empty(self.cells.shape[1:], self.pre.dtype)

    def cell_then(self, begin: int, end: int) -> Array:
        """The cell state before any patch of it."""
        i, f, candidate, _ = (gate[begin:end] for gate in self.gates)
        return self.cells[begin:end] if self.hook is None else f * self.before(1, begin, end) + i * candidate

    def lay_out(self, begin: int, end: int, factors: Array) -> None:
        """The other factor of each gate, times its slope."""
        i, _, candidate, o = (gate[begin:end] for gate in self.gates)
        c = self.cell_then(begin, end)
        shown = self.activated("activation", c)
        others = (candidate, self.before(1, begin, end), i, shown)
        for block, (option, other) in enumerate(zip(self.OPTIONS, others, strict=True)):
            slope = self.slope(option, self.pres[begin:end, block], self.opened(block, begin, end))
            np.multiply(other, slope, factors[:, block])
        np.multiply(o, self.slope("activation", c, shown), self.carry[: end - begin])

    def output(self) -> Array:
        """o∘g(c)."""
        return self.gates[3] * self.activated("activation", self.cell_then(0, len(self.pre)))

    def step(self, t: int, above: Sequence[Array], live: Array | None, before: Sequence[Array]) -> None:
        """One product."""
        dh, above_c = above
        factors, deltas, dc = self.at(t), self.deltas[t], self.by_cell
        np.multiply(dh, self.carry[t - self.first], dc)
        if 2 in self.coupled:  # the activation of the candidate is that of the output, too
            c = self.cell_then(t, t + 1)
            shown = self.activated("activation", c)[0]
            dc[...] = self.over_last(COUPLED[self.cell.options["activation"]], dc, c[0], shown)
        np.add(dc, above_c, dc)
        np.multiply(dc, factors[:3], deltas[:3])
        np.multiply(dh, factors[3], deltas[3])
        for block in self.touched:
            self.through(block, t)
        self.by_state(t, live, before[0])
        np.multiply(dc, self.gates[1][t], before[1])


class GRUBack(CellBack):
    """δc = dh∘(1-z)∘f', δz = dh∘(h_before - c)∘σ'; the reset gate by what it multiplies."""

    OPTIONS = ("recurrent_activation", "recurrent_activation", "activation")
    NAMES = GRUCell.GATE_NAMES

    def prepare(self, tensors: Mapping[str, Array]) -> None:
        """What the reset gate multiplies."""
        units = self.cell.units
        self.after = bool(self.cell.options["reset_after"])
        h = self.before(0)
        if self.after:
            self.inner = at_each(self.recurrent[:, 2 * units :].T, h)
            if "bias" in self.weights:
                self.inner += self.weights["bias"][1, 2 * units :, None]
            # The gradient by the product with the state: as δ, but for the candidate, which the reset gate scales.
            self.delta_inner = np.empty_like(self.delta)
        else:
            self.inner, self.delta_inner = h, self.delta
            self.to_reset, self.to_gates = self.recurrent[:, 2 * units :], self.recurrent[:, : 2 * units]

    def lay_out(self, begin: int, end: int, factors: Array) -> None:
        """The other factor of each gate, times its slope."""
        z, _, c = (gate[begin:end] for gate in self.gates)
        others = (self.before(0, begin, end) - c, self.inner[begin:end], 1 - z)
        for block, (option, other) in enumerate(zip(self.OPTIONS, others, strict=True)):
            slope = self.slope(option, self.pres[begin:end, block], self.opened(block, begin, end))
            np.multiply(other, slope, factors[:, block])

    def output(self) -> Array:
        """z∘h_before + (1 - z)∘c."""
        z, _, c = self.gates
        return z * self.before(0) + (1 - z) * c

    def step(self, t: int, above: Sequence[Array], live: Array | None, before: Sequence[Array]) -> None:
        """One product with `reset_after`, else two."""
        units = self.cell.units
        (dh,), (by_h,) = above, before
        factors = self.at(t)
        z, r, _ = (gate[t] for gate in self.gates)
        of_z, of_r, of_c = self.deltas[t]
        np.multiply(dh, factors[0], of_z)
        np.multiply(dh, factors[2], of_c)
        if 2 in self.touched:
            self.through(2, t)
        by_reset = of_c if self.after else np.dot(self.to_reset, of_c)
        np.multiply(by_reset, factors[1], of_r)
        for block in self.touched[:2]:
            if block < 2:
                self.through(block, t)
        self.hold(t, live)
        if self.after:
            inner = self.delta_inner[t]
            inner[: 2 * units] = self.delta[t, : 2 * units]
            np.multiply(of_c, r, inner[2 * units :])
            np.dot(self.recurrent, inner, by_h)
        else:
            np.dot(self.to_gates, self.delta[t, : 2 * units], by_h)
            by_h += by_reset * r
        by_h += dh * z

    def by_weights(self) -> dict[str, Array]:
        """As in general; what the state is multiplied with goes by what comes of that product."""
        units = self.cell.units
        h = self.before(0)
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

    def step(self, t: int, above: Sequence[Array], live: Array | None, before: Sequence[Array]) -> None:
        """As CellBack.step, for the states of all cells, from the lowest."""
        end = len(above)
        by_output: Array | None = None  # what the cell above takes
        for part, width in zip(reversed(self.parts), reversed(self.widths), strict=True):
            own = list(above[end - width : end])
            if by_output is not None:
                own[0] = own[0] + by_output
            part.step(t, own, live, before[end - width : end])
            by_output = part.input_at(t)
            end -= width

    def hand_on(self, live: Array, above: Sequence[Array], before: Sequence[Array]) -> None:
        """As CellBack.hand_on."""
        hand_on(live, above, before)

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


def hand_on(live: Array, above: Sequence[Array], before: Sequence[Array]) -> None:
    """As CellBack.hand_on."""
    for gradient, given in zip(before, above, strict=True):
        np.copyto(gradient, given, where=~live)


def over_all(a: Array, b: Array) -> Array:
    """Σ over timesteps and batch of a·bᵀ; a (timesteps, n, batch), b (timesteps, m, batch), result (n, m)."""
    if a.shape[2] == 1:  # as it lies
        return np.dot(a[:, :, 0].T, b[:, :, 0])
    return np.tensordot(a, b, axes=((0, 2), (0, 2)))


def at_each(a: Array, b: Array) -> Array:
    """a·b at each timestep: a (n, m), b (timesteps, m, batch), result (timesteps, n, batch)."""
    if b.shape[2] == 1:  # one product instead of one for each timestep
        return np.dot(b[:, :, 0], a.T)[:, :, None]
    return np.matmul(a, b)
