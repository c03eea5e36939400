"""Gradients of wrappers: of the inner layer, in TimeDistributed with each timestep as a sequence."""

from collections.abc import Sequence
from dataclasses import replace

from service.model.gradients.base import Back, Seen, backward, first
from service.model.layers.wrappers import SpectralNormalization, TimeDistributed
from service.model.tensors import Array


@backward.register
def _time_distributed(layer: TimeDistributed, seen: Seen, above: Sequence[Array | None]) -> Back:
    apart = replace(
        seen,
        inputs=[_apart(seen.x)],
        masks=[None],
        outputs=[_apart(seen.y)],
        record={name: _apart(array) for name, array in seen.record.items()},
    )
    back = backward(layer.inner, apart, [_apart(first(above, seen.y))])
    (by_x,) = back.inputs
    inside = {name: array.reshape(*seen.y.shape[:2], *array.shape[1:]) for name, array in back.inside.items()}
    return Back([None if by_x is None else by_x.reshape(seen.x.shape)], back.weights, inside=inside)


@backward.register
def _spectral(layer: SpectralNormalization, seen: Seen, above: Sequence[Array | None]) -> Back:
    return backward(layer.inner, seen, above)


def _apart(x: Array) -> Array:
    """(batch, timesteps, …) as (batch · timesteps, …)."""
    return x.reshape(-1, *x.shape[2:])
