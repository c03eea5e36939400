"""Gradient of EinsumDense: the equation turned around, by the input and by the kernel."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.activations import through
from service.model.gradients.base import Back, Seen, backward, first, summed_to
from service.model.layers.einsum import EinsumDense
from service.model.tensors import Array


@backward.register
def _einsum(layer: EinsumDense, seen: Seen, above: Sequence[Array | None]) -> Back:
    delta = through(layer.options["activation"], first(above, seen.y), seen.record["pre_activation"], seen.y)
    given, kernel, made = layer.letters(seen.x.ndim)
    by_x = _turned(made, kernel, given, delta, seen.weights["kernel"], seen.x.shape)
    weights = {"kernel": _turned(made, given, kernel, delta, seen.x, seen.weights["kernel"].shape)}
    if "bias" in seen.weights:
        weights["bias"] = summed_to(delta, seen.weights["bias"].shape)
    return Back([by_x], weights, inside={"pre_activation": delta})


def _turned(made: str, other: str, own: str, delta: Array, array: Array, shape: tuple[int, ...]) -> Array:
    """The gradient by one operand; what it alone was summed over, spread again."""
    known = "".join(letter for letter in own if letter in made or letter in other)
    by = np.einsum(f"{made},{other}->{known}", delta, array)
    return np.broadcast_to(by.reshape([shape[i] if letter in known else 1 for i, letter in enumerate(own)]), shape)
