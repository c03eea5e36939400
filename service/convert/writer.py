"""Writes `.keras` files of Keras 3: metadata, config, weights."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from service.model.container import CONFIG, METADATA, WEIGHTS
from service.model.graph import Graph
from service.model.tensors import Array

KERAS = "3.12.0"  # whose format is written; the oldest that today's TensorFlow takes
CONVERTED = "unroll"  # in the metadata: what a file was converted from, and what was rewritten
WHEN = (1980, 1, 1, 0, 0, 0)  # of all members: the same input gives the same bytes


def write(
    target: Path, document: Mapping[str, Any], weights: Mapping[str, Array], graph: Graph, origin: Mapping[str, Any]
) -> None:
    """Writes a file, whole or not at all.

    weights: by place in the file; origin: what is kept of where they come from.
    """
    members = {
        METADATA: json.dumps({"keras_version": KERAS, CONVERTED: origin}).encode(),
        CONFIG: json.dumps(document).encode(),
        WEIGHTS: _h5(weights, graph),
    }
    unfinished = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, WHEN), data)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _h5(weights: Mapping[str, Array], graph: Graph) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for place, array in weights.items():
            file[place] = array
        for entry in graph.layers.values():
            if (
                entry.layer.CLASS == "Normalization" and entry.weights
            ):  # how much it was adapted to, which Keras expects
                file[f"{entry.folder}/vars/2"] = np.int32(0)
    return buffer.getvalue()


def origin(path: Path, limit: int = 1 << 16) -> tuple[str, Sequence[str]]:
    """What a `.keras` file was converted from, and what was rewritten, as its metadata says; ("", ()) for any other."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(METADATA) as file:
            said = json.loads(file.read(limit)).get(CONVERTED, {})
        return str(said["from"])[:200], [str(note)[:300] for note in said["rewritten"]][:100]
    except Exception:  # it says nothing, or is damaged: whoever reads it for its own sake names the fault
        return "", ()
