"""Layers that move elements without computing: flatten, reshape, permute, repeat, crop, pad, upsample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.layers.base import Built, Layer, Record
from service.model.layers.options import MAX_EXTENT, MAX_STEPS, Option, choice, size, sizes
from service.model.tensors import Array, Shape, Tensor, Time

DATA_FORMAT = choice("channels_last", "channels_first", None, default=None)  # none: channels_last
MAX_REPEATS = 1 << 10  # of each timestep


class Moving(Layer):
    """A layer that moves elements. What it does to a sequence depends on all of it."""

    PASSES_MASK = False
    KEEPS_INTEGERS = True

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The shape of `moved_shape`, bounded, and the elements of the input."""
        (x,) = inputs
        shape = self.moved_shape(x)
        if math.prod(extent or 1 for extent in shape) > MAX_EXTENT:
            raise self.unsupported("the output is too large")
        return Built((self.moved(x, shape, Time.WHOLE if x.time is not Time.LATEST else x.time),))

    def moved_shape(self, x: Tensor) -> Shape:
        """The shape of the output."""
        raise NotImplementedError

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """`move` of the one input."""
        return self.move(inputs[0])

    def move(self, x: Array) -> Array:
        """The output; x (batch, …)."""
        raise NotImplementedError


class Flatten(Moving):
    """(batch, …) → (batch, all)."""

    CLASS = "Flatten"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"data_format": DATA_FORMAT}

    def moved_shape(self, x: Tensor) -> Shape:
        """All extents multiplied."""
        return (None, None if None in x.shape[1:] else math.prod(e for e in x.shape[1:] if e is not None))

    def move(self, x: Array) -> Array:
        """The output."""
        if self.options["data_format"] == "channels_first" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return x.reshape(len(x), -1)


class Reshape(Moving):
    """(batch, …) → (batch, *target_shape), one extent of which may be -1."""

    CLASS = "Reshape"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "target_shape": Option(lambda v: _target(v), "a list of integers, one of which may be -1"),
    }

    def moved_shape(self, x: Tensor) -> Shape:
        """The target, its -1 resolved where the input is known."""
        target = self.options["target_shape"]
        known = math.prod(e for e in target if e != -1)
        if None in x.shape[1:]:
            return (None, *(None if e == -1 else e for e in target))
        count = math.prod(e for e in x.shape[1:] if e is not None)
        if (-1 in target and count % known) or (-1 not in target and count != known):
            raise self.unsupported(f"target_shape={list(target)} does not fit {count} elements")
        return (None, *(count // known if e == -1 else e for e in target))

    def move(self, x: Array) -> Array:
        """The output."""
        return x.reshape(len(x), *self.options["target_shape"])


class Permute(Moving):
    """Axes in another order; 1 is the first after the batch."""

    CLASS = "Permute"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"dims": Option(lambda v: _permutation(v), "a permutation of 1, 2, …")}

    def moved_shape(self, x: Tensor) -> Shape:
        """The extents in that order."""
        dims = self.options["dims"]
        if len(dims) != x.rank - 1:
            raise self.unsupported(f"dims={list(dims)} does not fit an input of {x.rank} axes")
        return (None, *(x.shape[i] for i in dims))

    def move(self, x: Array) -> Array:
        """The output."""
        return x.transpose(0, *self.options["dims"])


class RepeatVector(Moving):
    """(batch, n) → (batch, times, n)."""

    CLASS = "RepeatVector"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"n": size(high=MAX_STEPS)}

    def moved_shape(self, x: Tensor) -> Shape:
        """One axis more."""
        if x.rank != 2:
            raise self.unsupported(f"expected an input of 2 axes, got {x.rank}")
        return (None, self.options["n"], x.shape[1])

    def move(self, x: Array) -> Array:
        """The output."""
        return np.repeat(x[:, None], self.options["n"], axis=1)


class Spaced(Moving):
    """A layer that changes the extent of axis 1 of (batch, steps, channels)."""

    def moved_shape(self, x: Tensor) -> Shape:
        """`steps` in place of the extent of the axis."""
        if x.rank != 3:
            raise self.unsupported(f"expected an input of 3 axes, got {x.rank}")
        axis = self.axis()
        extent = x.shape[axis]
        new = None if extent is None else self.steps(extent)
        if new is not None and new < 1:
            raise self.unsupported("nothing is left of its input")
        return (None, *(new if i == axis else x.shape[i] for i in (1, 2)))

    def axis(self) -> int:
        """The axis that changes."""
        return 2 if self.options.get("data_format") == "channels_first" else 1

    def steps(self, extent: int) -> int:
        """The new extent."""
        raise NotImplementedError


class Cropping1D(Spaced):
    """Cuts timesteps off both ends."""

    CLASS = "Cropping1D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"cropping": sizes(2, 0, (1, 1))}

    def steps(self, extent: int) -> int:
        """What is left."""
        return extent - sum(self.options["cropping"])

    def move(self, x: Array) -> Array:
        """The output."""
        before, after = self.options["cropping"]
        if before + after >= x.shape[1]:
            raise ValueError(f"it cuts {before + after} of {x.shape[1]} timesteps")
        return x[:, before : x.shape[1] - after]


class ZeroPadding1D(Spaced):
    """Adds zeros at both ends."""

    CLASS = "ZeroPadding1D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"padding": sizes(2, 0, (1, 1)), "data_format": DATA_FORMAT}

    def steps(self, extent: int) -> int:
        """More."""
        return extent + int(sum(self.options["padding"]))

    def move(self, x: Array) -> Array:
        """The output."""
        widths = [(0, 0)] * 3
        widths[self.axis()] = self.options["padding"]
        return np.pad(x, widths)


class UpSampling1D(Spaced):
    """Each timestep so many times."""

    CLASS = "UpSampling1D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"size": size(2, high=MAX_REPEATS)}

    def steps(self, extent: int) -> int:
        """More."""
        return extent * int(self.options["size"])

    def move(self, x: Array) -> Array:
        """The output."""
        return np.repeat(x, self.options["size"], axis=1)


def _target(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError
    target = tuple(-1 if e is None else e for e in value)
    for extent in target:
        if isinstance(extent, bool) or not isinstance(extent, int) or not (extent == -1 or 0 < extent <= MAX_EXTENT):
            raise ValueError
    if target.count(-1) > 1:
        raise ValueError
    return target


def _permutation(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or sorted(value) != list(range(1, len(value) + 1)):
        raise ValueError
    return tuple(value)
