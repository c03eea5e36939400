"""Convolution along time by channel, in two steps, and turned around."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.activations import ACTIVATIONS
from service.model.layers.base import Built, Record, Weights
from service.model.layers.convolution import Windows, padded, windows
from service.model.layers.options import MAX_STEPS, Option, activation, choice, flag, optional, size, sizes
from service.model.layers.shape import DATA_FORMAT
from service.model.numerics import prepare, product
from service.model.tensors import Array, Tensor, Time

COMMON_OPTIONS: Mapping[str, Option] = {
    "kernel_size": sizes(1),
    "strides": sizes(1, 1, (1,)),
    "padding": choice("valid", "same", default="valid"),
    "data_format": DATA_FORMAT,
    "dilation_rate": sizes(1, 1, (1,)),
    "activation": activation("linear"),
    "use_bias": flag(True),
}


class Sliding(Windows):
    """A kernel that slides over the timesteps, with bias and activation."""

    TYPES = "f"

    def geometry(self) -> tuple[int, int, int, int]:
        """Width of the kernel, stride, dilation, and the timesteps that the kernel reaches over."""
        o = self.options
        (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
        return width, stride, dilation, (width - 1) * dilation + 1

    def check(self) -> None:
        """Refuses what Keras refuses, and what is too wide."""
        _, stride, dilation, reach = self.geometry()
        if self.options["activation"] == "glu":
            raise self.unsupported("activation=glu is not supported here")
        if stride > 1 and dilation > 1:
            raise self.unsupported("strides and dilation_rate above 1 together are not supported")
        if reach > MAX_STEPS:
            raise self.unsupported("the window is too wide")

    def slid(self, x: Tensor, channels: int) -> Tensor:
        """The output of that many channels, one step for each window."""
        steps, _ = self.steps_and_channels(x)
        _, stride, _, reach = self.geometry()
        new = None if steps is None else windows(steps, reach, stride, self.options["padding"] == "valid")
        if new is not None and new < 1:
            raise self.unsupported(f"{steps} timesteps are fewer than one window")
        return self.output(self.shape(new, channels), x.time if x.time is Time.LATEST else Time.WHOLE)

    def places(self, steps: int) -> Array:
        """The timesteps that each window sees, (windows, width), of so many with what padding adds."""
        width, stride, dilation, reach = self.geometry()
        count = windows(steps, reach, stride, fits=True)
        if count < 1:
            raise ValueError(f"{steps} timesteps are fewer than one window")
        return np.arange(count)[:, None] * stride + np.arange(width) * dilation

    def seen(self, x: Array) -> Array:
        """What each window sees of x (batch, steps, n): (batch, windows, width, n)."""
        _, stride, _, reach = self.geometry()
        wide = padded(x, reach, stride, self.options["padding"], 0)
        return wide[:, self.places(wide.shape[1])]

    def activated(self, y: Array, bias: Array | None, record: Record | None) -> Array:
        """f(y + b); keeps `pre_activation`."""
        if bias is not None:
            y = y + bias
        y = self.channels_last(y)
        if record is not None:
            record["pre_activation"] = y
        result: Array = ACTIVATIONS[self.options["activation"]](y)
        return result


class DepthwiseConv1D(Sliding):
    """y[t, c·m + i] = f(Σ_k x[t·stride + k·dilation, c]·W[k, c, i] + b): each of n channels gives m of its own."""

    CLASS = "DepthwiseConv1D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {**COMMON_OPTIONS, "depth_multiplier": size(1)}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        self.check()
        (x,) = inputs
        _, channels = self.steps_and_channels(x)
        many, width = self.options["depth_multiplier"], self.options["kernel_size"][0]
        weights = [self.weight("kernel", (width, channels, many), "vars/0")]
        if self.options["use_bias"]:
            weights.append(self.weight("bias", (channels * many,), "vars/1"))
        return Built((self.slid(x, channels * many),), tuple(weights))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out; what each gives; a trace keeps `pre_activation`."""
        (x,), (y,) = inputs, outputs
        return self.laid_out(x, y, self.options["kernel_size"][0]) + (2 if traced else 1) * y.elements

    def prepare(self, weights: Weights) -> Any:
        """Cast."""
        return self.cast(weights, "kernel"), self.cast(weights, "bias")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        kernel, bias = weights
        return self.activated(by_channel(self.seen(self.channels_last(inputs[0])), kernel), bias, record)


class SeparableConv1D(Sliding):
    """A kernel for each channel, then one over all channels of a timestep; bias and activation."""

    CLASS = "SeparableConv1D"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"filters": size(), **COMMON_OPTIONS, "depth_multiplier": size(1)}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Both kernels and the bias."""
        self.check()
        (x,) = inputs
        _, channels = self.steps_and_channels(x)
        many, width, filters = self.options["depth_multiplier"], self.options["kernel_size"][0], self.options["filters"]
        weights = [
            self.weight("depthwise_kernel", (width, channels, many), "vars/0"),
            self.weight("pointwise_kernel", (1, channels * many, filters), "vars/1"),
        ]
        if self.options["use_bias"]:
            weights.append(self.weight("bias", (filters,), "vars/2"))
        return Built((self.slid(x, filters),), tuple(weights))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """All windows, each written out; what the first kernel gives; a trace keeps `pre_activation`."""
        (x,), (y,) = inputs, outputs
        steps, _ = self.steps_and_channels(y)
        _, channels = self.steps_and_channels(x)
        between = (steps or 0) * channels * self.options["depth_multiplier"]
        return self.laid_out(x, y, self.options["kernel_size"][0]) + between + (y.elements if traced else 0)

    def prepare(self, weights: Weights) -> Any:
        """The second kernel as a matrix for `product`."""
        pointwise = self.cast(weights, "pointwise_kernel")
        assert pointwise is not None
        return self.cast(weights, "depthwise_kernel"), prepare(pointwise[0]), self.cast(weights, "bias")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        depthwise, pointwise, bias = weights
        between = by_channel(self.seen(self.channels_last(inputs[0])), depthwise)
        return self.activated(product(between, pointwise), bias, record)


class Conv1DTranspose(Sliding):
    """y[t·stride + k·dilation] += x[t]·W[k]ᵀ, cut to length; bias and activation; W (k, filters, n)."""

    CLASS = "Conv1DTranspose"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "filters": size(),
        **COMMON_OPTIONS,
        "strides": sizes(1, 1, (1,)),
        "output_padding": optional(sizes(1, 0)),
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        self.check()
        (x,) = inputs
        steps, channels = self.steps_and_channels(x)
        width, stride, _, _ = self.geometry()
        added = self.options["output_padding"]
        if added is not None and added[0] >= stride:
            raise self.unsupported("output_padding is not below strides")
        if self.geometry()[2] > 1:  # which Keras cannot compute on a CPU, so that nothing could be compared
            raise self.unsupported("dilation_rate above 1 is not supported")
        if stride > MAX_STEPS // 64:
            raise self.unsupported("strides is too large")
        new = None if steps is None else self.length(steps)
        if new is not None and new < 1:
            raise self.unsupported("nothing is left of its input")
        filters = self.options["filters"]
        weights = [self.weight("kernel", (width, filters, channels), "vars/0")]
        if self.options["use_bias"]:
            weights.append(self.weight("bias", (filters,), "vars/1"))
        time = x.time if x.time is Time.LATEST else Time.WHOLE
        return Built((self.output(self.shape(new, filters), time),), tuple(weights))

    def length(self, steps: int) -> int:
        """Timesteps of the output (keras.src.backend.common.backend_utils)."""
        _, stride, _, reach = self.geometry()
        added, same = self.options["output_padding"], self.options["padding"] == "same"
        if added is None:
            return steps * stride + (0 if same else max(reach - stride, 0))
        return (steps - 1) * stride + reach + int(added[0]) - (2 * (reach // 2) if same else 0)

    def before(self, steps: int) -> int:
        """Timesteps that are cut off in front."""
        _, stride, _, reach = self.geometry()
        if self.options["padding"] == "valid":
            return 0
        return max((steps - 1) * stride + reach - self.length(steps), 0) // 2

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """What each timestep adds, and their sum before it is cut; a trace keeps `pre_activation`."""
        (x,), (y,) = inputs, outputs
        steps, _ = self.steps_and_channels(x)
        width, stride, _, reach = self.geometry()
        whole = (steps or 0) * (width + stride) + reach
        return whole * int(self.options["filters"]) + y.elements * (2 if traced else 1)

    def prepare(self, weights: Weights) -> Any:
        """The kernel as a matrix (n, k · filters) for `product`."""
        kernel = self.cast(weights, "kernel")
        assert kernel is not None
        return prepare(kernel.reshape(-1, kernel.shape[2]).T), self.cast(weights, "bias")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        matrix, bias = weights
        x = self.channels_last(inputs[0])
        width, stride, dilation, reach = self.geometry()
        kind = np.result_type(x.dtype, np.float32)
        parts = product(x.astype(kind, copy=False), matrix).reshape(*x.shape[:2], width, -1)
        steps, length = x.shape[1], self.length(x.shape[1])
        before = self.before(steps)
        whole = np.zeros((len(x), max((steps - 1) * stride + reach, before + length), parts.shape[3]), kind)
        for k in range(width):
            whole[:, k * dilation : k * dilation + (steps - 1) * stride + 1 : stride] += parts[:, :, k]
        return self.activated(whole[:, before : before + length].astype(x.dtype, copy=False), bias, record)


def by_channel(seen: Array, kernel: Array) -> Array:
    """Σ_k seen[…, k, c]·W[k, c, i] as (batch, windows, c · i); half precision is added up in single."""
    kind = np.result_type(seen.dtype, np.float32)
    y = np.einsum("btkc,kci->btci", seen.astype(kind, copy=False), kernel.astype(kind, copy=False))
    return y.reshape(*y.shape[:2], math.prod(kernel.shape[1:])).astype(seen.dtype, copy=False)
