"""Gradients of layers that only move elements: the elements move back."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.base import Back, Seen, backward, first
from service.model.layers.shape import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from service.model.tensors import Array


@backward.register
def _flatten(layer: Flatten, seen: Seen, above: Sequence[Array | None]) -> Back:
    gradient, shape = first(above, seen.y), seen.x.shape
    if layer.options["data_format"] == "channels_first" and len(shape) > 2:
        return Back([np.moveaxis(gradient.reshape(shape[0], *shape[2:], shape[1]), -1, 1)])
    return Back([gradient.reshape(shape)])


@backward.register
def _reshape(_layer: Reshape, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([first(above, seen.y).reshape(seen.x.shape)])


@backward.register
def _permute(layer: Permute, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([first(above, seen.y).transpose(np.argsort((0, *layer.options["dims"])))])


@backward.register
def _repeat(_layer: RepeatVector, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([first(above, seen.y).sum(axis=1)])


@backward.register
def _cropping(layer: Cropping1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([np.pad(first(above, seen.y), ((0, 0), layer.options["cropping"], (0, 0)))])


@backward.register
def _padding(layer: ZeroPadding1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    before, axis = layer.options["padding"][0], layer.axis()
    places = range(before, before + seen.x.shape[axis])
    return Back([np.take(first(above, seen.y), places, axis)])


@backward.register
def _upsampling(layer: UpSampling1D, seen: Seen, above: Sequence[Array | None]) -> Back:
    batch, steps, channels = seen.x.shape
    return Back([first(above, seen.y).reshape(batch, steps, layer.options["size"], channels).sum(axis=2)])
