"""The effect of rounding on a network's results, estimated by small perturbations of its weights.

Two libraries that compute the same network round differently, as if each had used weights that are off by about a
unit roundoff u. How far that carries depends on the network: a trained one may amplify it many times. So the change of
the results is measured where the weights w are changed by chance to w·(1 ± √u), and scaled back by √u, which is far
above rounding and small enough for the change to be linear (N. Higham, Accuracy and Stability of Numerical Algorithms,
2002, §1.6: the forward error is at most the condition number times the backward error).
"""

from collections.abc import Mapping

import numpy as np

from service.model.network import Network
from service.model.tensors import Array

CHANGES = 8  # of all weights; the largest effect counts


def sensitivity(
    network: Network, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """By how much each output and each final state moves where every weight moves by a unit roundoff.

    Inputs are as `Network.forward` takes them. They stay as they are: a mask may depend on their very values. Takes the
    time of some forward passes, and memory for a second set of weights.
    """
    rng = np.random.default_rng(0)
    roundoff = float(np.finfo(network.precision).eps) / 2
    step = roundoff**0.5
    base = network.forward(inputs, initial_state)
    outputs, states = dict.fromkeys(base.outputs, 0.0), dict.fromkeys(base.final_state, 0.0)
    for _ in range(CHANGES):
        moved = _moved(network, step, rng).forward(inputs, initial_state)
        for largest, before, after in (
            (outputs, base.outputs, moved.outputs),
            (states, base.final_state, moved.final_state),
        ):
            for name in largest:
                largest[name] = max(largest[name], _distance(before[name], after[name]) * step)
    return outputs, states


def _moved(network: Network, step: float, rng: np.random.Generator) -> Network:
    changes = {}
    for name, weight in network.weights.items():
        if weight.dtype.kind == "f":
            sign = rng.integers(0, 2, size=weight.shape, dtype=np.int8) * 2 - 1
            changed = (weight * (1 + step * sign)).astype(weight.dtype)
            changes[name] = np.where(np.isfinite(changed), changed, weight)
    return network.with_weights(changes)


def _distance(before: Array, after: Array) -> float:
    """The largest change of a number; of those that are not finite in both, none."""
    if before.dtype.kind != "f":
        return 0.0
    change = np.abs(after.astype(np.float64) - before.astype(np.float64))
    return float(np.max(change, initial=0.0, where=np.isfinite(change)))
