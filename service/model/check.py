"""Whether a `.keras` file can be served, every reason why not, and the cost of one prediction."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidArgumentError, ServiceError, UnsupportedModelError
from service.model import keras_file
from service.model.container import open_model, read_config
from service.model.engines import choice as engines
from service.model.keras_config import MODELS, check_class, input_layer
from service.model.layers import LAYERS, make_layer
from service.model.layers.config import COMMON, unwrap
from service.model.layers.operations import OPERATIONS
from service.model.layers.options import faults, shown
from service.model.limits import ReadLimits
from service.model.network import Network

REASONS = 100  # more are not listed


@dataclass(frozen=True)
class Report:
    """What is known of a file."""

    reasons: tuple[str, ...]  # why it cannot be served; empty: it can
    network: Network | None = None
    engine: str = ""  # that would serve a batch of 1 here
    timesteps: int = 0  # of the prediction that was timed
    elements: int = 0  # that it makes in all layers together; 0: it took no random inputs
    microseconds: float = 0.0  # that it takes for one prediction, batch 1; 0: it took no random inputs
    through_keras: bool = False  # whether a layer is all that is not supported, so that Keras may compute the file

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
        errors = [*_all_reasons(path, limits), first]
        reasons = list(dict.fromkeys(error.message for error in errors))
        return Report(tuple(reasons[:REASONS]), through_keras=_keras_may_compute(first, errors))
    return _timed(network)


def _keras_may_compute(first: ServiceError, errors: Sequence[ServiceError]) -> bool:
    """Whether a file that was refused so is one that Keras may compute: a layer is what our reader does not support.

    What Keras refuses too, such as code in the file, is marked where it is refused.
    """
    by_layer = isinstance(first, UnsupportedModelError) and "layer" in first.details
    return by_layer and not any("code" in error.details for error in errors)


def _timed(network: Network) -> Report:
    choice, inputs = engines.select(network), engines.sample(network, None, 1)
    taken = next((t.microseconds for t in choice.timings if (t.engine, t.batch) == (choice.single.name, 1)), 0.0)
    sequences = [array for name, array in inputs.items() if array.ndim > 2 or name in network.vocabulary]
    timesteps = max((array.shape[1] for array in sequences if array.ndim > 1), default=0)
    elements = 0
    with suppress(InvalidArgumentError):  # it takes no random inputs
        elements = network.cost(network.shapes(inputs))
    return Report((), network, choice.single.name, timesteps, elements, taken)


def _all_reasons(path: str | os.PathLike[str], limits: ReadLimits) -> Iterator[ServiceError]:
    """What is wrong with each layer by itself."""
    try:
        with open_model(path, limits) as archive:
            document = read_config(archive, limits)
        check_class(document)
        yield from _model_reasons(document, "", limits.depth)
    except ServiceError as error:
        yield error


def _model_reasons(document: Any, prefix: str, depth: int) -> Iterator[ServiceError]:
    name, class_name, config = unwrap(document, "the model")
    layers = config.get("layers")
    if class_name not in MODELS or not isinstance(layers, list) or depth == 0:
        yield UnsupportedModelError(f"model {name} ({shown(class_name)}): is not a model that can be read")
        return
    for layer in layers:
        try:
            yield from _layer_reasons(layer, prefix, depth)
        except ServiceError as error:
            yield error


def _layer_reasons(document: Any, prefix: str, depth: int) -> Iterator[ServiceError]:
    name, class_name, config = unwrap(document, "a layer")
    where = f"layer {prefix}{name} ({shown(class_name)})"
    if class_name in MODELS:
        yield from _model_reasons(document, f"{prefix}{name}/", depth - 1)
    elif class_name == "InputLayer":
        input_layer(document)
    elif str(document.get("module", "")).startswith("keras.src.ops"):
        if class_name not in OPERATIONS:
            yield UnsupportedModelError(
                f"operation {prefix}{name} ({shown(class_name)}): the operation is not supported"
            )
    elif class_name not in LAYERS:
        make_layer(document, prefix=prefix)  # which says so
    else:
        found = list(faults(config, LAYERS[class_name].OPTIONS, where, COMMON))
        yield from found
        if not found:
            make_layer(document, prefix=prefix)
