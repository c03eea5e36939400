"""Gradients of Embedding and Masking. Ids have no gradient; the vectors that an Embedding makes of them have one."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.embedding import Embedding, Masking
from service.model.tensors import Array


@backward.register
def _embedding(_layer: Embedding, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Each row of the table gets the sum over its places."""
    if not seen.by_weights:
        return Back([None])
    gradient = first(above, seen.y)
    table = np.zeros_like(seen.weights["embeddings"])
    np.add.at(table, seen.x.astype(np.int64).ravel(), rows(gradient))
    return Back([None], {"embeddings": table})


@backward.register
def _masking(layer: Masking, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Nothing where a timestep is masked."""
    valid = layer.mask(seen.inputs, seen.masks)[..., None]
    return Back([np.where(valid, first(above, seen.y), seen.y.dtype.type(0))])
