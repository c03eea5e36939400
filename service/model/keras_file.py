"""Reads `.keras` files into networks, and writes changed weights back, without Keras.

Such a file is hostile until read: nothing in it is imported, executed or followed; sizes are checked before anything
is allocated; what is not supported is named.
"""

import os
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from service.errors import InvalidArgumentError
from service.model import keras_config
from service.model.container import WEIGHTS, asset, member, open_model, read_config
from service.model.graph import Graph
from service.model.graph_network import GraphNetwork
from service.model.limits import ReadLimits
from service.model.tensors import Array
from service.model.weights_file import read_weights, replace_weights, unpack

DEFAULT_LIMITS = ReadLimits()


def read(path: str | os.PathLike[str], limits: ReadLimits = DEFAULT_LIMITS) -> GraphNetwork:
    """The network in a `.keras` file.

    Raises CorruptModelError for a file that contradicts itself or is damaged, UnsupportedModelError for what the reader
    does not support (naming layer, class and option), LimitExceededError for what is too large; OSError where the file
    cannot be opened.
    """
    network, _, _ = _read(path, limits)
    return network


def rewrite(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    changes: Mapping[str, Array],
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Mapping[str, Array]:
    """Writes to `target` the file at `source` with some weights changed; all else stays, byte for byte.

    Gives what these weights were before. Keras opens the result as it opened the source. The target appears
    whole or not at all.

    Raises InvalidArgumentError for changes that `GraphNetwork.with_weights` refuses, and as `read`.
    """
    network, graph, data = _read(source, limits)
    network.with_weights(changes)  # refuses what does not fit
    changed = replace_weights(data, graph, changes)
    target = Path(target)
    if target.exists() and target.samefile(source):
        raise InvalidArgumentError("the file to write is the file to read")
    unfinished = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(unfinished, "w") as new:
            for info in old.infolist():
                same = info.filename != WEIGHTS
                new.writestr(info, member(old, info.filename, limits.config_bytes) if same else changed)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return {name: network.weights[name] for name in changes}


def _read(path: str | os.PathLike[str], limits: ReadLimits) -> tuple[GraphNetwork, Graph, bytes]:
    """The network, its graph, and the bytes of the H5 file."""
    with open_model(path, limits) as archive:
        graph = keras_config.build(read_config(archive, limits), limits, partial(asset, archive, limits))
        data = unpack(archive, graph, limits)
    return GraphNetwork(graph, read_weights(data, graph)), graph, data
