"""The Keras network: how it is built, used and saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError, LimitExceededError
from training.backend import keras, tf
from training.data.categories import LARGEST_EMBEDDING, Embedding
from training.data.windows import FUTURE, SEQUENCE, Ahead, Array, Windows
from training.evaluation.calibration import temperature
from training.evaluation.errors import BATCH
from training.options import Options
from training.scaling import Scaling

INPUT, DENSE, TARGETS, CHANGE, TEMPERATURE, OUTPUT = SEQUENCE, "dense", "targets", "change", "temperature", "output"
KINDS = {
    "simple-rnn": ("simpleRNN", keras.layers.SimpleRNN),
    "gru": ("gru", keras.layers.GRU),
    "lstm": ("lstm", keras.layers.LSTM),
}

Weights = dict[str, Array]


def build(options: Options, timesteps: int, features: int, scaling: Scaling | None = None) -> keras.Model:
    """A compiled network with its initial weights.

    Raises InvalidArgumentError for names that Keras does not know, LimitExceededError where memory is not enough.
    """

    def model() -> keras.Model:
        layers = _layers(options, timesteps, features, scaling)
        if scaling is None or not (scaling.relative or scaling.embeddings or scaling.ahead):
            return keras.Sequential(layers, name="sequential")
        return _graph(layers, timesteps, features, scaling)

    return compiled(model, options)


def compiled(build: Callable[[], keras.Model], options: Options) -> keras.Model:
    """What `build` makes, with the optimizer and the loss of the options.

    Raises InvalidArgumentError for names that Keras does not know, LimitExceededError where memory is not enough.
    """
    keras.utils.set_random_seed(options.seed)
    try:
        model = build()
        optimizer = keras.optimizers.get(options.optimizer)
        loss = keras.losses.get(options.chosen_loss)
    except ValueError as error:
        raise InvalidArgumentError(str(error).partition("\n")[0]) from None
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise LimitExceededError(
            f"units: there is no memory for a network of {','.join(map(str, options.units))} units", field="units"
        ) from None
    optimizer.learning_rate = options.learning_rate
    model.compile(optimizer=optimizer, loss=loss)
    return model


def recurrent(options: Options, *, sequences: bool) -> list[Any]:
    """The recurrent layers, each with its dropout; whether the last one gives its output at every timestep."""
    layers: list[Any] = []
    base, kind = KINDS[options.network]
    for i, units in enumerate(options.units):
        name = base if i == 0 else f"{base}_{i + 1}"
        last = i == len(options.units) - 1
        layer = kind(units, activation=options.activation, return_sequences=sequences or not last, name=name)
        layers.append(keras.layers.Bidirectional(layer, name=name) if options.bidirectional else layer)
        if options.dropout:
            layers.append(keras.layers.Dropout(options.dropout, name=f"dropout_{i + 1}"))
    return layers


def _layers(options: Options, timesteps: int, features: int, scaling: Scaling | None) -> list[Any]:
    """Input, scaling, recurrent layers, Dense, and scaling back or, with scaling, the probabilities of classes.

    The output is (batch, steps), of several targets (batch, steps, targets).
    """
    layers: list[Any] = [keras.Input((timesteps, features), name=INPUT)]
    if scaling is not None and scaling.ids:
        dimensions = min(LARGEST_EMBEDDING, max(1, round(scaling.ids**0.5)))
        layers = [keras.Input((timesteps,), dtype="int32", name=INPUT)]
        layers.append(keras.layers.Embedding(scaling.ids, dimensions, name="embedding"))
    elif scaling is not None:
        normalization = keras.layers.Normalization(name="normalization")
        normalization.adapt(scaling.sample.astype(np.float64))  # Keras adds up in the type that it is given
        layers.append(normalization)
    layers += recurrent(options, sequences=options.return_sequences)
    if scaling is not None and options.dense_activation == "softmax":
        return layers + probabilities(options.dense_units)
    scaled_back = scaling is not None
    if options.dense_units:
        name = DENSE if scaled_back else OUTPUT
        layers.append(keras.layers.Dense(options.dense_units, activation=options.dense_activation, name=name))
    if scaling is not None:
        scale: Any = scaling.scale[0]
        offset: Any = scaling.offset[0]
        if (several := len(scaling.scale)) > 1:
            layers.append(keras.layers.Reshape((options.dense_units // several, several), name=TARGETS))
            scale, offset = list(scaling.scale), list(scaling.offset)
        layers.append(keras.layers.Rescaling(scale, offset, name=CHANGE if scaling.relative else OUTPUT))
    return layers


def probabilities(classes: int) -> list[Any]:
    """Layers from the output of recurrent ones to the probabilities of classes, with a temperature, which is 1."""
    return [
        keras.layers.Dense(classes, name=DENSE),
        keras.layers.Rescaling(1.0, name=TEMPERATURE),
        keras.layers.Activation("softmax", name=OUTPUT),
    ]


def calibrate(model: keras.Model, validation: Windows) -> float | None:
    """Sets the temperature of a network that has one, by windows that it did not learn from; gives it."""
    if TEMPERATURE not in {layer.name for layer in model.layers}:
        return None
    several = len(model.inputs) > 1
    scores = keras.Model(model.inputs if several else model.inputs[0], model.get_layer(DENSE).output)
    logits = []
    for batch in validation.batches(BATCH):
        feeds = batch.feeds()
        given = [tf.constant(feeds[tensor.name if several else SEQUENCE]) for tensor in model.inputs]
        logits.append(np.asarray(scores(given if several else given[0], training=False)))
    found = temperature(np.concatenate(logits), validation.expected()[:, 0])
    model.get_layer(TEMPERATURE).scale = 1 / found
    return found


def _graph(layers: list[Any], timesteps: int, features: int, scaling: Scaling) -> keras.Model:
    """Layers in a graph: with embedded texts beside the features, and between two differences for a residual.

    What is known ahead joins what the recurrent layers made of the window, in front of the Dense layer.
    """
    sequence, normalization, *others = layers
    last, x = _difference(sequence, features, scaling.relative) if scaling.relative else (None, sequence)
    x = normalization(x)
    texts = {name: keras.Input((timesteps,), dtype="string", name=name) for name in scaling.embeddings}
    if texts:
        embedded = [_embedded(texts[name], one) for name, one in scaling.embeddings.items()]
        x = keras.layers.Concatenate(name="joined")([x, *embedded])  # (batch, timesteps, features and dimensions)
    inputs = [sequence, *texts.values()]
    for layer in others:
        if scaling.ahead is not None and isinstance(layer, keras.layers.Dense):
            inputs.append(keras.Input((scaling.ahead.steps, len(scaling.ahead.features)), name=FUTURE))
            x = keras.layers.Concatenate(name="with_future")([x, _flat(inputs[-1], scaling.sample, scaling.ahead)])
        x = layer(x)
    if last is not None:
        x = keras.layers.Add(name=OUTPUT)([x, _last_targets(last, scaling.relative)])
    several = len(inputs) > 1
    return keras.Model(inputs if several else sequence, x, name="network" if several else "residual")


def _flat(future: Any, sample: Array, ahead: Ahead) -> Any:
    """What is known ahead, normalized as in the window, (batch, steps · features)."""
    normalization = keras.layers.Normalization(name="future_normalization")
    normalization.adapt(sample[:, ahead.features].astype(np.float64))
    return keras.layers.Flatten(name="future_flat")(normalization(future))


def _embedded(text: Any, embedding: Embedding) -> Any:
    """Texts, (batch, timesteps), looked up and embedded; what is not in the vocabulary shares one row."""
    lookup = keras.layers.StringLookup(vocabulary=list(embedding.words), name=f"{text.name}_lookup")
    size = len(embedding.words) + 1
    return keras.layers.Embedding(size, embedding.dimensions, name=f"{text.name}_embedding")(lookup(text))


def _difference(sequence: Any, features: int, relative: tuple[int, ...]) -> tuple[Any, Any]:
    """The last values of some features, (batch, 1, features) and zero elsewhere, and the sequence without them."""
    only = [float(i in relative) for i in range(features)]
    last = keras.layers.Rescaling(only, name="last")(sequence[:, -1:, :])
    return last, keras.layers.Subtract(name="relative")([sequence, last])


def _last_targets(last: Any, relative: tuple[int, ...]) -> Any:
    """The last values of the targets: (batch, 1), of several (batch, 1, targets)."""
    if len(relative) == 1:
        return last[:, 0, relative[0] : relative[0] + 1]
    return keras.layers.Concatenate(name="before")([last[:, :, i : i + 1] for i in relative])


def targets_for(model: keras.Model, targets: Array, loss: str) -> Array:
    """Targets, one for each sequence, in the shape that the loss wants for the network's output.

    For classification each distinct target is a class. Otherwise a target stands for every output of its sequence.

    Raises InvalidArgumentError where there are more classes than outputs.
    """
    shape = (len(targets), *model.output_shape[1:])  # (sequences, …, outputs)
    if "categorical" in loss:
        kinds, classes = np.unique(targets, return_inverse=True)
        if len(kinds) > shape[-1]:
            raise InvalidArgumentError(
                f"dense_units: {len(kinds)} classes need as many outputs, got {shape[-1]}", field="dense_units"
            )
        classes = np.broadcast_to(classes.reshape(-1, *[1] * (len(shape) - 2)), shape[:-1])
        return classes.astype(np.float32) if loss.startswith("sparse") else np.eye(shape[-1], dtype=np.float32)[classes]
    return np.broadcast_to(targets.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)


def predict(model: keras.Model, inputs: Array) -> Array:
    """What the network gives for a batch."""
    return np.asarray(model(inputs, training=False).numpy())


def weights(model: keras.Model) -> Weights:
    """The weights by the names that the service gives them, `LAYER/kernel`."""
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in model.layers for weight in layer.weights}


def summary(model: keras.Model) -> str:
    """Keras's table of layers."""
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=80)
    return "\n".join(lines)


def save(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file."""
    model.save(path)
