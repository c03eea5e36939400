"""Gradients of layers that shift and scale. Moments taken from training data have no gradient."""

from collections.abc import Sequence

import numpy as np

from service.model.gradients.base import Back, Seen, backward, first, summed_to
from service.model.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
    spread,
)
from service.model.tensors import Array


@backward.register
def _rescaling(layer: Rescaling, seen: Seen, above: Sequence[Array | None]) -> Back:
    return Back([first(above, seen.y) * np.array(layer.options["scale"], seen.y.dtype)])


@backward.register
def _normalization(layer: Normalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """1 / deviation, or deviation with `invert`."""
    _, deviation = (layer.spread(v, seen.x) for v in layer.prepare(seen.weights))
    gradient = first(above, seen.y)
    return Back([gradient * deviation if layer.options["invert"] else gradient / deviation])


@backward.register
def _batch(layer: BatchNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Dx = dy·γ / √(σ² + ε), dγ = Σ dy∘x̂, dβ = Σ dy."""
    gradient, x, axis = first(above, seen.y), seen.x, layer.options["axis"]
    shape = [1] * x.ndim
    shape[axis] = -1
    scale = 1 / np.sqrt(seen.weights["moving_variance"] + x.dtype.type(layer.options["epsilon"]))
    normal = (x - seen.weights["moving_mean"].reshape(shape)) * scale.reshape(shape)
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    weights = {}
    if "gamma" in seen.weights:
        weights["gamma"] = (gradient * normal).sum(axis=others)
        scale = scale * seen.weights["gamma"]
    if "beta" in seen.weights:
        weights["beta"] = gradient.sum(axis=others)
    return Back([gradient * scale.reshape(shape)], weights)


@backward.register
def _layer(layer: LayerNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Dx = (ŷ - mean ŷ - x̂·mean(ŷ∘x̂)) / √(var + ε) with ŷ = dy·γ; J. L. Ba et al., arXiv:1607.06450."""
    gradient, x, over = first(above, seen.y), seen.x, tuple(layer.options["axis"])
    mean = x.mean(axis=over, keepdims=True)
    variance = np.square(x - mean).mean(axis=over, keepdims=True)
    scale = 1 / np.sqrt(variance + x.dtype.type(layer.options["epsilon"]))
    normal = (x - mean) * scale
    weights = {}
    if "gamma" in seen.weights:
        gamma = spread(seen.weights["gamma"], x, over)
        weights["gamma"] = summed_to(gradient * normal, gamma.shape).reshape(seen.weights["gamma"].shape)
    if "beta" in seen.weights:
        beta = spread(seen.weights["beta"], x, over)
        weights["beta"] = summed_to(gradient, beta.shape).reshape(seen.weights["beta"].shape)
    inner = gradient * gamma if "gamma" in weights else gradient
    centred = inner - inner.mean(axis=over, keepdims=True)
    return Back([scale * (centred - normal * (inner * normal).mean(axis=over, keepdims=True))], weights)


@backward.register
def _rms(layer: RMSNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Dx = s·(ŷ - x̂·mean(ŷ∘x̂)) with ŷ = dy·scale, x̂ = x·s, s = 1 / √(mean x² + ε); arXiv:1910.07467."""
    gradient, x, over = first(above, seen.y), seen.x, tuple(layer.options["axis"])
    s = 1 / np.sqrt(np.square(x).mean(axis=over, keepdims=True) + x.dtype.type(layer.options["epsilon"]))
    scale, normal = spread(seen.weights["scale"], x, over), x * s
    inner = gradient * scale
    by_scale = summed_to(gradient * normal, scale.shape).reshape(seen.weights["scale"].shape)
    return Back([s * (inner - normal * (inner * normal).mean(axis=over, keepdims=True))], {"scale": by_scale})


@backward.register
def _unit(layer: UnitNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Dx = (dy - ŷ·Σ(dy∘ŷ)) / |x|; where |x| is below 1e-12, dy / 1e-12."""
    gradient, x, over = first(above, seen.y), seen.x, tuple(layer.options["axis"])
    with np.errstate(divide="ignore"):
        inverse = 1 / np.sqrt(np.square(x).sum(axis=over, keepdims=True))
    capped = inverse > 1e12
    along = np.where(capped, 0, seen.y * (gradient * seen.y).sum(axis=over, keepdims=True))
    return Back([((gradient - along) * np.minimum(inverse, 1e12)).astype(x.dtype)])


@backward.register
def _group(layer: GroupNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    """As of LayerNormalization, over the axes of each group."""
    gradient, x = first(above, seen.y), seen.x
    y, over = layer.grouped(x)
    mean = y.mean(axis=over, keepdims=True)
    scale = 1 / np.sqrt(np.square(y - mean).mean(axis=over, keepdims=True) + x.dtype.type(layer.options["epsilon"]))
    normal = (y - mean) * scale
    at = [1] * x.ndim
    at[layer.options["axis"]] = -1
    others = tuple(i for i in range(x.ndim) if i != layer.options["axis"] % x.ndim)
    weights = {}
    if "gamma" in seen.weights:
        weights["gamma"] = (gradient * normal.reshape(x.shape)).sum(axis=others)
    if "beta" in seen.weights:
        weights["beta"] = gradient.sum(axis=others)
    inner = gradient * seen.weights["gamma"].reshape(at) if "gamma" in seen.weights else gradient
    inner, _ = layer.grouped(inner)
    centred = inner - inner.mean(axis=over, keepdims=True)
    by_x = scale * (centred - normal * (inner * normal).mean(axis=over, keepdims=True))
    return Back([by_x.reshape(x.shape).astype(x.dtype)], weights)
