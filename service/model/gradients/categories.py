"""Gradients of layers that make categories: there are none, since categories do not change by a little."""

from collections.abc import Sequence

from service.model.gradients.base import Back, Seen, backward
from service.model.layers.categories import Encoding
from service.model.tensors import Array


@backward.register
def _encoding(_layer: Encoding, seen: Seen, _above: Sequence[Array | None]) -> Back:
    return Back([None] * len(seen.inputs))
