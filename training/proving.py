"""Makes proofs: the results that Keras computes with a network, for a loader to reproduce."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from service.model.engines import keras as keras_network
from service.model.gradient_proof import MOST_ELEMENTS, directions, first
from service.model.network import Network
from service.model.proof import Proof
from training.backend import keras, tf
from training.data.windows import Array

STATE_NAMES = ("hidden_state", "cell_state")


@dataclass(frozen=True)
class States:
    """What a recurrent layer did."""

    over_time: Array  # (sequences, timesteps, units): the output after each timestep
    final: dict[str, Array]  # (sequences, units) each, by name


def states(model: keras.Model, inputs: Mapping[str, Any]) -> dict[str, States]:
    """What each recurrent layer did, by the layer's name, computed by Keras."""
    found = {}
    given = _in_order(model, inputs)
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            before = keras.Model(model.inputs, layer.input)
            found[layer.name] = _run_alone(layer, *keras.tree.flatten(before(given, training=False)))  # with its mask
    return found


def _in_order(model: keras.Model, inputs: Mapping[str, Any]) -> list[Any]:
    """Inputs in the order of a model; the one input of a model may have any name."""
    return [inputs[tensor.name] for tensor in model.inputs] if len(inputs) > 1 else list(inputs.values())


def _run_alone(layer: keras.layers.RNN, x: Any, mask: Any = None) -> States:
    """What a layer does with a sequence, asked of a twin that returns its states."""
    twin = type(layer).from_config({**layer.get_config(), "return_sequences": True, "return_state": True})
    twin.build((None, *x.shape[1:]))
    twin.set_weights(layer.get_weights())
    sequence, *final = twin(x, mask=mask)
    names = (f"{layer.name}/{name}" for name in STATE_NAMES)
    return States(np.asarray(sequence), {n: np.asarray(s) for n, s in zip(names, final, strict=False)})


def prove(path: Path, inputs: Mapping[str, Array], network: Network) -> Proof:
    """What a loader must reproduce of a file that exists: Keras's own outputs, and final states where they can be seen.

    `network` is our own of that file. Of the states, those of recurrent layers that are called once and stand by
    themselves are proven by themselves, the others through what they lead to.

    Raises UnsupportedModelError where Keras refuses the file, InvalidArgumentError where it refuses the inputs.
    """
    with warnings.catch_warnings():  # Keras's, of options that are no more, and how a model's inputs are called
        warnings.simplefilter("ignore", UserWarning)
        return proof(keras_network.load(path), inputs, network)


def proof(model: keras.Model, inputs: Mapping[str, Array], network: Network) -> Proof:
    """What a loader must reproduce of a model, as `prove`. `network` is our own of it."""
    arrays = _in_order(model, inputs)
    given = arrays if len(arrays) > 1 else arrays[0]
    try:
        found = model(given, training=False)
    except Exception as error:  # Keras has no one class for numbers that a layer cannot take
        text = str(error).strip().partition("\n")[0][:300]
        raise InvalidArgumentError(f"proof-from: Keras refuses these inputs: {text}", field="proof-from") from error
    names = [spec.name for spec in network.outputs]
    made = dict(zip(names, map(np.asarray, keras.tree.flatten(found)), strict=True))
    wanted = {spec.name for spec in network.states}
    final: dict[str, Array] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN) and f"{layer.name}/hidden_state" in wanted:
            x, *others = keras.tree.flatten(keras.Model(model.inputs, layer.input)(arrays))
            if all(other.dtype == "bool" for other in others):  # a mask; anything else is a state that the graph gives
                final.update(_run_alone(layer, x, *others).final)
    ordered = {tensor.name: inputs[tensor.name] for tensor in model.inputs} if len(inputs) > 1 else inputs
    slopes = _gradients(model, ordered, made, network.weights) if network.computed_by == "numpy" else ({}, {})
    return Proof(dict(inputs), made, final, "keras", *slopes)


def _gradients(
    model: keras.Model, inputs: Mapping[str, Array], outputs: Mapping[str, Array], weights: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Directions, and the gradients along them that TensorFlow computes; empty for networks of half precision.

    inputs: in the order of the model. Our network differentiates half precision in single precision, as TensorFlow does
    not.
    """
    along = directions(outputs)
    if any(layer.compute_dtype not in {"float32", "float64"} for layer in model.layers) or not along:
        return {}, {}
    given = {name: tf.constant(array) for name, array in first(inputs).items()}
    floats = {name: tensor for name, tensor in given.items() if tensor.dtype.is_floating}
    variables = _named(model, weights)
    with tf.GradientTape() as tape:
        for tensor in floats.values():
            tape.watch(tensor)
        arguments = list(given.values())
        found = keras.tree.flatten(model(arguments if len(arguments) > 1 else arguments[0], training=False))
        loss = tf.add_n(
            [
                tf.cast(tf.reduce_sum(y * along[name]), "float64")
                for name, y in zip(outputs, found, strict=True)
                if name in along
            ]
        )
    by_inputs, by_weights = tape.gradient(loss, (floats, variables))
    found = {f"inputs/{name}": slope for name, slope in by_inputs.items()}
    found |= {f"weights/{name}": slope for name, slope in by_weights.items()}
    slopes = {name: np.asarray(tf.convert_to_tensor(slope)) for name, slope in found.items() if slope is not None}
    return (along, slopes) if slopes else ({}, {})


def _named(model: keras.Model, weights: Mapping[str, Array]) -> dict[str, Any]:
    """The variables that training changes, by our names; none where there are very many.

    Keras and we have weights in the same order; which is which is seen from their values.
    """
    if sum(array.size for array in weights.values()) > MOST_ELEMENTS or len(weights) != len(model.weights):
        return {}
    trained = {id(variable) for variable in model.trainable_weights}
    return {
        name: variable.value
        for (name, array), variable in zip(weights.items(), model.weights, strict=True)
        if id(variable) in trained and np.array_equal(variable.numpy(), array)
    }
