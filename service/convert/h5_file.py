"""Keras's `.h5` files, whole models or weights alone, read as hostile input, with h5py.

Nothing is followed out of the file; every attribute and array is known to be in it, at its size, before it is read.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from service.convert.source import Saved, Source
from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.container import open_regular, parse_json
from service.model.layers.options import shown
from service.model.limits import ReadLimits
from service.model.tensors import Array
from service.model.weights_file import h5_file

WHOLE, CONFIG, VERSION = "model_weights", "model_config", "keras_version"
LAYER_NAMES, WEIGHT_NAMES = "layer_names", "weight_names"
# Where files since Keras 2.12 have the layers; the second name was in 2.12 and 2.13 alone.
FOLDER, OLD_FOLDER = "layers", "_layer_checkpoint_dependencies"
CHUNKS = 64  # attributes that one list of names may be spread over
OBJECTS = 20_000  # groups and arrays, of those that are walked
NAME = 1_024  # characters of a name


def read(path: str | os.PathLike[str], limits: ReadLimits) -> Source:
    """A whole-model file.

    Raises CorruptModelError, UnsupportedModelError, LimitExceededError; OSError where it cannot be opened.
    """
    data = contents(path, limits.file_bytes)
    with h5_file(io.BytesIO(data), "r") as file:
        text = _text(file, CONFIG, limits.config_bytes)
        if text is None:
            raise UnsupportedModelError(
                f"the file holds weights and no {CONFIG}: give the architecture too, "
                "unroll convert model.json weights.h5 new.keras",
                weights=True,
            )
        version = _text(file, VERSION, NAME) or ""
        if WHOLE not in file:
            raise CorruptModelError(f"the file has no group {WHOLE}")
        document = parse_json(text.encode("utf-8", "replace"))
        return Source(document, version, by_layer=_by_layer(_group(file, WHOLE), len(data), limits))


def read_weights(path: str | os.PathLike[str], document: Any, keras: str, limits: ReadLimits) -> Source:
    """The weights of a config, from a file of weights or of a whole model. Raises as `read`."""
    return weights(contents(path, limits.file_bytes), document, keras, limits)


def weights(data: bytes, document: Any, keras: str, limits: ReadLimits) -> Source:
    """The weights of a config from the bytes of an H5 file, which has them by layer or by path. Raises as `read`."""
    with h5_file(io.BytesIO(data), "r") as file:
        version = keras or _text(file, VERSION, NAME) or ""
        for group in (_group(file, WHOLE) if WHOLE in file else file, file):
            if LAYER_NAMES in group.attrs or f"{LAYER_NAMES}0" in group.attrs:
                return Source(document, version, by_layer=_by_layer(group, len(data), limits))
        return Source(document, version, by_path=_by_path(file, len(data)), counted_twice=_has_old_folder(file))


def contents(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file, which is one and no larger than a limit."""
    with open_regular(path, limit) as file:
        return file.read(limit)


def head(path: Path) -> bytes:
    """The first bytes of a file, which say what it is."""
    with open_regular(path, 1 << 62) as file:
        return file.read(8)


def _by_layer(group: Any, stored: int, limits: ReadLimits) -> dict[str, list[Saved]]:
    names = _names(group, LAYER_NAMES, limits)
    if len(names) > limits.layers:
        raise LimitExceededError(
            f"the file has {len(names)} layers, the limit is {limits.layers}", limit=limits.layers, actual=len(names)
        )
    found: dict[str, list[Saved]] = {}
    budget = _Budget(stored)
    for name in names:
        layer = _group(group, name)
        found[name] = [(own, budget.read(_member(layer, own), own)) for own in _names(layer, WEIGHT_NAMES, limits)]
    return found


def _by_path(file: Any, stored: int) -> dict[str, Array]:
    """All arrays below the layers, by path; paths that a Keras on Windows wrote with backslashes have slashes."""
    found: dict[str, Array] = {}
    budget = _Budget(stored)
    for path, array in _walk(file):
        parts = [FOLDER if part == OLD_FOLDER else part for part in path.replace("\\", "/").split("/")]
        if parts[0] == FOLDER:
            found["/".join(parts)] = budget.read(array, path)
    if not found:
        held = ", ".join(shown(name, 40) for name in list(file)[:8])
        raise UnsupportedModelError(f"the H5 file has no weights as Keras writes them; it holds {held or 'nothing'}")
    return found


def _has_old_folder(file: Any) -> bool:
    return any(re.match(rf"{OLD_FOLDER}\b", name) for name in file)


def _walk(file: Any) -> Iterator[tuple[str, Any]]:
    """All arrays below the groups of layers, through hard links alone. Groups may form a circle: they are counted."""
    waiting = [(name, file) for name in file if re.match(rf"({FOLDER}|{OLD_FOLDER})\b", name)]
    seen = 0
    while waiting:
        path, parent = waiting.pop()
        seen += 1
        if seen > OBJECTS or len(path) > NAME:
            raise LimitExceededError(
                f"the H5 file has more than {OBJECTS} groups and arrays", limit=OBJECTS, actual=seen
            )
        item = _step(parent, path.rpartition("/")[2] if parent is not file else path, path)
        if isinstance(item, h5py.Dataset):
            yield path, item
        elif isinstance(item, h5py.Group):
            waiting += [(f"{path}/{name}", item) for name in item]


class _Budget:
    """Reads arrays, never more bytes in all than the file has: arrays that share their bytes are no weights."""

    def __init__(self, stored: int) -> None:
        self._left = stored

    def read(self, dataset: Any, name: str) -> Array:
        """An array that is stored plainly in this file. Raises CorruptModelError."""
        if not isinstance(dataset, h5py.Dataset):
            raise CorruptModelError(f"weight {shown(name)} is not an array")
        if dataset.is_virtual or dataset.external or dataset.chunks is not None or dataset.compression is not None:
            raise CorruptModelError(f"weight {shown(name)} is not stored plainly: virtual, external, chunked or packed")
        if dataset.dtype.kind not in "fiub" or dataset.shape is None or len(dataset.shape) > 8:
            raise CorruptModelError(f"weight {shown(name)} does not hold numbers")
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        if size > self._left or dataset.id.get_storage_size() != size:
            raise CorruptModelError(f"weight {shown(name)} declares {size} bytes that the file does not hold")
        self._left -= size
        array: Array = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
        if size:
            dataset.read_direct(array)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CorruptModelError(f"weight {shown(name)} holds values that are not finite")
        return array


def _group(parent: Any, path: str) -> Any:
    found = _member(parent, path)
    if not isinstance(found, h5py.Group):
        raise CorruptModelError(f"{shown(path)} is not a group")
    return found


def _member(parent: Any, path: str) -> Any:
    """What is at a path, each step of which is a hard link."""
    for part in path.split("/"):
        parent = _step(parent, part, path)
    return parent


def _step(parent: Any, name: str, path: str) -> Any:
    link = parent.get(name, getlink=True) if isinstance(parent, h5py.Group) and name not in ("", ".") else None
    if link is None:
        raise CorruptModelError(f"the file has no {shown(path)}")
    if not isinstance(link, h5py.HardLink):
        raise CorruptModelError(f"{shown(path)} is a link to elsewhere; links are not followed")
    return parent[name]


def _names(group: Any, attribute: str, limits: ReadLimits) -> list[str]:
    """A list of names. A long one is spread over attributes with numbers, since one attribute holds 64 kB at most."""
    if attribute in group.attrs:
        return _list(group, attribute, limits.config_bytes)
    found: list[str] = []
    for number in range(CHUNKS):
        if f"{attribute}{number}" not in group.attrs:
            break
        found += _list(group, f"{attribute}{number}", limits.config_bytes)
    return found


def _list(group: Any, attribute: str, limit: int) -> list[str]:
    if 0 in group.attrs.get_id(attribute).shape:  # an empty list, which h5py keeps as numbers
        return []
    names = [_decoded(name, attribute) for name in np.atleast_1d(_value(group, attribute, limit)).ravel().tolist()]
    if any(not name or len(name) > NAME or not name.isprintable() for name in names):
        raise CorruptModelError(f"{attribute} holds what is no name")
    return names


def _text(group: Any, attribute: str, limit: int) -> str | None:
    """A text; None if there is none of that name."""
    if attribute not in group.attrs:
        return None
    value = _value(group, attribute, limit)
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise CorruptModelError(f"{attribute} is not a text")
        value = value.reshape(-1)[0]
    text = _decoded(value, attribute)
    if len(text) > limit:
        raise LimitExceededError(f"{attribute} has {len(text)} characters, the limit is {limit}", limit=limit)
    return text


def _value(group: Any, attribute: str, limit: int) -> Any:
    """An attribute of texts, once it is known to take no more memory than it may."""
    found = group.attrs.get_id(attribute)
    string = h5py.check_string_dtype(found.dtype)
    count = math.prod(found.shape or (1,))
    size = found.dtype.itemsize * count
    if string is None or size > limit or count > limit // 8:
        raise CorruptModelError(f"{attribute} is not text, or longer than {limit} bytes")
    return group.attrs[attribute]


def _decoded(value: Any, attribute: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise CorruptModelError(f"{attribute} is not text")
    return value
