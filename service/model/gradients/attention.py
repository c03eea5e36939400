"""Gradients of attention: through the mean of the values, the softmax of the scores, and the scores.

With Y = P·V and P = softmax(S): dV = Pᵀ·dY, dP = dY·Vᵀ, dS = P∘(dP - Σ dP∘P).
"""

import math
from collections.abc import Sequence

import numpy as np

from service.model.activations import sigmoid
from service.model.gradients.activations import softmax
from service.model.gradients.base import Back, Seen, backward, first, rows
from service.model.layers.attention import SCORES, AdditiveAttention, Attending, Attention, Heads, affine, split
from service.model.tensors import Array


@backward.register
def _attention(layer: Attention, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Scores by query and key: products, or sums of 1 - tanh²."""
    given = layer.by_role(seen.inputs)
    query, value, key = given["query"], given["value"], given.get("key", given["value"])
    query_mask, _ = layer.own_masks(given, seen.masks)
    gradient = first(above, seen.y)
    if query_mask is not None:
        gradient = np.where(query_mask[:, :, None], gradient, 0)
    found = seen.record[SCORES]
    by_found = gradient @ value.swapaxes(1, 2)
    if len(above) > 1 and above[1] is not None:
        by_found = by_found + above[1]
    by_scores = softmax(by_found, found, found)
    weights: dict[str, Array] = {}
    scale = seen.weights.get("scale")
    if layer.sums:
        additive = isinstance(layer, AdditiveAttention)
        sums = query[:, :, None] + key[:, None]
        fits = np.tanh(sums if scale is None or additive else scale * sums)
        by_fits = np.broadcast_to(by_scores[..., None], fits.shape)
        if additive and scale is not None:
            weights["scale"] = (by_fits * fits).sum(axis=(0, 1, 2))
            by_fits = by_fits * scale
        if not additive:
            weights["concat_score_weight"] = (by_scores * fits.sum(axis=-1)).sum()
            by_fits = by_fits * seen.weights["concat_score_weight"]
        by_sums = by_fits * (1 - fits * fits)
        if scale is not None and not additive:
            weights["scale"] = (by_sums * sums).sum()
            by_sums = by_sums * scale
        by_query, by_key = by_sums.sum(axis=2), by_sums.sum(axis=1)
    else:
        products = query @ key.swapaxes(1, 2)
        if scale is not None:
            weights["scale"] = (by_scores * products).sum()
            by_scores = by_scores * scale
        by_query, by_key = by_scores @ key, by_scores.swapaxes(1, 2) @ query
    return _by_role(layer, seen, by_query, by_key, found.swapaxes(1, 2) @ gradient, weights)


@backward.register
def _heads(layer: Heads, seen: Seen, above: Sequence[Array | None]) -> Back:
    """As one head, and through the affine maps of query, key, value, gate and output."""
    given, (heads, few), (wide, _) = layer.by_role(seen.inputs), layer.counts(), layer.widths()
    kind = seen.y.dtype
    maps = {name: (matrix.astype(kind), bias) for name, (matrix, bias) in layer.prepare(seen.weights).items()}
    query, key, value = layer.mapped(maps, given)
    where = layer.where_allowed(given, seen.masks)
    found = seen.record[SCORES]
    joined = (found @ value).swapaxes(1, 2)
    joined = joined.reshape(*joined.shape[:2], -1)
    gate = sigmoid(affine(maps["gate"], given["query"])) if "gate" in maps else None
    weights: dict[str, Array] = {}

    def through(name: str, x: Array, gradient: Array) -> Array:
        """The gradient by the input of an affine map; keeps those by its weights."""
        kernel = seen.weights[f"{name}/kernel"]
        weights[f"{name}/kernel"] = (rows(x).T @ rows(gradient)).reshape(kernel.shape)
        if f"{name}/bias" in seen.weights:
            weights[f"{name}/bias"] = rows(gradient).sum(axis=0).reshape(seen.weights[f"{name}/bias"].shape)
        return gradient @ maps[name][0].T

    by_joined = through("attention_output", joined if gate is None else joined * gate, first(above, seen.y))
    by_query_in: Array | float = 0.0
    if gate is not None:
        by_query_in = through("gate", given["query"], by_joined * joined * gate * (1 - gate))
        by_joined = by_joined * gate
    by_mean = split(by_joined, heads)
    by_value = found.swapaxes(2, 3) @ by_mean
    by_found = by_mean @ value.swapaxes(2, 3)
    if len(above) > 1 and above[1] is not None:
        by_found = by_found + above[1]
    by_scores = softmax(by_found, found, found)
    if where is not None:
        by_scores = np.where(where, by_scores, 0)
    by_scores = by_scores * kind.type(np.float32(1 / math.sqrt(wide)))
    by_query, by_key = by_scores @ key, by_scores.swapaxes(2, 3) @ query
    if few != heads:
        by_key, by_value = (x.reshape(len(x), few, heads // few, *x.shape[2:]).sum(axis=2) for x in (by_key, by_value))
    by_query_in = by_query_in + through("query", given["query"], _joined(by_query))
    by_key_in = through("key", given.get("key", given["value"]), _joined(by_key))
    by_value_in = through("value", given["value"], _joined(by_value))
    return _by_role(layer, seen, by_query_in, by_key_in, by_value_in, weights)


def _joined(x: Array) -> Array:
    """(batch, heads, T, width) as (batch, T, heads · width)."""
    x = x.swapaxes(1, 2)
    return x.reshape(*x.shape[:2], -1)


def _by_role(
    layer: Attending, seen: Seen, by_query: Array, by_key: Array, by_value: Array, weights: dict[str, Array]
) -> Back:
    """In the order of the inputs; the value is the key where none is given. Masks have no gradient."""
    roles = list(layer.by_role(seen.inputs))
    if "key" not in roles:
        by_value = by_value + by_key
    by = {"query": by_query, "value": by_value, "key": by_key}
    return Back([by.get(role) for role in roles], {name: np.asarray(value) for name, value in weights.items()})
