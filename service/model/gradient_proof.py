"""The gradients in a proof: those that TensorFlow computed through Keras's layers, compared with ours.

L = Σ direction ∘ output over all outputs of floats, for the first sequences of the proof; the gradients are dL/d of the
inputs and of the weights. Directions are random and stored with them.
"""

from collections.abc import Mapping

import numpy as np

from service.errors import ServiceError
from service.model.gradients import Tape
from service.model.network import Network
from service.model.proof import AMPLIFIED, Proof, allowed, difference
from service.model.tensors import Array

SEQUENCES = 2  # of the proof: a way back takes longer than all else that is done when a version is loaded
MOST_ELEMENTS = 1_000_000  # of all weights together, up to which a proof holds the gradients by them


def directions(outputs: Mapping[str, Array], seed: int = 0) -> dict[str, Array]:
    """A random direction for each output of floats, over the first sequences."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(y[:SEQUENCES].shape).astype(y.dtype)
        for name, y in outputs.items()
        if y.dtype.kind == "f"
    }


def first(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The sequences that gradients are proven with."""
    return {name: array[:SEQUENCES] for name, array in arrays.items()}


def gradients(network: Network, inputs: Mapping[str, Array], along: Mapping[str, Array]) -> dict[str, Array]:
    """The gradients of a network along directions, by `inputs/NAME` and `weights/LAYER/NAME`; for the first sequences.

    Raises NotSupportedError where a layer has no gradient.
    """
    found = Tape(network, first(inputs)).backward(along)
    return {f"inputs/{name}": array for name, array in found.inputs.items()} | {
        f"weights/{name}": array for name, array in found.weights.items()
    }


def replay(network: Network, proof: Proof) -> float | None:
    """The largest error of the gradients of a network over its proof, in units of what is allowed.

    None where the proof has no gradients, or a layer of the network has none. A version whose gradients are off serves
    all the same: no prediction depends on them.

    What is allowed is that for outputs, times AMPLIFIED: a gradient adds up the rounding of all timesteps twice.
    """
    if not proof.gradients:
        return None
    outputs = first(proof.outputs)
    if any(name not in outputs or outputs[name].shape != along.shape for name, along in proof.directions.items()):
        return float("inf")
    try:
        found = gradients(network, proof.inputs, proof.directions)
    except ServiceError:
        return None
    bounds = {name: bound * AMPLIFIED for name, bound in allowed(network).items()}
    worst = 0.0
    for name, expected in proof.gradients.items():
        actual = found.get(name)
        error = float("inf") if actual is None else difference(actual.astype(expected.dtype), expected, bounds)
        worst = max(worst, error if error == error else float("inf"))
    return worst
