"""What a look inside costs: traces next to forward passes, gradients next to traces and to TensorFlow's GradientTape.

Run: python -m benchmarks.insight [--rounds N], on one core, by processor time. The ways take turns.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engines import BATCHES, models  # which sets one thread, before NumPy or TensorFlow is imported

# isort: split
import numpy as np

from benchmarks.common import Figure, console, machine, middle, show
from service.model import keras_file
from service.model.gradients import Tape
from service.model.insight.attribution import POINTS, Method, Question, attribute
from service.model.insight.target import Target
from service.model.network import Network

ROUNDS, SECONDS = 5, 0.1
FORWARD, TRACE, GRADIENT, INTEGRATED, TAPE = "forward", "trace", "gradients", "integrated", "GradientTape"


def ways(model: Any, network: Network, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed, by name; all of the NumPy engine but the last."""
    import tensorflow as tf

    (source,), (output,) = network.inputs, network.outputs
    inputs = {source.name: x}
    shape = network.forward(inputs).outputs[output.name].shape
    seed = np.zeros(shape, x.dtype)
    seed.reshape(len(seed), -1)[:, -1] = 1
    question = Question(network, inputs, {}, Target(direction=seed))

    @tf.function
    def taped(given: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = model(given, training=False)
            loss = tf.reduce_sum(y * seed)
        return tape.gradient(loss, given)

    return {
        FORWARD: lambda: network.forward(inputs),
        TRACE: lambda: network.trace(inputs),
        GRADIENT: lambda: Tape(network, inputs).backward({output.name: seed}, weights=False),
        INTEGRATED: lambda: attribute(question, Method.INTEGRATED_GRADIENTS),
        TAPE: lambda: taped(tf.constant(x)).numpy(),
    }


def measure(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Microseconds of processor for a call in each round, the functions taking turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            calls, start = 0, time.process_time()
            while calls == 0 or time.process_time() < start + SECONDS:
                function()
                calls += 1
            times[name].append((time.process_time() - start) / calls * 1e6)
    return times


def judge(label: str, batch: int, times: dict[str, list[float]]) -> list[Figure]:
    """Each look next to what it is to be compared with."""

    def against(ours: str, theirs: str, target: float) -> Figure:
        return Figure(
            f"{label}, batch {batch}",
            f"{middle(times[ours]):,.0f} µs {ours}",
            f"{middle(times[theirs]):,.0f} µs {theirs}",
            [one / other for one, other in zip(times[ours], times[theirs], strict=True)],
            target,
            unit="×",
        )

    return [
        against(TRACE, FORWARD, 2),
        against(GRADIENT, TRACE, 4),
        # The points of several sequences share nothing: it is their work, and that of the two ends and the gradient.
        against(INTEGRATED, GRADIENT, 8 if batch == 1 else POINTS + 3),
        against(GRADIENT, TAPE, 1 if batch == 1 else 2),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    figures: list[Figure] = []
    for label, model in models().items():
        with tempfile.TemporaryDirectory() as directory:
            model.save(Path(directory) / "model.keras")
            network = keras_file.read(Path(directory) / "model.keras")
        for batch in BATCHES:
            x = np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype(np.float32)
            figures += judge(label, batch, measure(ways(model, network, x), rounds))
    show(
        "What a look inside costs, in NumPy",
        figures,
        [
            machine(),
            "gradients: by the inputs, with the recorded pass forward. integrated: 32 points in one batch",
            "GradientTape: under tf.function, traced before",
        ],
    )
    console.print()


if __name__ == "__main__":
    main()
