"""`python -m tests.fuzz.oracle [--networks N] [--seed S]`: networks of chance that the reader takes, beside Keras.

The other targets ask whether the reader stands a file; this one, whether it reads the file as Keras does, and whether
ONNX Runtime computes it so where it covers it.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

import numpy as np

from service.errors import InvalidArgumentError, ModelError
from service.model import keras_file
from service.model.engines import onnx_runtime
from service.model.layers import LAYERS
from service.model.layers.merge import Concatenate, Dot, Merge
from service.model.network import Network
from service.model.proof import Tolerance, allowed, difference
from service.model.tensors import INPUT_DTYPES, POLICIES
from tests.data.hostile import build
from tests.fuzz import targets

NETWORKS = 1000
DEPTH = 3  # layers at most
SHAPES = ([None, 3, 2], [None, None, 2], [None, 4, 2], [None, 5])
TRIES = 100  # to find a layer that goes on top
LARGEST = 100  # of an option; beyond it numbers overflow, and errors grow with them
# Layers that say nothing here, and options that Keras reads otherwise than it writes them, or only when it trains.
IDLE = ("Dropout", "Noise", "ActivityRegularization")
UNREAD = ("use_cudnn", "time_major", "lora_rank", "lora_alpha", "quantization_config", "momentum")
NEEDED = {"Rescaling": {"scale": 0.5, "offset": 0.1}, "AveragePooling1D": {"pool_size": 2}}
FINE = ("equal", "not finite", "refused", "Keras does not take it")
ALLOWED = 100.0  # times what is allowed elsewhere: chance finds activations that no network has, and they amplify


def networks(count: int, seed: int) -> Iterator[Any]:
    """Configs of rows and graphs of a few layers, each of which the reader takes."""
    rng = random.Random(seed)
    while count:
        config = _network(rng)
        if config is not None:
            count -= 1
            yield config


def _network(rng: random.Random) -> Any:
    first = build.layer("InputLayer", "x", batch_shape=rng.choice(SHAPES), dtype=rng.choice(sorted(INPUT_DTYPES)))
    policy, graph = rng.choice(["float32", "float32", *POLICIES]), rng.random() < 0.5
    layers, config = [first], None
    for _ in range(rng.randint(1, DEPTH)):
        for _ in range(TRIES):
            layer = _layer(rng, layers[-1]["config"]["name"], policy, graph=graph)
            candidate = _config([*layers, layer], graph=graph) if layer else None
            if candidate and targets.is_read(candidate):
                layers, config = [*layers, layer], candidate
                break
    return config


def _layer(rng: random.Random, below: str, policy: str, *, graph: bool) -> Any:
    name = f"z{rng.randrange(10**6)}"
    if graph and rng.random() < 0.4:
        layer = targets.operation_of_chance(rng, below)
        layer["name"] = layer["config"]["name"] = name
        return layer
    layer = targets.layer_of_chance(rng)
    class_name, config = layer["class_name"], layer["config"]
    if any(part in class_name for part in IDLE):
        return None
    for option, value in list(config.items()):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if option.startswith(UNREAD) or (number and not -1 <= value <= LARGEST):
            del config[option]
    layer["config"] = {**NEEDED.get(class_name, {}), **config, "name": name, "dtype": policy}
    if not graph:
        return layer
    many = issubclass(LAYERS[class_name], Merge | Concatenate | Dot)
    return targets.called(layer, [targets.tensor(below), targets.tensor("x")] if many else targets.tensor(below))


def _config(layers: list[Any], *, graph: bool) -> Any:
    if not graph:
        return build.changed("config", "layers", to=layers)
    config = build.functional(*layers[1:], outputs=[[layers[-1]["config"]["name"], 0, 0]])
    config["config"]["layers"][0]["config"] = layers[0]["config"]
    return config


def compare(path: Path) -> str:
    """What came of a file that the reader takes: `equal`, why it could not be compared, or how it differs."""
    import keras

    network = keras_file.read(path)
    inputs = _inputs(network)
    try:
        network.check(inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.models.load_model(path, compile=False)
            expected = [np.asarray(tensor) for tensor in keras.tree.flatten(model(list(inputs.values())))]
    except Exception:  # whatever Keras makes of options of chance
        return "Keras does not take it"
    trace = network.trace(inputs)
    if not all(np.isfinite(tensor).all() for layer in trace.layers for tensor in layer.tensors.values()):
        return "not finite"  # within: a logarithm of less than 0, a variance of chance
    targets.check_demand(network, inputs, trace)
    found = trace.outputs
    if len(found) != len(expected):
        return f"{len(found)} outputs, not {len(expected)}"
    for (name, actual), wanted in zip(found.items(), expected, strict=True):
        if (actual.dtype, actual.shape) != (wanted.dtype, wanted.shape):
            return f"{name}: {actual.dtype} of {actual.shape}, not {wanted.dtype} of {wanted.shape}"
        if not (error := difference(actual, wanted, allowed(network))) <= ALLOWED:
            return f"{name}: differs by {error:.3g} times what is allowed"
    engine = onnx_runtime.make(network)
    if engine is None:
        return "equal"
    tolerance = Tolerance(network, inputs)
    for name, actual in engine.forward(inputs).outputs.items():
        if not (error := tolerance.error(name, actual, found[name])) <= ALLOWED:
            return f"{name}: ONNX Runtime differs by {error:.3g} times what is allowed"
    return "equal, in ONNX Runtime too"


def _inputs(network: Network) -> dict[str, np.ndarray]:
    """Inputs as the file declares them; ids that every Embedding has, where there is one."""
    rng, ids = np.random.default_rng(0), any(layer.class_name == "Embedding" for layer in network.layers)
    found = {}
    for spec in network.declared:
        shape = [2, *(targets.TIMESTEPS if extent is None else extent for extent in spec.shape[1:])]
        values = rng.normal(size=shape) if spec.dtype.kind == "f" and not ids else rng.integers(0, 1 + (not ids), shape)
        found[spec.name] = values.astype(spec.dtype)
    return found


def main() -> None:
    """Compares so many, says what came of them, and keeps those that differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.oracle", description=__doc__)
    parser.add_argument("--networks", type=int, default=NETWORKS, help=f"default: {NETWORKS:,}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="for what differs; default: build/fuzz")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.keras")
        for number, config in enumerate(networks(given.networks, given.seed)):
            try:
                build.write(path, config, targets.fitting_weights(config))
                outcome = compare(path)
            except (ModelError, InvalidArgumentError) as error:  # ids and windows that Keras makes something of
                outcome = f"refused: {type(error).__name__}"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
            if not outcome.startswith(FINE):
                kept = given.folder / f"oracle-differs-{given.seed}-{number}.json"
                kept.write_text(json.dumps(config))
                print(f"{kept}: {outcome}", flush=True)
                outcome = "differs"
            outcomes[outcome] += 1
    print(", ".join(f"{outcome}: {count:,}" for outcome, count in outcomes.most_common()))
    if outcomes["differs"]:
        sys.exit("the reader has a fault")


if __name__ == "__main__":
    main()
