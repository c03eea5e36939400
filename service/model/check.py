"""Whether a `.keras` file can be served, with every reason why not, and what one prediction costs."""

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import ServiceError
from service.model import keras_file
from service.model.container import open_model, read_config
from service.model.graph import MODELS, input_layer
from service.model.layers import LAYERS, make_layer
from service.model.layers.config import COMMON, unwrap
from service.model.layers.operations import OPERATIONS
from service.model.layers.options import faults, shown
from service.model.limits import ReadLimits
from service.model.network import Network

TIMESTEPS = 10  # of the prediction that is timed, where the file leaves them open
SECONDS = 0.2  # how long is timed
REASONS = 100  # more are not told


@dataclass(frozen=True)
class Report:
    """What is known of a file."""

    reasons: tuple[str, ...]  # why it cannot be served; empty: it can
    network: Network | None = None
    timesteps: int = 0  # of the prediction that was timed
    microseconds: float = 0.0  # median of one prediction, batch 1

    @property
    def supported(self) -> bool:
        """Whether the file can be served."""
        return not self.reasons

    @property
    def parameter_count(self) -> int:
        """Numbers in all weights."""
        return self.network.parameter_count if self.network else 0


def check(path: str | os.PathLike[str], limits: ReadLimits = keras_file.DEFAULT_LIMITS) -> Report:
    """What a file is, and what stands in its way. Raises OSError where it cannot be opened."""
    try:
        network = keras_file.read(path, limits)
    except ServiceError as first:
        reasons = list(dict.fromkeys([*_all_reasons(path, limits), first.message]))
        return Report(tuple(reasons[:REASONS]))
    return _timed(network)


def _timed(network: Network) -> Report:
    inputs = example(network)
    network.forward(inputs)  # warm
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < until:
        start = time.perf_counter()
        network.forward(inputs)
        times.append(time.perf_counter() - start)
    timesteps = max((array.shape[1] for array in inputs.values() if array.ndim > 1), default=0)
    return Report((), network, timesteps, statistics.median(times) * 1e6)


def example(network: Network, batch: int = 1, timesteps: int = TIMESTEPS) -> dict[str, Any]:
    """Inputs that fit: ones, or ids of 0; extents that are open are `timesteps`."""
    return {
        spec.name: (np.ones if spec.dtype.kind == "f" and len(spec.shape) > 2 else np.zeros)(
            (batch, *(timesteps if extent is None else extent for extent in spec.shape[1:])), spec.dtype
        )
        for spec in network.inputs
    }


def _all_reasons(path: str | os.PathLike[str], limits: ReadLimits) -> Iterator[str]:
    """What is wrong with each layer by itself."""
    try:
        with open_model(path, limits) as archive:
            document = read_config(archive, limits)
        yield from _model_reasons(document, "", limits.depth)
    except ServiceError as error:
        yield error.message


def _model_reasons(document: Any, prefix: str, depth: int) -> Iterator[str]:
    name, class_name, config = unwrap(document, "the model")
    layers = config.get("layers")
    if class_name not in MODELS or not isinstance(layers, list) or depth == 0:
        yield f"model {name} ({shown(class_name)}): is not a model that can be read"
        return
    for layer in layers:
        try:
            yield from _layer_reasons(layer, prefix, depth)
        except ServiceError as error:
            yield error.message


def _layer_reasons(document: Any, prefix: str, depth: int) -> Iterator[str]:
    name, class_name, config = unwrap(document, "a layer")
    where = f"layer {prefix}{name} ({shown(class_name)})"
    if class_name in MODELS:
        yield from _model_reasons(document, f"{prefix}{name}/", depth - 1)
    elif class_name == "InputLayer":
        input_layer(document)
    elif str(document.get("module", "")).startswith("keras.src.ops"):
        if class_name not in OPERATIONS:
            yield f"operation {prefix}{name} ({shown(class_name)}): the operation is not supported"
    elif class_name not in LAYERS:
        yield f"{where}: the class is not supported"
    else:
        found = [fault.message for fault in faults(config, LAYERS[class_name].OPTIONS, where, COMMON)]
        yield from found
        if not found:
            make_layer(document, prefix=prefix)
