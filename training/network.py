"""The network in Keras: build, fit, and what it computes. The only file that imports Keras."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.quiet import quiet

with quiet():  # TensorFlow reports on hardware that nobody asked about
    import keras
    import tensorflow as tf

from service.errors import InvalidArgumentError, LimitExceededError
from service.model.engines import keras as keras_network
from service.model.proof import Proof
from service.model.tensors import TensorSpec
from training.checkpoints import Checkpoints, Progress, State
from training.data import Array, Dataset
from training.options import Options
from training.windows import Windows

STEPS = 100  # optimiser steps between two returns to Python; each return costs as much as many steps
INPUT, DENSE, CHANGE, OUTPUT = "sequence", "dense", "change", "output"
KINDS = {
    "simple-rnn": ("simpleRNN", keras.layers.SimpleRNN),
    "gru": ("gru", keras.layers.GRU),
    "lstm": ("lstm", keras.layers.LSTM),
}
CHECKPOINT_SECONDS = 2.0  # between two checkpoints, at least
VALIDATION_BATCH = 1024
STATE_NAMES = ("hidden_state", "cell_state")

Weights = dict[str, Array]


@dataclass(frozen=True)
class States:
    """What a recurrent layer did."""

    over_time: Array  # (sequences, timesteps, units): the output after each timestep
    final: dict[str, Array]  # (sequences, units) each, by name


@dataclass(frozen=True)
class Scaling:
    """Real units in and out: what is scaled is scaled inside the network."""

    sample: Array  # (rows, features): what the input is normalised by
    scale: float = 1.0  # of the output
    offset: float = 0.0
    relative: int | None = None  # the feature that is seen, and predicted, as its difference from the last timestep


def build(options: Options, timesteps: int, features: int, scaling: Scaling | None = None) -> keras.Model:
    """A compiled network with its initial weights.

    Raises InvalidArgumentError for names that Keras does not know, LimitExceededError where memory is not enough.
    """
    keras.utils.set_random_seed(options.seed)
    try:
        layers = _layers(options, timesteps, features, scaling)
        optimizer = keras.optimizers.get(options.optimizer)
        loss = keras.losses.get(options.chosen_loss)
    except ValueError as error:
        raise InvalidArgumentError(str(error).partition("\n")[0]) from None
    optimizer.learning_rate = options.learning_rate
    try:
        if scaling is None or scaling.relative is None:
            model = keras.Sequential(layers, name="sequential")
        else:
            model = _residual(layers, features, scaling.relative)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise LimitExceededError(
            f"units: there is no memory for a network of {','.join(map(str, options.units))} units", field="units"
        ) from None
    model.compile(optimizer=optimizer, loss=loss)
    return model


def _layers(options: Options, timesteps: int, features: int, scaling: Scaling | None) -> list[Any]:
    """Input, scaling, recurrent layers, Dense, scaling back; with scaling the one target is scaled or a class."""
    layers: list[Any] = [keras.Input((timesteps, features), name=INPUT)]
    if scaling is not None:
        normalization = keras.layers.Normalization(name="normalization")
        normalization.adapt(scaling.sample)
        layers.append(normalization)
    base, kind = KINDS[options.network]
    for i, units in enumerate(options.units):
        name = base if i == 0 else f"{base}_{i + 1}"
        last = i == len(options.units) - 1
        sequences = options.return_sequences if last else True
        layer = kind(units, activation=options.activation, return_sequences=sequences, name=name)
        layers.append(keras.layers.Bidirectional(layer, name=name) if options.bidirectional else layer)
        if options.dropout:
            layers.append(keras.layers.Dropout(options.dropout, name=f"dropout_{i + 1}"))
    scaled_back = scaling is not None and options.dense_activation != "softmax"
    if options.dense_units:
        name = DENSE if scaled_back else OUTPUT
        layers.append(keras.layers.Dense(options.dense_units, activation=options.dense_activation, name=name))
    if scaling is not None and scaled_back:
        name = OUTPUT if scaling.relative is None else CHANGE
        layers.append(keras.layers.Rescaling(scaling.scale, scaling.offset, name=name))
    return layers


def _residual(layers: list[Any], features: int, feature: int) -> keras.Model:
    """Layers between a subtraction of a feature's last value from its sequence and the addition of it to the output."""
    sequence, *others = layers
    only = [float(i == feature) for i in range(features)]
    last = keras.layers.Rescaling(only, name="last")(sequence[:, -1:, :])  # (batch, 1, features), zero elsewhere
    x = keras.layers.Subtract(name="relative")([sequence, last])
    for layer in others:
        x = layer(x)
    return keras.Model(sequence, keras.layers.Add(name=OUTPUT)([x, last[:, 0, feature : feature + 1]]), name="residual")


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
            try:
                model.fit(
                    data, steps_per_epoch=steps * executions, epochs=1, verbose=0, shuffle=False, callbacks=[notes]
                )
            except ValueError as error:  # Keras looks at what a loss is given when it first computes it
                text = str(error).partition("\n")[0]
                raise InvalidArgumentError(
                    f"loss: it does not fit the network's output: {text}", field="loss"
                ) from None
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
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            found[layer.name] = _run_alone(layer, keras.Model(model.inputs[0], layer.input)(inputs, training=False))
    return found


def _run_alone(layer: keras.layers.RNN, x: Any, mask: Any = None) -> States:
    """What a layer does with a sequence, asked of a twin that tells its states."""
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

    Raises UnsupportedModelError where Keras refuses the file.
    """
    with warnings.catch_warnings():  # Keras's, of options that are no more, and how a model's inputs are called
        warnings.simplefilter("ignore", UserWarning)
        return _prove(keras_network.load(path), inputs, outputs, states)


def _prove(
    model: keras.Model, inputs: Mapping[str, Array], outputs: Sequence[str], states: Sequence[TensorSpec]
) -> Proof:
    arrays = [inputs[tensor.name] for tensor in model.inputs] if len(inputs) > 1 else list(inputs.values())
    given = arrays if len(arrays) > 1 else arrays[0]
    found = model(given, training=False)
    made = dict(zip(outputs, map(np.asarray, keras.tree.flatten(found)), strict=True))
    wanted = {spec.name for spec in states}
    final: dict[str, Array] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN) and f"{layer.name}/hidden_state" in wanted and not layer.stateful:
            x, *others = keras.tree.flatten(keras.Model(model.inputs, layer.input)(arrays))
            if all(other.dtype == "bool" for other in others):  # a mask; anything else is a state that the graph gives
                final.update(_run_alone(layer, x, *others).final)
    return Proof(dict(inputs), made, final, made_by="keras")


def summary(model: keras.Model) -> str:
    """Keras's table of layers."""
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=80)
    return "\n".join(lines)


def save(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file."""
    model.save(path)


# Fitting on windows.


def learner(model: keras.Model) -> keras.Model:
    """The same layers without the last scaling, compiled: it learns scaled targets, so that losses are comparable."""
    names = {layer.name for layer in model.layers}
    made = keras.Model(model.inputs[0], model.get_layer(DENSE if DENSE in names else OUTPUT).output, name="learner")
    made.compile(optimizer=model.optimizer, loss=model.loss, jit_compile=False)
    return made


class _Feed:
    """Windows as batches, gathered from rows when they are asked for."""

    def __init__(self, windows: Windows, scaling: Scaling, batch: int) -> None:
        self._windows, self._scaling = windows, scaling
        self._batch = min(batch or len(windows), len(windows))
        self.steps = -(-len(windows) // self._batch)  # in an epoch

    def epochs(self, first: int, last: int, seed: int | None) -> Any:
        """The batches of some epochs, one after the other, each in an order that its number and the seed decide."""
        windows, scaling, size = self._windows, self._scaling, self._batch
        values, targets = tf.constant(windows.values), tf.constant(windows.targets)
        starts, target_starts = tf.constant(windows.starts), tf.constant(windows.target_starts)
        seen, ahead = np.arange(windows.window), np.arange(windows.outputs)

        def gather(chosen: Any) -> tuple[Any, Any]:
            x = tf.gather(values, tf.gather(starts, chosen)[:, None] + seen)
            y = tf.gather(targets, tf.gather(target_starts, chosen)[:, None] + ahead)
            if scaling.relative is not None:
                y -= x[:, -1, scaling.relative, None]
            return x, (y - scaling.offset) / scaling.scale if y.dtype == tf.float32 else y

        def epoch(number: Any) -> Any:
            order = tf.range(len(windows), dtype=tf.int64)
            if seed is not None:
                order = tf.random.experimental.stateless_shuffle(order, seed=[tf.constant(seed, tf.int64), number])
            return tf.data.Dataset.range(self.steps).map(lambda step: order[step * size : (step + 1) * size])

        batches = tf.data.Dataset.range(first, last).flat_map(epoch).map(gather, num_parallel_calls=2)
        return iter(batches.prefetch(2))


class _Fit:
    """A fit that goes on from its checkpoints: it keeps the best weights, and knows when to stop."""

    def __init__(self, model: keras.Model, options: Options, checkpoints: Checkpoints) -> None:
        self.model, self._options, self._checkpoints = model, options, checkpoints
        model.optimizer.build(model.trainable_variables)
        # Weights, the state of dropout's chance, and what the optimizer keeps.
        self._variables = [*model.variables, *model.optimizer.variables]
        self._written = -CHECKPOINT_SECONDS  # the first epoch is written at once
        self.state = State(Progress(), self._values(), model.get_weights())
        if state := checkpoints.load():
            if [tuple(v.shape) for v in self._variables] != [a.shape for a in state.variables]:
                raise InvalidArgumentError("resume: the checkpoint is of another network", field="resume")
            for variable, array in zip(self._variables, state.variables, strict=True):
                variable.assign(array)
            self.state = state

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or it has not become better for too long."""
        progress, patience = self.state.progress, self._options.patience
        return progress.epoch >= self._options.epochs or 0 < patience <= progress.epoch - progress.best_epoch

    def note(self, loss: float, validation_loss: float) -> None:
        """An epoch is done."""
        progress, best = self.state.progress, self.state.best
        progress.epoch += 1
        progress.losses.append(loss)
        progress.validation_losses.append(validation_loss)
        if validation_loss < progress.best_loss:
            progress.best_epoch, progress.best_loss, best = progress.epoch, validation_loss, self.model.get_weights()
        self.state = State(progress, self._values(), best)
        if time.monotonic() - self._written > CHECKPOINT_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the state after the last whole epoch."""
        if self.state.progress.epoch:
            self._checkpoints.save(self.state)
        self._written = time.monotonic()

    def _values(self) -> list[Any]:
        return [np.array(variable.numpy()) for variable in self._variables]


def fit_windows(
    model: keras.Model,
    train: Windows,
    validation: Windows,
    scaling: Scaling,
    options: Options,
    checkpoints: Checkpoints,
    told: Callable[[int, float, Progress], None],
) -> Progress:
    """Fits on windows from where the checkpoints end, and leaves the weights of the best epoch in the network.

    These are the optimiser steps of `model.fit`, many of them in one call of a compiled function, on one iterator over
    all epochs. `told(whole epochs, share of the next, progress)` is called now and then. What is interrupted is
    written first. The same seed gives the same bits on one machine, interrupted or not.
    """
    tf.config.experimental.enable_op_determinism()
    core = learner(model)
    fit = _Fit(core, options, checkpoints)
    feed, checks = _Feed(train, scaling, options.batch_size), _Feed(validation, scaling, VALIDATION_BATCH)
    first = fit.state.progress.epoch
    batches, held = feed.epochs(first, options.epochs, options.seed), checks.epochs(first, options.epochs, None)
    learn, judge = _repeated(core.train_step), _repeated(core.test_step)
    try:
        while not fit.done:
            progress = fit.state.progress
            core.reset_metrics()
            for step in range(0, feed.steps, STEPS):
                learn(batches, tf.constant(min(STEPS, feed.steps - step)))
                told(progress.epoch, min(1.0, (step + STEPS) / feed.steps), progress)
            loss = float(core.get_metrics_result()["loss"])
            core.reset_metrics()
            judge(held, tf.constant(checks.steps))
            fit.note(loss, float(core.get_metrics_result()["loss"]))
            told(progress.epoch, 0.0, fit.state.progress)
    except BaseException:
        fit.write()
        raise
    core.set_weights(fit.state.best)
    return fit.state.progress


def _repeated(step: Callable[[Any], Any]) -> Any:
    """A compiled function that takes a step of Keras's for each of so many batches of an iterator."""

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]  # as above
    def run(iterator: Any, count: Any) -> None:
        def once(i: Any) -> tuple[Any]:
            step(iterator.get_next())
            return (i + 1,)

        tf.while_loop(lambda i: i < count, once, (tf.constant(0),), parallel_iterations=1)

    return run
