"""Inputs with masked timesteps, with which engines are tried: an engine must be right for every mask."""

from collections.abc import Mapping

import numpy as np

from service.model.layers.embedding import Embedding, Masking
from service.model.network import Network
from service.model.tensors import Array

SHARE = 0.4  # of timesteps that are masked


def masked(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
    """Inputs with masked timesteps: at random, at an end, and all of one sequence where there are several.

    None where no input goes straight into a layer that masks.
    """
    rng, found = np.random.default_rng(2), {}
    values = {spec.name: mask_value(network, place) for spec, place in network.graph.inputs}
    for name, array in inputs.items():
        value = values[name]
        if value is None or array.ndim < 2:
            continue
        hidden = rng.random(array.shape[:2]) < SHARE
        hidden[0, 0] = hidden[-1, -1] = True
        if len(hidden) > 2:
            hidden[1] = True
        changed = array.copy()
        changed[hidden] = value
        found[name] = changed
    return {**inputs, **found} if found else None


def mask_value(network: Network, place: int) -> float | None:
    """What masks a timestep of the input at that place; None where nothing does."""
    for node in network.graph.nodes:
        layer = network.graph.layers[node.layer].layer
        if place in node.inputs and layer.makes_mask():
            if isinstance(layer, Masking):
                return float(layer.options["mask_value"])
            if isinstance(layer, Embedding):
                return 0.0
    return None
