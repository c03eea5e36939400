"""Patches: values inside a layer that are changed during the forward pass, for one request or one stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from service.model.tensors import Array

Range = tuple[int, int]  # (start, stop); (0, 0) is the whole axis


class PatchKind(Enum):
    """What a patch does with its value."""

    SET = "set"
    ADD = "add"
    SCALE = "scale"
    KEEP = "keep"  # a state stays what it was before the timestep


@dataclass(frozen=True)
class Patch:
    """One patch of one tensor of one call of a layer.

    `value` broadcasts to (sequences, timesteps, units) as the ranges select them. Timesteps are counted in the order in
    which a trace shows them.
    """

    layer: str
    tensor: str  # as a trace names it: hidden_state, forward/update_gate, output
    kind: PatchKind
    value: Array
    sequences: Range = (0, 0)
    timesteps: Range = (0, 0)
    units: Range = (0, 0)
    field: str = "patches"  # path in the request, for errors


class Hook:
    """The patches of one call of a layer, at work: a cell calls it with what it is about to use.

    `turned`: timesteps are processed from the last to the first. All ranges are resolved.
    """

    def __init__(self, patches: Sequence[Patch], timesteps: int, *, turned: bool = False) -> None:
        self.patches = tuple(patches)
        self._timesteps = timesteps
        self._turned = turned
        self._now: list[_Part] = []
        self._parts = [_part(patch) for patch in patches if patch.tensor != "output"]
        self.keeps = any(patch.kind is PatchKind.KEEP for patch in patches)

    def part(self, prefix: str, *, turned: bool) -> "Hook | None":
        """The hook of one direction of a Bidirectional, or of one of several cells."""
        own = [
            replace(patch, tensor=patch.tensor.removeprefix(prefix))
            for patch in self.patches
            if patch.tensor.startswith(prefix)
        ]
        return Hook(own, self._timesteps, turned=turned) if own else None

    def alone(self, sequences: int) -> "Hook":
        """The patches of the first sequence, for so many copies of it."""
        own = [
            replace(patch, sequences=(0, sequences), value=_of_first(patch))
            for patch in self.patches
            if patch.sequences[0] == 0
        ]
        return Hook(own, self._timesteps, turned=self._turned)

    def step(self, t: int) -> list[Patch]:
        """The patches of the first sequence at the timestep that is processed as number t, as those of one timestep."""
        at = self._timesteps - 1 - t if self._turned else t
        return [
            replace(patch, sequences=(0, 0), timesteps=(0, 1), value=_selected(patch)[0, at - patch.timesteps[0]])
            for patch in self.patches
            if patch.tensor != "output" and patch.sequences[0] == 0 and at in range(*patch.timesteps)
        ]

    def always(self, sequences: int) -> list[Patch]:
        """The patches that are the same at every timestep of all of so many sequences, as those of one timestep."""
        found = []
        for patch in self.patches:
            values = _selected(patch)
            if (
                patch.tensor != "output"
                and (patch.sequences, patch.timesteps) == ((0, sequences), (0, self._timesteps))
                and (values == values[0, 0]).all()
            ):
                found.append(replace(patch, sequences=(0, 0), timesteps=(0, 1), value=values[0, 0]))
        return found

    def at(self, t: int) -> None:
        """Turns to the timestep that is processed as number t."""
        t = self._timesteps - 1 - t if self._turned else t
        self._now = [part for part in self._parts if part.start <= t < part.stop]
        for part in self._now:
            part.operand = part.values[t - part.start]

    def apply(self, tensors: Mapping[str, Array], before: Mapping[str, Array] | None = None) -> None:
        """Changes tensors (units, batch) of this timestep in place; `before`: states before it, for KEEP."""
        for part in self._now:
            array = tensors.get(part.tensor)
            if array is None:
                continue
            selected = array[part.units, part.sequences]
            if part.kind is PatchKind.SET:
                selected[...] = part.operand
            elif part.kind is PatchKind.ADD:
                selected += part.operand
            elif part.kind is PatchKind.SCALE:
                selected *= part.operand
            elif before is not None:
                selected[...] = before[part.tensor][part.units, part.sequences]

    def back(self, tensor: str, gradient: Array, kept: Array | None = None) -> Array:
        """The gradient by a tensor before its patches, from that after them; (units, batch) each.

        What KEEP takes from the timestep before is added to `kept`.
        """
        for part in reversed(self._now):
            if part.tensor != tensor or part.kind is PatchKind.ADD:
                continue
            gradient = gradient.copy()
            selected = gradient[part.units, part.sequences]
            if part.kind is PatchKind.SCALE:
                selected *= part.operand
                continue
            if part.kind is PatchKind.KEEP and kept is not None:
                kept[part.units, part.sequences] += selected
            selected[...] = 0
        return gradient

    def output(self, y: Array) -> Array:
        """An output (batch, units) or (batch, timesteps, units) with its patches applied."""
        for part in self._outputs():
            y = y.copy()
            selected = part.of(y)
            if part.kind is PatchKind.SET:
                selected[...] = part.shaped(y)
            elif part.kind is PatchKind.ADD:
                selected += part.shaped(y)
            else:
                selected *= part.shaped(y)
        return y

    def output_back(self, gradient: Array) -> Array:
        """The gradient by an output before its patches, from that after them."""
        for part in reversed(self._outputs()):
            if part.kind is PatchKind.ADD:
                continue
            gradient = gradient.copy()
            if part.kind is PatchKind.SET:
                part.of(gradient)[...] = 0
            else:
                selected = part.of(gradient)
                selected *= part.shaped(gradient)
        return gradient

    def _outputs(self) -> list["_Part"]:
        return [_part(patch) for patch in self.patches if patch.tensor == "output"]


@dataclass
class _Part:
    """A patch, laid out for a cell: units first."""

    tensor: str
    kind: PatchKind
    start: int
    stop: int
    units: slice
    sequences: slice
    values: Array  # (timesteps, units, sequences)
    operand: Array  # of the timestep that is processed

    def of(self, y: Array) -> Array:
        """What it selects of an output, as a view."""
        if y.ndim == 2:
            return y[self.sequences, self.units]
        return y[self.sequences, self.start : self.stop, self.units]

    def shaped(self, y: Array) -> Array:
        """Its values in the layout of an output."""
        return self.values[0].T if y.ndim == 2 else self.values.transpose(2, 0, 1)


def _selected(patch: Patch) -> Array:
    """The values of a patch whose ranges are resolved, (sequences, timesteps, units)."""
    shape = tuple(stop - start for start, stop in (patch.sequences, patch.timesteps, patch.units))
    return np.broadcast_to(patch.value, shape)


def _of_first(patch: Patch) -> Array:
    return patch.value[:1] if patch.value.ndim == 3 else patch.value


def _part(patch: Patch) -> _Part:
    (start, stop), units, sequences = patch.timesteps, slice(*patch.units), slice(*patch.sequences)
    values = _selected(patch).transpose(1, 2, 0)
    return _Part(patch.tensor, patch.kind, start, stop, units, sequences, values, values[:0])
