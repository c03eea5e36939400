"""Gradients of convolution and pooling: the gradient of each window is added up at its origin."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.activations import through
from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.convolution import (
    AveragePooling1D,
    Conv1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    GlobalPooling,
    MaxPooling1D,
    Pooling,
    padding_of,
    windows,
)
from service.model.tensors import Array


@backward.register
def _conv(layer: Conv1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """dx[t·stride + k·dilation] += δ[t]·W[k]ᵀ, dW[k] = Σ x[t·stride + k·dilation]ᵀ·δ[t], db = Σ δ."""
    o = layer.options
    (width,), (stride,), (dilation,) = o["kernel_size"], o["strides"], o["dilation_rate"]
    delta = through(o["activation"], first(above, seen.y), seen.record["pre_activation"], seen.y)
    delta = layer.channels_last(delta)
    x = layer.channels_last(seen.x)
    reach = (width - 1) * dilation + 1
    before, after = padding_of(x.shape[1], reach, stride, o["padding"])
    wide = np.pad(x, ((0, 0), (before, after), (0, 0)))
    places = np.arange(windows(wide.shape[1], reach, stride, fits=True))[:, None] * stride
    places = places + np.arange(width) * dilation  # (steps, k)
    by_x, by_kernel = np.zeros_like(wide), []
    groups = zip(
        np.split(seen.weights["kernel"], o["groups"], axis=2),
        np.split(delta, o["groups"], axis=2),
        np.split(wide, o["groups"], axis=2),
        np.split(by_x, o["groups"], axis=2),
        strict=True,
    )
    for kernel, part, given, by_given in groups:
        taken = given[:, places].reshape(*part.shape[:2], -1)  # (batch, steps, k · n)
        by_kernel.append((rows(taken).T @ rows(part)).reshape(kernel.shape))
        by_taken = (part @ kernel.reshape(-1, kernel.shape[2]).T).reshape(*part.shape[:2], width, -1)
        _add_windows(by_given, places, by_taken)
    weights = {"kernel": np.concatenate(by_kernel, axis=2)}
    if "bias" in seen.weights:
        weights["bias"] = rows(delta).sum(axis=0)
    return Back([layer.channels_last(by_x[:, before : before + x.shape[1]])], weights)


@backward.register
def _pooling(layer: Pooling, seen: Seen, above: Sequence[Array | None]) -> Back:
    """To the largest of each window, the first of a tie; or to all of it that is no padding, in equal parts."""
    width, stride = layer.window()
    x, gradient = layer.channels_last(seen.x), layer.channels_last(first(above, seen.y))
    before, after = padding_of(x.shape[1], width, stride, layer.options["padding"])
    wide = np.pad(x, ((0, 0), (before, after), (0, 0)), constant_values=np.nan)
    count = windows(wide.shape[1], width, stride, fits=True)
    places = np.arange(count)[:, None] * stride + np.arange(width)
    taken = wide[:, places]  # (batch, steps, k, n)
    if isinstance(layer, MaxPooling1D):
        best = np.where(np.isnan(taken), -np.inf, taken).argmax(axis=2)[:, :, None]
        by_taken = np.where(np.arange(width)[:, None] == best, gradient[:, :, None], 0)
    else:
        assert isinstance(layer, AveragePooling1D)
        inside = ~np.isnan(taken)
        by_taken = np.where(inside, gradient[:, :, None] / inside.sum(axis=2, keepdims=True), 0)
    by_x = np.zeros(wide.shape, x.dtype)
    _add_windows(by_x, places, by_taken.astype(x.dtype))
    return Back([layer.channels_last(by_x[:, before : before + x.shape[1]])])


@backward.register
def _global_max(layer: GlobalMaxPooling1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """To the largest; in equal parts where several are, as TensorFlow's reduce_max has it."""
    x, gradient = layer.channels_last(seen.x), _spread(layer, first(above, seen.y))
    best = x == x.max(axis=1, keepdims=True)
    return Back([layer.channels_last((gradient * best / best.sum(axis=1, keepdims=True)).astype(x.dtype))])


@backward.register
def _global_average(layer: GlobalAveragePooling1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """In equal parts to all timesteps that are not masked."""
    x, mask, gradient = layer.channels_last(seen.x), seen.masks[0], _spread(layer, first(above, seen.y))
    if mask is None:
        return Back([layer.channels_last(np.broadcast_to(gradient / x.dtype.type(x.shape[1]), x.shape))])
    valid = mask[..., None]
    with np.errstate(all="ignore"):
        part = np.where(valid, gradient / valid.sum(axis=1, keepdims=True), 0)
    return Back([layer.channels_last(part.astype(x.dtype))])


def _spread(layer: GlobalPooling, gradient: Array) -> Array:
    """A gradient by what all timesteps gave, as (batch, 1, channels)."""
    return layer.channels_last(gradient) if layer.options["keepdims"] else gradient[:, None]


def _add_windows(into: Array, places: Array, parts: Array) -> None:
    """into[:, places[i, k]] += parts[:, i, k]; one k at a time, since none of its places is another's."""
    for k in range(places.shape[1]):
        into[:, places[:, k]] += parts[:, :, k]
