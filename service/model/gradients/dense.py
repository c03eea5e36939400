"""Gradient of Dense: dx = δ·Wᵀ, dW = xᵀ·δ, db = Σ δ, with δ = dy ∘ f'(x·W + b)."""

from collections.abc import Sequence

from service.model.gradients.activations import through
from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.dense import Dense
from service.model.tensors import Array


@backward.register
def _dense(layer: Dense, seen: Seen, above: Sequence[Array | None]) -> Back:
    pre = seen.record["pre_activation"]
    delta = through(layer.options["activation"], first(above, seen.y), pre, seen.y)
    kernel = seen.weights["kernel"]
    weights = {}
    if seen.by_weights:
        weights["kernel"] = rows(seen.x).T @ rows(delta)
        if "bias" in seen.weights:
            weights["bias"] = rows(delta).sum(axis=0)
    return Back([delta @ kernel.T], weights, inside={"pre_activation": delta})
