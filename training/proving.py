"""Makes proofs: the results that Keras computes with a network, for a loader to reproduce."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from service.model.engines import keras as keras_network
from service.model.proof import Proof
from service.model.tensors import TensorSpec
from training.backend import keras
from training.data.windows import Array
from training.network import INPUT, predict

STATE_NAMES = ("hidden_state", "cell_state")


@dataclass(frozen=True)
class States:
    """What a recurrent layer did."""

    over_time: Array  # (sequences, timesteps, units): the output after each timestep
    final: dict[str, Array]  # (sequences, units) each, by name


def states(model: keras.Model, inputs: Array) -> dict[str, States]:
    """What each recurrent layer did, by the layer's name, computed by Keras."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            found[layer.name] = _run_alone(layer, keras.Model(model.inputs[0], layer.input)(inputs, training=False))
    return found


def _run_alone(layer: keras.layers.RNN, x: Any, mask: Any = None) -> States:
    """What a layer does with a sequence, asked of a twin that returns its states."""
    twin = type(layer).from_config({**layer.get_config(), "return_sequences": True, "return_state": True})
    twin.build((None, *x.shape[1:]))
    twin.set_weights(layer.get_weights())
    sequence, *final = twin(x, mask=mask)
    names = (f"{layer.name}/{name}" for name in STATE_NAMES)
    return States(np.asarray(sequence), {n: np.asarray(s) for n, s in zip(names, final, strict=False)})


def proof(model: keras.Model, inputs: Array) -> Proof:
    """What a loader must reproduce: inputs, with Keras's own outputs and final states."""
    final = {name: state for layer in states(model, inputs).values() for name, state in layer.final.items()}
    return Proof({INPUT: inputs}, {model.layers[-1].name: predict(model, inputs)}, final, made_by="keras")


def prove(path: Path, inputs: Mapping[str, Array], outputs: Sequence[str], states: Sequence[TensorSpec]) -> Proof:
    """What a loader must reproduce of a file that exists: Keras's own outputs, and final states where they can be seen.

    `outputs` are their names in the order of the model. Of the states, those of recurrent layers that are called once
    and stand by themselves are proven by themselves, the others through what they lead to.

    Raises UnsupportedModelError where Keras refuses the file, InvalidArgumentError where it refuses the inputs.
    """
    with warnings.catch_warnings():  # Keras's, of options that are no more, and how a model's inputs are called
        warnings.simplefilter("ignore", UserWarning)
        return _prove(keras_network.load(path), inputs, outputs, states)


def _prove(
    model: keras.Model, inputs: Mapping[str, Array], outputs: Sequence[str], states: Sequence[TensorSpec]
) -> Proof:
    arrays = [inputs[tensor.name] for tensor in model.inputs] if len(inputs) > 1 else list(inputs.values())
    given = arrays if len(arrays) > 1 else arrays[0]
    try:
        found = model(given, training=False)
    except Exception as error:  # Keras has no one class for numbers that a layer cannot take
        text = str(error).strip().partition("\n")[0][:300]
        raise InvalidArgumentError(f"proof-from: Keras refuses these inputs: {text}", field="proof-from") from error
    made = dict(zip(outputs, map(np.asarray, keras.tree.flatten(found)), strict=True))
    wanted = {spec.name for spec in states}
    final: dict[str, Array] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN) and f"{layer.name}/hidden_state" in wanted:
            x, *others = keras.tree.flatten(keras.Model(model.inputs, layer.input)(arrays))
            if all(other.dtype == "bool" for other in others):  # a mask; anything else is a state that the graph gives
                final.update(_run_alone(layer, x, *others).final)
    return Proof(dict(inputs), made, final, made_by="keras")
