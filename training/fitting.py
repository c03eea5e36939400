"""Fits a network with Keras's own optimiser steps, many of them in one call of a compiled function."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from training.backend import keras, tf
from training.checkpoints import Checkpoints, Progress, State
from training.data.examples import Examples
from training.data.windows import SEQUENCE, Array, Windows
from training.network import DENSE, OUTPUT, TARGETS, TEMPERATURE
from training.options import Options
from training.scaling import Scaling

STEPS = 100  # optimiser steps between two returns to Python; each return costs as much as many steps
CHECKPOINT_SECONDS = 2.0  # between two checkpoints, at least
VALIDATION_BATCH = 1024


def fit_examples(
    model: keras.Model,
    examples: Examples,
    targets: Array,
    scaling: Scaling | None,
    options: Options,
    checkpoints: Checkpoints,
    learning: Callable[[int, float, Progress], None],
) -> Progress:
    """Fits on windows where some are held out, numbers of which need a scaling; else on all at once with `targets`.

    `learning(whole epochs, share of the next, progress)` is called now and then.
    """
    parts = examples.parts
    if examples.layout.unit:
        from training import text_network

        train, validation = text_network.encoded(model, parts.train, parts.validation)
        core = text_network.learner(model, train.window)
        return fit_windows(core, train, validation, None, options, checkpoints, learning)
    if scaling is not None:
        return fit_windows(learner(model), parts.train, parts.validation, scaling, options, checkpoints, learning)
    losses = fit(
        model, parts.train.inputs(), targets, options.epochs,
        lambda epoch, loss: learning(epoch, 0.0, Progress(epoch, losses=[loss])),
    )  # fmt: skip
    return Progress(len(losses), losses=losses)


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
    model.compile(optimizer=optimizer, loss=loss)  # without the curve, which nobody but us could load
    return losses


# Fitting on windows.


def learner(model: keras.Model) -> keras.Model:
    """The same layers without the last scaling, compiled: it learns scaled targets, so that losses are comparable."""
    names = {layer.name for layer in model.layers}
    last = next(name for name in (TARGETS, DENSE, OUTPUT) if name in names)
    last = OUTPUT if TEMPERATURE in names else last
    inputs = {tensor.name: tensor for tensor in model.inputs} if len(model.inputs) > 1 else model.inputs[0]
    made = keras.Model(inputs, model.get_layer(last).output, name="learner")
    made.compile(optimizer=model.optimizer, loss=model.loss, jit_compile=False)
    return made


class _Feed:
    """Windows as batches, gathered from rows when they are asked for, so that rows may lie in files."""

    def __init__(self, windows: Windows, scaling: Scaling | None, batch: int) -> None:
        self._windows, self._scaling = windows, scaling
        self._batch = min(batch or len(windows), len(windows))
        self.steps = -(-len(windows) // self._batch)  # in an epoch

    def epochs(self, first: int, last: int, seed: int | None) -> Any:
        """The batches of some epochs, one after the other, each in an order that its number and the seed decide."""
        windows, size = self._windows, self._batch
        targets = tf.as_dtype(windows.targets.dtype)

        feeds = windows.some(slice(1)).feeds()
        kinds = [tf.string if array.dtype == object else tf.as_dtype(array.dtype) for array in feeds.values()]

        def batch(number: Any) -> tuple[Any, Any]:
            epoch, step = number // self.steps, number % self.steps
            places = tf.range(step * size, tf.minimum((step + 1) * size, len(windows)))
            if seed is not None:  # computed place by place, so that no order of all windows is held
                key = tf.stack([tf.constant(seed, tf.int64), epoch])
                places = tf.random.experimental.index_shuffle(places, seed=key, max_index=len(windows) - 1)
            *read, y = tf.numpy_function(self._gather, [places], [*kinds, targets], stateful=False)
            x = {
                name: tf.ensure_shape(one, (None, *array.shape[1:]))
                for (name, array), one in zip(feeds.items(), read, strict=True)
            }
            y = tf.ensure_shape(y, (None, windows.outputs, *windows.targets.shape[1:]))
            return x if len(x) > 1 else x[SEQUENCE], y

        batches = tf.data.Dataset.range(first * self.steps, last * self.steps).map(batch, num_parallel_calls=2)
        return iter(batches.prefetch(2))

    def _gather(self, places: Any) -> list[Any]:
        """Inputs of some windows, in the order of `Windows.feeds`, and their scaled targets."""
        scaling = self._scaling
        feeds, y = self._windows.gathered(places)
        if scaling is None:
            return [*feeds.values(), y]
        if scaling.relative:
            last = feeds[SEQUENCE][:, -1, scaling.relative]  # (batch, targets)
            y = y - (last[:, None] if self._windows.several else last)
        if y.dtype == np.float32:
            y = (y - np.array(scaling.offset, np.float32)) / np.array(scaling.scale, np.float32)
        return [*feeds.values(), y]


class _Fit:
    """A fit that goes on from its checkpoints: it keeps the best weights, and knows when to stop."""

    def __init__(self, model: keras.Model, options: Options, checkpoints: Checkpoints) -> None:
        self.model, self._options, self._checkpoints = model, options, checkpoints
        model.optimizer.build(model.trainable_variables)
        # Weights, the state of dropout's random numbers, and what the optimizer keeps.
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
    core: keras.Model,
    train: Windows,
    validation: Windows,
    scaling: Scaling | None,
    options: Options,
    checkpoints: Checkpoints,
    learning: Callable[[int, float, Progress], None],
) -> Progress:
    """Fits on windows from where the checkpoints end, and leaves the weights of the best epoch in the network `core`.

    These are the optimiser steps of `model.fit`, many of them in one call of a compiled function, on one iterator over
    all epochs. `learning(whole epochs, share of the next, progress)` is called now and then. What is interrupted is
    written first. The same seed gives the same bits on one machine, interrupted or not.
    """
    tf.config.experimental.enable_op_determinism()
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
                learning(progress.epoch, min(1.0, (step + STEPS) / feed.steps), progress)
            loss = float(core.get_metrics_result()["loss"])
            core.reset_metrics()
            judge(held, tf.constant(checks.steps))
            fit.note(loss, float(core.get_metrics_result()["loss"]))
            learning(progress.epoch, 0.0, fit.state.progress)
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
