"""Convolution and pooling along time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.activations import ACTIVATIONS
from service.model.layers.base import Built, Layer, Record, Weights
from service.model.layers.options import MAX_STEPS, Option, activation, choice, flag, optional, size, sizes
from service.model.layers.shape import DATA_FORMAT
from service.model.numerics import prepare, product
from service.model.tensors import Array, Shape, Tensor, Time


class Windows(Layer):
    """A layer that looks at windows of timesteps. Windows need neighbours, so a sequence cannot arrive in pieces."""

    PASSES_MASK = False

    @property
    def first(self) -> bool:
        """Whether channels come before timesteps."""
        return bool(self.options["data_format"] == "channels_first")

    def channels_last(self, x: Array) -> Array:
        """X as (batch, steps, channels), whichever way it is given or wanted."""
        return x.swapaxes(1, 2) if self.first else x

    def steps_and_channels(self, x: Tensor) -> tuple[int | None, int]:
        """The two extents of an input (batch, steps, channels); channels must be known."""
        if x.rank != 3:
            raise self.unsupported(f"expected an input of 3 axes, got {x.rank}")
        steps, channels = (x.shape[2], x.shape[1]) if self.first else (x.shape[1], x.shape[2])
        if channels is None:
            raise self.unsupported("the number of channels must be known")
        return steps, channels

    def shape(self, steps: int | None, channels: int) -> Shape:
        """The shape of an output."""
        return (None, channels, steps) if self.first else (None, steps, channels)

    def laid_out(self, x: Tensor, y: Tensor, width: int) -> int:
        """Elements of all windows, each written out."""
        _, channels = self.steps_and_channels(x)
        steps, _ = self.steps_and_channels(y)
        return (steps or 0) * width * channels


class Conv1D(Windows):
    """y[t] = f(Σ_k x[t·stride + k·dilation]·W[k] + b); x (batch, steps, n), W (k, n / groups, filters)."""

    CLASS = "Conv1D"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "filters": size(),
        "kernel_size": sizes(1),
        "strides": sizes(1, 1, (1,)),
        "padding": choice("valid", "same", "causal", default="valid"),
        "data_format": DATA_FORMAT,
        "dilation_rate": sizes(1, 1, (1,)),
        "groups": size(1),
        "activation": activation("linear"),
        "use_bias": flag(True),
        "lora_rank": choice(None, default=None),
        "lora_alpha": choice(None, default=None),
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        (x,) = inputs
        steps, channels = self.steps_and_channels(x)
        o = self.options
        (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
        if channels % o["groups"] or o["filters"] % o["groups"]:
            raise self.unsupported("groups does not divide channels and filters")
        if o["activation"] == "glu":
            raise self.unsupported("activation=glu is not supported here")
        if stride > 1 and dilation > 1:
            raise self.unsupported("strides and dilation_rate above 1 together are not supported")
        if (width - 1) * dilation + 1 > MAX_STEPS:
            raise self.unsupported("the window is too wide")
        pointwise = width == stride == 1 and not self.first
        time = x.time if pointwise or x.time is Time.LATEST else Time.WHOLE
        reach = (width - 1) * dilation + 1
        new = None if steps is None else windows(steps, reach, stride, o["padding"] == "valid")
        if new is not None and new < 1:
            raise self.unsupported(f"{steps} timesteps are fewer than one window")
        weights = [self.weight("kernel", (width, channels // o["groups"], o["filters"]), "vars/0")]
        if o["use_bias"]:
            weights.append(self.weight("bias", (o["filters"],), "vars/1"))
        return Built((self.output(self.shape(new, o["filters"]), time),), tuple(weights))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out; a trace keeps `pre_activation`."""
        (x,), (y,), (width,) = inputs, outputs, self.options["kernel_size"]
        return self.laid_out(x, y, width) + (y.elements if traced else 0)

    def prepare(self, weights: Weights) -> Any:
        """Kernels of the groups as matrices (k · n, filters), bias, activation."""
        kernel = self.cast(weights, "kernel")
        assert kernel is not None
        matrices = [prepare(w.reshape(-1, w.shape[2])) for w in np.split(kernel, self.options["groups"], axis=2)]
        return matrices, self.cast(weights, "bias"), ACTIVATIONS[self.options["activation"]]

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        matrices, bias, function = weights
        o = self.options
        (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
        x = padded(self.channels_last(inputs[0]), (width - 1) * dilation + 1, stride, o["padding"], 0)
        count = windows(x.shape[1], (width - 1) * dilation + 1, stride, fits=True)
        if count < 1:
            raise ValueError(f"{inputs[0].shape[1]} timesteps are fewer than one window")
        starts = np.arange(count)[:, None] * stride + np.arange(width) * dilation  # (steps, k)
        seen = x[:, starts]  # (batch, steps, k, n)
        y = grouped_product(seen, matrices, axes=2)
        if bias is not None:
            y = y + bias
        if record is not None:
            record["pre_activation"] = self.channels_last(y)
        y = self.channels_last(y)
        return function(y)


def grouped_product(seen: Array, matrices: Sequence[Any], axes: int) -> Array:
    """Windows (…, window, channels), with the first `axes` kept, times the matrix of each group of channels."""
    parts = [
        product(part.reshape(*part.shape[:axes], -1), matrix)
        for part, matrix in zip(np.split(seen, len(matrices), axis=-1), matrices, strict=True)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


class Pooling(Windows):
    """The largest, or the mean, of each window."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "pool_size": sizes(1, 1, (2,)),
        "strides": optional(sizes(1)),
        "padding": choice("valid", "same", default="valid"),
        "data_format": DATA_FORMAT,
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Fewer timesteps."""
        (x,) = inputs
        steps, channels = self.steps_and_channels(x)
        width, stride = self.window()
        new = None if steps is None else windows(steps, width, stride, self.options["padding"] == "valid")
        if new is not None and new < 1:
            raise self.unsupported(f"{steps} timesteps are fewer than one window")
        return Built((self.output(self.shape(new, channels), x.time if x.time is Time.LATEST else Time.WHOLE),))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out."""
        (x,), (y,), (width, _) = inputs, outputs, self.window()
        return self.laid_out(x, y, width)

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; padding takes no part."""
        width, stride = self.window()
        x = padded(self.channels_last(inputs[0]), width, stride, self.options["padding"], np.nan)
        count = windows(x.shape[1], width, stride, fits=True)
        if count < 1:
            raise ValueError(f"{inputs[0].shape[1]} timesteps are fewer than one window")
        seen = x[:, np.arange(count)[:, None] * stride + np.arange(width)]  # (batch, steps, k, n)
        return self.channels_last(self.pool(seen))

    def pool(self, seen: Array) -> Array:
        """(batch, steps, k, n) → (batch, steps, n); padding is NaN."""
        raise NotImplementedError

    def window(self) -> tuple[int, int]:
        """Timesteps of a window, and from one to the next."""
        (width,) = self.options["pool_size"]
        (stride,) = self.options["strides"] or (width,)
        return width, stride


class MaxPooling1D(Pooling):
    """The largest of each window."""

    CLASS = "MaxPooling1D"
    TYPES = "f"

    def pool(self, seen: Array) -> Array:
        """The output."""
        return np.fmax.reduce(seen, axis=2)


class AveragePooling1D(Pooling):
    """The mean of each window."""

    CLASS = "AveragePooling1D"
    TYPES = "f"

    def pool(self, seen: Array) -> Array:
        """The output."""
        kind = np.result_type(seen.dtype, np.float32)
        inside = ~np.isnan(seen)
        total = np.where(inside, seen, 0).sum(axis=2, dtype=kind)
        return (total / inside.sum(axis=2).astype(kind)).astype(seen.dtype)


class GlobalPooling(Windows):
    """The largest, or the mean, of all timesteps."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {"data_format": DATA_FORMAT, "keepdims": flag(False)}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """No timesteps, or one."""
        (x,) = inputs
        _, channels = self.steps_and_channels(x)
        shape = self.shape(1, channels) if self.options["keepdims"] else (None, channels)
        return Built((self.output(shape, x.time if x.time is Time.LATEST else Time.WHOLE),))

    def _reduced(self, y: Array) -> Array:
        """(batch, 1, n) as it is wanted."""
        return self.channels_last(y) if self.options["keepdims"] else y[:, 0]


class GlobalMaxPooling1D(GlobalPooling):
    """The largest of all timesteps."""

    CLASS = "GlobalMaxPooling1D"
    TYPES = "f"

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        return self._reduced(self.channels_last(inputs[0]).max(axis=1, keepdims=True))


class GlobalAveragePooling1D(GlobalPooling):
    """The mean of all timesteps that are not masked."""

    CLASS = "GlobalAveragePooling1D"
    TYPES = "f"

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        x, mask = self.channels_last(inputs[0]), masks[0]
        # In double precision, since NumPy adds up one timestep after the other, and there may be many.
        if mask is None:
            return self._reduced(x.mean(axis=1, keepdims=True, dtype=np.float64).astype(x.dtype))
        valid = mask[..., None]
        total = np.where(valid, x, 0).sum(axis=1, keepdims=True, dtype=np.float64)
        return self._reduced((total / valid.sum(axis=1, keepdims=True)).astype(x.dtype))


def windows(steps: int, reach: int, stride: int, fits: bool) -> int:
    """How many windows there are; `fits`: all of each within the input, else as many as there are strides."""
    return (steps - reach) // stride + 1 if fits else math.ceil(steps / stride)


def padded(x: Array, reach: int, stride: int, padding: str, value: float) -> Array:
    """x (batch, steps, n) with what `padding_of` says before and after."""
    if padding == "valid":
        return x
    return np.pad(x, ((0, 0), padding_of(x.shape[1], reach, stride, padding), (0, 0)), constant_values=value)


def padding_of(steps: int, reach: int, stride: int, padding: str) -> tuple[int, int]:
    """Timesteps that `valid`, `same` or `causal` adds before and after; the odd one comes after."""
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    missing = max((math.ceil(steps / stride) - 1) * stride + reach - steps, 0)
    return missing // 2, missing - missing // 2
