"""The network in Keras: build, fit, and what it computes. The only file that imports Keras."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.quiet import quiet

with quiet():  # TensorFlow reports on hardware that nobody asked about
    import keras
    import tensorflow as tf

from service.errors import InvalidArgumentError
from service.model.proof import Proof
from training.data import Array, Dataset
from training.options import Options

STEPS = 100  # optimiser steps between two returns to Python; each return costs as much as many steps
INPUT, RECURRENT, DENSE = "sequence", "simpleRNN", "output"
STATE_NAMES = ("hidden_state", "cell_state")

Weights = dict[str, Array]


@dataclass(frozen=True)
class States:
    """What a recurrent layer did."""

    over_time: Array  # (sequences, timesteps, units): the output after each timestep
    final: dict[str, Array]  # (sequences, units) each, by name


def build(options: Options, timesteps: int, features: int) -> keras.Sequential:
    """A compiled network with its initial weights. Raises InvalidArgumentError for names that Keras does not know."""
    keras.utils.set_random_seed(options.seed)
    try:
        layers: list[Any] = [
            keras.Input((timesteps, features), name=INPUT),
            keras.layers.SimpleRNN(
                options.units,
                activation=options.activation,
                return_sequences=options.return_sequences,
                name=RECURRENT,
            ),
        ]
        if options.dense_units:
            layers.append(keras.layers.Dense(options.dense_units, activation=options.dense_activation, name=DENSE))
        optimizer = keras.optimizers.get(options.optimizer)
        loss = keras.losses.get(options.chosen_loss)
    except ValueError as error:
        raise InvalidArgumentError(str(error).partition("\n")[0]) from None
    optimizer.learning_rate = options.learning_rate
    model = keras.Sequential(layers, name="sequential")
    model.compile(optimizer=optimizer, loss=loss)
    return model


def targets_for(model: keras.Model, data: Dataset, loss: str) -> Array:
    """Targets in the shape that the loss wants beside the network's output.

    For classification each distinct target is a class. Otherwise a target stands for every output of its sequence.

    Raises InvalidArgumentError where there are more classes than outputs.
    """
    shape = (len(data.targets), *model.output_shape[1:])  # (sequences, …, outputs)
    if "categorical" in loss:
        kinds, classes = np.unique(data.targets, return_inverse=True)
        if len(kinds) > shape[-1]:
            raise InvalidArgumentError(
                f"dense_units: {len(kinds)} classes need as many outputs, got {shape[-1]}", field="dense_units"
            )
        classes = np.broadcast_to(classes.reshape(-1, *[1] * (len(shape) - 2)), shape[:-1])
        return classes.astype(np.float32) if loss.startswith("sparse") else np.eye(shape[-1], dtype=np.float32)[classes]
    return np.broadcast_to(data.targets.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)


class _Curve(keras.metrics.Metric):  # type: ignore[misc]  # Keras has no types
    """The loss of each of the last STEPS steps, kept on the device until Python comes round."""

    def __init__(self, loss: Any) -> None:
        super().__init__(name="curve")
        self._loss = loss
        self._values = self.add_variable((STEPS,), "zeros", name="values")
        self._step = self.add_variable((), "zeros", dtype="int32", name="step")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Notes the loss of a step."""
        value = keras.ops.reshape(keras.ops.mean(self._loss(y_true, y_pred)), (1,))
        self._values.assign(keras.ops.slice_update(self._values.value, (self._step.value,), value))
        self._step.assign((self._step.value + 1) % STEPS)

    def result(self) -> Any:
        """The loss of the latest step."""
        return self._values.value[(self._step.value - 1) % STEPS]

    def reset_state(self) -> None:
        """Keras calls this between its epochs; the curve goes on."""

    def latest(self, count: int) -> list[float]:
        """The losses of the last `count` steps, oldest first."""
        values, step = np.asarray(self._values.numpy()), int(self._step.numpy())
        return [float(v) for v in np.roll(values, -step)[STEPS - count :]]


class _Notes(keras.callbacks.Callback):  # type: ignore[misc]  # as above
    """Reads the curve whenever Keras comes back to Python."""

    def __init__(self, curve: _Curve, steps: int, losses: list[float], progress: Callable[[int, float], None]) -> None:
        super().__init__()
        self._curve, self._steps, self._losses, self._progress = curve, steps, losses, progress

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After `steps` optimiser steps."""
        self._losses.extend(self._curve.latest(self._steps))
        self._progress(len(self._losses), self._losses[-1])


def fit(
    model: keras.Model, inputs: Array, targets: Array, epochs: int, progress: Callable[[int, float], None]
) -> list[float]:
    """Fits with the whole data as one batch, and gives the loss of every epoch, before its step.

    These are the optimiser steps of `model.fit(inputs, targets, epochs=epochs)`, many of them in one call of the
    compiled function. `progress(epochs so far, loss)` is called now and then.
    """
    losses: list[float] = []
    data = tf.data.Dataset.from_tensors((inputs, targets)).repeat()
    optimizer, loss = model.optimizer, model.loss
    for steps, executions in ((STEPS, epochs // STEPS), (epochs % STEPS, 1)):
        if steps and executions:
            curve = _Curve(loss)
            model.compile(optimizer=optimizer, loss=loss, metrics=[curve], steps_per_execution=steps, jit_compile=False)
            notes = _Notes(curve, steps, losses, progress)
            model.fit(data, steps_per_epoch=steps * executions, epochs=1, verbose=0, shuffle=False, callbacks=[notes])
    return losses


def predict(model: keras.Model, inputs: Array) -> Array:
    """What the network gives for a batch."""
    return np.asarray(model(inputs, training=False).numpy())


def weights(model: keras.Model) -> Weights:
    """The weights by the names that the service gives them, `LAYER/kernel`."""
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in model.layers for weight in layer.weights}


def states(model: keras.Model, inputs: Array) -> dict[str, States]:
    """What each recurrent layer did, by the layer's name, computed by Keras."""
    found = {}
    x: Any = inputs
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            config = {**layer.get_config(), "return_sequences": True, "return_state": True}
            twin = type(layer).from_config(config)
            twin.build((None, *x.shape[1:]))
            twin.set_weights(layer.get_weights())
            sequence, *final = twin(x)
            names = (f"{layer.name}/{name}" for name in STATE_NAMES)
            found[layer.name] = States(sequence.numpy(), {n: s.numpy() for n, s in zip(names, final, strict=False)})
        x = layer(x)
    return found


def proof(model: keras.Model, inputs: Array) -> Proof:
    """What a loader must reproduce: inputs, with Keras's own outputs and final states."""
    final = {name: state for layer in states(model, inputs).values() for name, state in layer.final.items()}
    return Proof({INPUT: inputs}, {model.layers[-1].name: predict(model, inputs)}, final, made_by="keras")


def summary(model: keras.Model) -> str:
    """Keras's table of layers."""
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=80)
    return "\n".join(lines)


def save(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file."""
    model.save(path)
