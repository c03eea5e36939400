"""Convolution and pooling of frames: (batch, height, width, channels), as TimeDistributed sees one timestep of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.activations import ACTIVATIONS
from service.model.layers.base import Built, Layer, Record, Weights
from service.model.layers.convolution import grouped_product, padding_of, windows
from service.model.layers.options import MAX_EXTENT, Option, activation, choice, flag, optional, size, sizes
from service.model.numerics import prepare
from service.model.tensors import Array, Shape, Tensor, Time

LAST = choice("channels_last", None, default=None)  # none: channels_last
MAX_SIDE = 1 << 10  # of a window


class Frames(Layer):
    """A layer over windows of frames."""

    TYPES = "f"
    PASSES_MASK = False

    def extents(self, x: Tensor) -> tuple[int | None, int | None, int]:
        """Height, width and channels of an input; channels must be known."""
        if x.rank != 4 or x.shape[3] is None:
            raise self.unsupported(f"expected an input (batch, height, width, channels), got {x.rank} axes")
        return x.shape[1], x.shape[2], x.shape[3]

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Sides of the window, strides, dilations."""
        raise NotImplementedError

    def reaches(self) -> tuple[int, int]:
        """The extents that a window reaches over."""
        (high, wide), _, (down, right) = self.geometry()
        return (high - 1) * down + 1, (wide - 1) * right + 1

    def slid(self, x: Tensor, channels: int) -> Tensor:
        """The output, one place for each window."""
        *sides, _ = self.extents(x)
        if max(self.reaches()) > MAX_SIDE:
            raise self.unsupported("the window is too wide")
        found: list[int | None] = []
        for side, reach, stride in zip(sides, self.reaches(), self.geometry()[1], strict=True):
            new = None if side is None else windows(side, reach, stride, self.options["padding"] == "valid")
            if new is not None and new < 1:
                raise self.unsupported(f"{side} rows or columns are fewer than one window")
            found.append(new)
        shape: Shape = (None, *found, channels)
        return self.output(shape, x.time if x.time is Time.LATEST else Time.WHOLE)

    def around(self, x: Array) -> list[tuple[int, int]]:
        """What padding adds before and after height and width."""
        return [
            padding_of(side, reach, stride, self.options["padding"])
            for side, reach, stride in zip(x.shape[1:3], self.reaches(), self.geometry()[1], strict=True)
        ]

    def laid(self, wide: Array) -> tuple[Array, Array]:
        """Rows and columns that each window sees, (windows, side) each, of frames with their padding."""
        found = []
        for extent, reach, side, stride, dilation in zip(
            wide.shape[1:3], self.reaches(), *self.geometry(), strict=True
        ):
            count = windows(extent, reach, stride, fits=True)
            if count < 1:
                raise ValueError(f"{extent} rows or columns are fewer than one window")
            found.append(np.arange(count)[:, None] * stride + np.arange(side) * dilation)
        return found[0], found[1]

    def seen(self, x: Array, value: float) -> Array:
        """What each window sees: (batch, rows, columns, high, wide, channels); padding is `value`."""
        wide = np.pad(x, ((0, 0), *self.around(x), (0, 0)), constant_values=value)
        rows, columns = self.laid(wide)
        return wide[:, rows[:, None, :, None], columns[None, :, None, :]]


class Conv2D(Frames):
    """y[i, j] = f(Σ x[i·stride + k·dilation, j·stride + l·dilation]·W[k, l] + b); W (k, l, n / groups, filters)."""

    CLASS = "Conv2D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "filters": size(),
        "kernel_size": sizes(2),
        "strides": sizes(2, 1, (1, 1)),
        "padding": choice("valid", "same", default="valid"),
        "data_format": LAST,
        "dilation_rate": sizes(2, 1, (1, 1)),
        "groups": size(1),
        "activation": activation("linear"),
        "use_bias": flag(True),
        "lora_rank": choice(None, default=None),
        "lora_alpha": choice(None, default=None),
    }

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Of the kernel."""
        return self.options["kernel_size"], self.options["strides"], self.options["dilation_rate"]

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        (x,) = inputs
        *_, channels = self.extents(x)
        o = self.options
        if channels % o["groups"] or o["filters"] % o["groups"]:
            raise self.unsupported("groups does not divide channels and filters")
        if o["activation"] == "glu":
            raise self.unsupported("activation=glu is not supported here")
        if max(o["strides"]) > 1 and max(o["dilation_rate"]) > 1:
            raise self.unsupported("strides and dilation_rate above 1 together are not supported")
        y = self.slid(x, o["filters"])
        shape = (*o["kernel_size"], channels // o["groups"], o["filters"])
        if math.prod(shape) > MAX_EXTENT * 8:
            raise self.unsupported("the kernel is too large")
        weights = [self.weight("kernel", shape, "vars/0")]
        if o["use_bias"]:
            weights.append(self.weight("bias", (o["filters"],), "vars/1"))
        return Built((y,), tuple(weights))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out; a trace keeps `pre_activation`."""
        (x,), (y,) = inputs, outputs
        *_, channels = self.extents(x)
        places = y.elements // self.options["filters"]
        return places * math.prod(self.options["kernel_size"]) * channels + y.elements * (2 if traced else 1)

    def prepare(self, weights: Weights) -> Any:
        """Kernels of the groups as matrices (k · l · n, filters), and the bias."""
        kernel = self.cast(weights, "kernel")
        assert kernel is not None
        groups = np.split(kernel, self.options["groups"], axis=3)
        return [prepare(w.reshape(-1, w.shape[3])) for w in groups], self.cast(weights, "bias")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        matrices, bias = weights
        seen = self.seen(inputs[0], 0)
        y = grouped_product(seen, matrices, axes=3)
        if bias is not None:
            y = y + bias
        if record is not None:
            record["pre_activation"] = y
        return ACTIVATIONS[self.options["activation"]](y)


class Pooling2D(Frames):
    """The largest, or the mean, of each window."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "pool_size": sizes(2, 1, (2, 2)),
        "strides": optional(sizes(2)),
        "padding": choice("valid", "same", default="valid"),
        "data_format": LAST,
    }

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Of the window."""
        return self.options["pool_size"], self.options["strides"] or self.options["pool_size"], (1, 1)

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Fewer rows and columns."""
        (x,) = inputs
        *_, channels = self.extents(x)
        return Built((self.slid(x, channels),))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out."""
        return outputs[0].elements * math.prod(self.options["pool_size"])

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; padding takes no part."""
        return self.pool(self.seen(inputs[0], np.nan))

    def pool(self, seen: Array) -> Array:
        """Reduces the axes 3 and 4; padding is NaN."""
        raise NotImplementedError


class MaxPooling2D(Pooling2D):
    """The largest of each window."""

    CLASS = "MaxPooling2D"

    def pool(self, seen: Array) -> Array:
        """The output."""
        return np.fmax.reduce(seen, axis=(3, 4))


class AveragePooling2D(Pooling2D):
    """The mean of each window."""

    CLASS = "AveragePooling2D"

    def pool(self, seen: Array) -> Array:
        """The output."""
        kind = np.result_type(seen.dtype, np.float32)
        inside = ~np.isnan(seen)
        total = np.where(inside, seen, 0).sum(axis=(3, 4), dtype=kind)
        return (total / inside.sum(axis=(3, 4)).astype(kind)).astype(seen.dtype)


class GlobalPooling2D(Frames):
    """The largest, or the mean, of each channel."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {"data_format": LAST, "keepdims": flag(False)}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """One number for each channel."""
        (x,) = inputs
        *_, channels = self.extents(x)
        shape: Shape = (None, 1, 1, channels) if self.options["keepdims"] else (None, channels)
        return Built((self.output(shape, x.time if x.time is Time.LATEST else Time.WHOLE),))


class GlobalMaxPooling2D(GlobalPooling2D):
    """The largest of each channel."""

    CLASS = "GlobalMaxPooling2D"

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        return inputs[0].max(axis=(1, 2), keepdims=self.options["keepdims"])


class GlobalAveragePooling2D(GlobalPooling2D):
    """The mean of each channel."""

    CLASS = "GlobalAveragePooling2D"

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output, added up in double precision: there may be many numbers."""
        (x,) = inputs
        return x.mean(axis=(1, 2), keepdims=self.options["keepdims"], dtype=np.float64).astype(x.dtype)
