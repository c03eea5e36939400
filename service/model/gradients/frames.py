"""Gradients of convolution and pooling of frames: the gradient of each window is added up at its origin."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.activations import through
from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.frames import (
    Conv2D,
    Frames,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
    Pooling2D,
)
from service.model.tensors import Array


@backward.register
def _conv(layer: Conv2D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """As in one dimension, over both."""
    delta = through(layer.options["activation"], first(above, seen.y), seen.record["pre_activation"], seen.y)
    taken = layer.seen(seen.x, 0)
    groups = layer.options["groups"]
    by_taken, by_kernel = [], []
    for kernel, part, given in zip(
        np.split(seen.weights["kernel"], groups, axis=3),
        np.split(delta, groups, axis=3),
        np.split(taken, groups, axis=5),
        strict=True,
    ):
        flat = given.reshape(*part.shape[:3], -1)
        by_kernel.append((rows(flat).T @ rows(part)).reshape(kernel.shape))
        by_taken.append((part @ kernel.reshape(-1, kernel.shape[3]).T).reshape(given.shape))
    weights = {"kernel": np.concatenate(by_kernel, axis=3)}
    if "bias" in seen.weights:
        weights["bias"] = rows(delta).sum(axis=0)
    return Back([_back(layer, seen.x, np.concatenate(by_taken, axis=5))], weights)


@backward.register
def _pooling(layer: Pooling2D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """To the largest of each window, the first of a tie; or to all of it that is no padding, in equal parts."""
    taken, gradient = layer.seen(seen.x, np.nan), first(above, seen.y)
    spread = gradient[:, :, :, None, None]
    if isinstance(layer, MaxPooling2D):
        flat = np.where(np.isnan(taken), -np.inf, taken).reshape(*taken.shape[:3], -1, taken.shape[5])
        best = np.arange(flat.shape[3])[:, None] == flat.argmax(axis=3)[:, :, :, None]
        by_taken = np.where(best.reshape(taken.shape), spread, 0)
    else:
        inside = ~np.isnan(taken)
        by_taken = np.where(inside, spread / inside.sum(axis=(3, 4), keepdims=True), 0)
    return Back([_back(layer, seen.x, by_taken.astype(seen.x.dtype))])


@backward.register
def _global_max(_layer: GlobalMaxPooling2D, seen: Seen, above: Sequence[Array | None]) -> Back:
    """To the largest; in equal parts where several are."""
    gradient = first(above, seen.y).reshape(len(seen.x), 1, 1, -1)
    best = seen.x == seen.x.max(axis=(1, 2), keepdims=True)
    return Back([(gradient * best / best.sum(axis=(1, 2), keepdims=True)).astype(seen.x.dtype)])


@backward.register
def _global_average(_layer: GlobalAveragePooling2D, seen: Seen, above: Sequence[Array | None]) -> Back:
    gradient = first(above, seen.y).reshape(len(seen.x), 1, 1, -1)
    return Back([np.broadcast_to(gradient / seen.x.dtype.type(seen.x.shape[1] * seen.x.shape[2]), seen.x.shape)])


def _back(layer: Frames, x: Array, by_taken: Array) -> Array:
    """What each window gives, added up at the places that it sees."""
    (top, bottom), (left, right) = layer.around(x)
    by_x = np.zeros((len(x), top + x.shape[1] + bottom, left + x.shape[2] + right, x.shape[3]), by_taken.dtype)
    at_rows, at_columns = layer.laid(by_x)
    for k in range(at_rows.shape[1]):
        for m in range(at_columns.shape[1]):  # none of the places of one k and m is another's
            by_x[:, at_rows[:, k][:, None], at_columns[:, m]] += by_taken[:, :, :, k, m]
    return by_x[:, top : top + x.shape[1], left : left + x.shape[2]]
