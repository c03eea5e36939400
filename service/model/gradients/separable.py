"""Gradients of convolution by channel, in two steps, and turned around."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.activations import through
from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.convolution import padding_of
from service.model.layers.separable import Conv1DTranspose, DepthwiseConv1D, SeparableConv1D, Sliding, by_channel
from service.model.tensors import Array


@backward.register
def _depthwise(layer: DepthwiseConv1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    delta = _delta(layer, seen, above)
    by_x, by_kernel = _by_channel_back(layer, layer.channels_last(seen.x), seen.weights["kernel"], delta)
    return Back([layer.channels_last(by_x)], {"kernel": by_kernel, **_bias(seen, delta)})


@backward.register
def _separable(layer: SeparableConv1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Back through the kernel over all channels, then through those of each."""
    delta = _delta(layer, seen, above)
    x, depthwise, pointwise = (
        layer.channels_last(seen.x),
        seen.weights["depthwise_kernel"],
        seen.weights["pointwise_kernel"][0],
    )
    between = by_channel(layer.seen(x), depthwise)
    by_x, by_depthwise = _by_channel_back(layer, x, depthwise, delta @ pointwise.T)
    weights = {"depthwise_kernel": by_depthwise, "pointwise_kernel": (rows(between).T @ rows(delta))[None]}
    return Back([layer.channels_last(by_x)], {**weights, **_bias(seen, delta)})


@backward.register
def _transposed(layer: Conv1DTranspose, seen: Seen, above: Sequence[Array | None]) -> Back:
    """dx[t] = Σ_k δ[t·stride + k·dilation]·W[k], dW[k] = Σ_t δ[t·stride + k·dilation]ᵀ·x[t]."""
    delta, x, kernel = _delta(layer, seen, above), layer.channels_last(seen.x), seen.weights["kernel"]
    width, stride, dilation, reach = layer.geometry()
    steps, before = x.shape[1], layer.before(x.shape[1])
    whole = np.zeros((len(x), max((steps - 1) * stride + reach, before + delta.shape[1]), delta.shape[2]), delta.dtype)
    whole[:, before : before + delta.shape[1]] = delta
    places = np.arange(steps)[:, None] * stride + np.arange(width) * dilation
    taken = whole[:, places]  # (batch, steps, k, filters)
    by_x = np.einsum("btkf,kfn->btn", taken, kernel)
    weights = {"kernel": np.einsum("btkf,btn->kfn", taken, x)}
    return Back([layer.channels_last(by_x)], {**weights, **_bias(seen, delta)})


def _delta(layer: Sliding, seen: Seen, above: Sequence[Array | None]) -> Array:
    """The gradient by what the activation is of, (batch, steps, channels)."""
    pre = seen.record["pre_activation"]
    return layer.channels_last(through(layer.options["activation"], first(above, seen.y), pre, seen.y))


def _bias(seen: Seen, delta: Array) -> dict[str, Array]:
    return {"bias": rows(delta).sum(axis=0)} if "bias" in seen.weights else {}


def _by_channel_back(layer: Sliding, x: Array, kernel: Array, delta: Array) -> tuple[Array, Array]:
    """The gradients by x and by the kernel of `by_channel`."""
    _, stride, _, reach = layer.geometry()
    before, after = padding_of(x.shape[1], reach, stride, layer.options["padding"])
    taken = layer.seen(x)  # (batch, steps, k, n)
    apart = delta.reshape(*delta.shape[:2], *kernel.shape[1:])
    by_taken = np.einsum("btci,kci->btkc", apart, kernel)
    by_wide = np.zeros((len(x), before + x.shape[1] + after, x.shape[2]), delta.dtype)
    places = layer.places(by_wide.shape[1])
    for k in range(places.shape[1]):  # none of the places of one k is another's
        by_wide[:, places[:, k]] += by_taken[:, :, k]
    return by_wide[:, before : before + x.shape[1]], np.einsum("btci,btkc->kci", apart, taken)
