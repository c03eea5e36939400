"""One network on every engine: ours, bare ONNX Runtime, a compiled `tf.function`, and Keras `predict`.

Run: python -m benchmarks.engines [--rounds N], on one core. The ways take turns, so that what else the machine does
meets all alike. Judged is the engine that a server would choose for the network and the batch size.
"""

import argparse
import os
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

from benchmarks.common import Figure, console, machine, middle, show
from service.model import keras_file
from service.model.engines import choice as engines
from service.model.engines import onnx_runtime
from service.model.network import Network
from service.model.proof import MEASURED, difference

ROUNDS, SECONDS = 7, 0.15
BATCHES = (1, 32)
SMALLEST = "SimpleRNN(4)×3"
BARE, XLA, PREDICT = "ONNX Runtime", "XLA", "predict"
SLOW = (PREDICT,)  # timed in fewer calls
WAYS = ("numpy", *engines.KINDS, BARE, "tf.function", XLA, PREDICT)
Call = Callable[[], np.ndarray]


def models() -> dict[str, Any]:
    """The networks of the comparison, by name and number of timesteps."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    return {
        SMALLEST: keras.Sequential([keras.Input((3, 2)), layers.SimpleRNN(4), layers.Dense(1)]),
        "LSTM(128)×100": keras.Sequential([keras.Input((100, 32)), layers.LSTM(128), layers.Dense(1)]),
        "GRU(64)×50 both ways": keras.Sequential(
            [keras.Input((50, 32)), layers.Bidirectional(layers.GRU(64)), layers.Dense(1)]
        ),
        "LSTM autoencoder×64": keras.Sequential(
            [
                keras.Input((64, 1)),
                layers.LSTM(64, return_sequences=True),
                layers.LSTM(32),
                layers.RepeatVector(64),
                layers.LSTM(32, return_sequences=True),
                layers.LSTM(64, return_sequences=True),
                layers.TimeDistributed(layers.Dense(1)),
            ]
        ),
    }


def ways(model: Any, network: Network, x: np.ndarray) -> dict[str, Call]:
    """Functions that give the output for x, by name; those that cannot are left out."""
    import tensorflow as tf

    (name,) = (spec.name for spec in network.inputs)
    (output,) = (spec.name for spec in network.outputs)
    found: dict[str, Call] = {"numpy": lambda: network.forward({name: x}).outputs[output]}
    for label, kind in engines.KINDS.items():
        engine = kind.make(network) if len(x) in kind.batches else None
        if engine is not None:
            found[label] = lambda engine=engine: engine.forward({name: x}).outputs[output]
    found[BARE] = bare(network, x)
    plain = tf.function(lambda t: model(t))
    compiled = tf.function(lambda t: model(t), jit_compile=True)
    found["tf.function"] = lambda: plain(tf.constant(x)).numpy()
    found[XLA] = lambda: compiled(tf.constant(x)).numpy()
    found[PREDICT] = lambda: model.predict(x, verbose=0)
    return found


def bare(network: Network, x: np.ndarray) -> Call:
    """The graph of our engine in a session of its own, with nothing of ours around it."""
    import onnxruntime

    model = onnx_runtime.build(network)
    assert model is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.serialized(), options, providers=["CPUExecutionProvider"])
    states = {spec.name: np.zeros((len(x), spec.shape[1] or 0), spec.dtype) for spec in network.states}
    feed = {network.inputs[0].name: x, **states}
    fetched = [value.name for value in session.get_outputs()]
    return lambda: session.run(fetched, feed)[0]


def measure(functions: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Microseconds of a call in each round, the functions taking turns."""
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
    return times


def judge(label: str, batch: int, engine: str, times: dict[str, list[float]]) -> list[Figure]:
    """The engine that serves, relative to what it is compared with."""

    def against(way: str, target: float, at_least: bool = False) -> Figure:
        ours, theirs = times[engine], times[way]
        pairs = zip(theirs, ours, strict=True) if at_least else zip(ours, theirs, strict=True)
        return Figure(
            f"{label}, batch {batch}",
            f"{middle(ours):,.1f} µs {engine}",
            f"{middle(theirs):,.1f} µs {way}",
            [one / other for one, other in pairs],
            target,
            at_least,
            unit="×",
        )

    figures = [against(XLA, 1.0), against(BARE, 1.1)]
    return [against(PREDICT, 100, at_least=True), *figures] if label == SMALLEST else figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    notes = [
        machine(),
        "× is our time over that of the yardstick; for Keras's predict the other way round",
        "XLA: tf.function compiled. ONNX Runtime: our graph in a session with nothing of ours around it",
        "error: the largest difference from tf.function, in units of the largest measured over random networks",
    ]
    figures: list[Figure] = []
    print(f"| µs of a call, median | batch | {' | '.join(WAYS)} | error |\n|---|---|{'---|' * (len(WAYS) + 1)}")
    for label, model in models().items():
        with tempfile.TemporaryDirectory() as directory:
            model.save(Path(directory) / "model.keras")
            network = keras_file.read(Path(directory) / "model.keras")
        choice = engines.select(network)
        for batch, engine in zip(BATCHES, (choice.single, choice.many), strict=True):
            x = np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype(np.float32)
            functions = ways(model, network, x)
            expected = functions["tf.function"]()
            error = max(difference(function(), expected, MEASURED) for function in functions.values())
            times = measure(functions, rounds)
            cells = [f"{middle(times[way]):,.1f}" if way in times else "" for way in WAYS]
            print(f"| {label} | {batch} | {' | '.join(cells)} | {error:.2f} |", flush=True)
            figures += judge(label, batch, engine.name, times)
    console.print()
    show("The engine that serves, next to others", figures, notes)


if __name__ == "__main__":
    main()
