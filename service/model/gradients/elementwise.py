"""Gradients of elementwise layers, and of layers that do nothing at prediction."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients import activations
from service.model.gradients.base import Back, Seen, backward, first, summed_to
from service.model.layers.elementwise import ELU, Activation, Identity, LeakyReLU, PReLU, ReLU, Softmax
from service.model.tensors import Array


@backward.register
def _activation(layer: Activation, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([activations.through(layer.options["activation"], first(above, seen.y), seen.x, seen.y)])


@backward.register
def _relu(layer: ReLU, seen: Seen, above: Sequence[Array | None]) -> Back:
    """1 between threshold and max_value, negative_slope below the threshold."""
    x, o = seen.x, layer.options
    slope, largest, threshold = o["negative_slope"], o["max_value"], x.dtype.type(o["threshold"])
    if slope and largest is None and not threshold:
        return Back([first(above, seen.y) * np.where(x > 0, 1, np.float32(slope)).astype(x.dtype)])
    factor = (x > threshold).astype(x.dtype)
    if largest is not None:  # TensorFlow's kernel for 6 leaves the bound out, the general one takes it in
        factor *= x < 6 if largest == 6 and not threshold else x <= x.dtype.type(largest)
    if slope:
        factor += x.dtype.type(slope) * (-x + threshold > 0)
    return Back([first(above, seen.y) * factor])


@backward.register
def _leaky(layer: LeakyReLU, seen: Seen, above: Sequence[Array | None]) -> Back:
    slope = seen.x.dtype.type(np.float32(layer.options["negative_slope"]))  # as the layer has it
    return Back([first(above, seen.y) * np.where(seen.x > 0, seen.x.dtype.type(1), slope)])


@backward.register
def _elu(layer: ELU, seen: Seen, above: Sequence[Array | None]) -> Back:
    alpha = seen.x.dtype.type(layer.options["alpha"])
    return Back([first(above, seen.y) * np.where(seen.x > 0, seen.x.dtype.type(1), seen.y + alpha)])


@backward.register
def _prelu(_layer: PReLU, seen: Seen, above: Sequence[Array | None]) -> Back:
    """1 where positive, else alpha; by alpha: x where negative."""
    gradient, alpha = first(above, seen.y), seen.weights["alpha"]
    by_x = gradient * ((seen.x > 0) + alpha * (seen.x < 0)).astype(seen.x.dtype)
    return Back([by_x], {"alpha": summed_to((gradient * np.minimum(seen.x, 0)).sum(axis=0), alpha.shape)})


@backward.register
def _softmax(layer: Softmax, seen: Seen, above: Sequence[Array | None]) -> Back:
    """As the activation; masked elements take no part."""
    gradient, mask = first(above, seen.y), seen.masks[0]
    if mask is not None:
        gradient = np.where(mask, gradient, 0).astype(seen.x.dtype)
    return Back([activations.softmax(gradient, seen.x, seen.y, layer.options["axis"])])


@backward.register
def _identity(_layer: Identity, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([first(above, seen.y)])
