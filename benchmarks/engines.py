"""One network, every way to compute it: our engines, Keras `predict`, a compiled `tf.function`; one core, one run.

Run: python -m benchmarks.engines [--rounds N]. The ways take turns, so that what else the machine does meets all alike.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"
)  # before NumPy or TensorFlow is imported
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

from service.model import keras_file
from service.model.engines import onnx_runtime, scalar
from service.model.network import Network
from service.model.proof import MEASURED, difference

ROUNDS, SECONDS = 7, 0.15
SLOW = ("Keras predict",)  # timed in fewer calls
WAYS = ("NumPy", "scalar", "ONNX Runtime", "tf.function", "tf.function, XLA", "Keras predict")


def models() -> dict[str, Any]:
    """The three networks of the comparison."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    return {
        "SimpleRNN(4) × 3 steps": keras.Sequential([keras.Input((3, 2)), layers.SimpleRNN(4), layers.Dense(1)]),
        "LSTM(128) × 100 steps": keras.Sequential([keras.Input((100, 32)), layers.LSTM(128), layers.Dense(1)]),
        "GRU(64) × 50 steps, both ways": keras.Sequential(
            [keras.Input((50, 32)), layers.Bidirectional(layers.GRU(64)), layers.Dense(1)]
        ),
    }


def ways(model: Any, network: Network, x: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Functions that give the output for x, by name; those that cannot are left out."""
    import tensorflow as tf

    (name,) = (spec.name for spec in network.inputs)
    (output,) = (spec.name for spec in network.outputs)
    found: dict[str, Callable[[], np.ndarray]] = {"NumPy": lambda: network.forward({name: x}).outputs[output]}
    for label, engine in (("scalar", scalar.make(network)), ("ONNX Runtime", onnx_runtime.make(network))):
        if engine is not None and (label != "scalar" or len(x) == 1):
            found[label] = lambda engine=engine: engine.forward({name: x}).outputs[output]
    plain = tf.function(lambda t: model(t))
    compiled = tf.function(lambda t: model(t), jit_compile=True)
    found["tf.function"] = lambda: plain(tf.constant(x)).numpy()
    found["tf.function, XLA"] = lambda: compiled(tf.constant(x)).numpy()
    found["Keras predict"] = lambda: model.predict(x, verbose=0)
    return found


def measure(functions: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, float]:
    """Median microseconds of a call, the functions taking turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            calls, start = 0, time.perf_counter()
            until = start + (SECONDS * 3 if name in SLOW else SECONDS)
            while calls == 0 or time.perf_counter() < until:
                function()
                calls += 1
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    print(
        "Microseconds of one call, median; one core. Error: largest difference from tf.function, of what is allowed.\n"
    )
    print(f"| network | batch | {' | '.join(WAYS)} | error |\n|---|---|{'---|' * (len(WAYS) + 1)}")
    for label, model in models().items():
        with tempfile.TemporaryDirectory() as directory:
            model.save(Path(directory) / "model.keras")
            network = keras_file.read(Path(directory) / "model.keras")
        for batch in (1, 32):
            x = np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype(np.float32)
            functions = ways(model, network, x)
            expected = functions["tf.function"]()
            error = max(difference(function(), expected, MEASURED) for name, function in functions.items())
            found = measure(functions, rounds)
            cells = [f"{found[way]:,.1f}" if way in found else "" for way in WAYS]
            print(f"| {label} | {batch} | {' | '.join(cells)} | {error:.2f} |", flush=True)


if __name__ == "__main__":
    main()
