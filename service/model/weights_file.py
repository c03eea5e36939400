"""The weights of a `.keras` file: an H5 file, read without following links and within limits on memory."""

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from service.errors import CorruptModelError, LimitExceededError
from service.model.container import WEIGHTS, member
from service.model.graph import Graph
from service.model.layers.base import WeightSpec
from service.model.limits import ReadLimits
from service.model.tensors import Array

# What h5py raises for a damaged file: it maps the library's errors to these.
H5_ERRORS = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
)

# What an H5 file may hold besides the weights: groups, and the optimizer, which keeps up to three copies of them.
OVERHEAD, LAYER_OVERHEAD, COPIES = 1 << 20, 1 << 16, 5

SIGNATURE, SUPERBLOCK = b"\x89HDF\r\n\x1a\n", 48  # how a file begins; bytes of the shortest superblock
# By version: where the sizes of addresses and lengths stand, and the address that others are relative to.
SUPERBLOCKS = {0: (13, 24), 1: (13, 28), 2: (9, 12), 3: (9, 12)}
HEAP = b"HEAP\0"  # how a local heap begins: its mark, its version
HEAP_HEADER = struct.Struct("<8xQQQ")  # size of its data, first free block, address of its data
FREE_BLOCK = struct.Struct("<QQ")  # next free block, size
COLLECTION = b"GCOL\1\0\0\0"  # how a collection of texts begins: its mark, its version; then its size
COLLECTED = struct.Struct("<H6xQ")  # index and size of an object in it
NO_MORE = 1  # in place of the next free block


def places(graph: Graph) -> dict[str, tuple[str, WeightSpec]]:
    """Where each weight of a graph lies in the H5 file, by its full name."""
    return {
        f"{name}/{spec.name}": (f"{entry.folder}/{spec.path}", spec)
        for name, entry in graph.layers.items()
        for spec in entry.weights
    }


def unpack(archive: zipfile.ZipFile, graph: Graph, limits: ReadLimits) -> bytes:
    """The bytes of the H5 file, once it is no larger than the weights that the config asks for explain.

    Raises LimitExceededError for too many parameters or bytes, before any is read.
    """
    specs = [spec for _, spec in places(graph).values()]
    count = sum(math.prod(spec.shape) for spec in specs)
    if count > limits.parameters:
        raise LimitExceededError(
            f"the model has {count} parameters, the limit is {limits.parameters}", limit=limits.parameters, actual=count
        )
    size = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in specs)
    explained = OVERHEAD + LAYER_OVERHEAD * len(graph.layers) + COPIES * size
    return member(archive, WEIGHTS, min(explained, limits.file_bytes))


def read_weights(data: bytes, graph: Graph) -> dict[str, Array]:
    """The weights that a graph asks for, each of the shape and type that the config implies.

    Raises CorruptModelError for a weight that is missing, of another shape or type, not stored plainly in this file, or
    not finite.
    """
    with h5_file(io.BytesIO(data), "r") as file:
        return {name: _read(file, path, name, spec, len(data)) for name, (path, spec) in places(graph).items()}


def replace_weights(data: bytes, graph: Graph, changes: Mapping[str, Array]) -> bytes:
    """The H5 file with some weights changed in place."""
    wanted = places(graph)
    buffer = io.BytesIO(data)
    with h5_file(buffer, "r+") as file:
        for name, value in changes.items():
            path, spec = wanted[name]
            dataset(file, path, name, spec, len(data))[...] = value
    return buffer.getvalue()


@contextmanager
def h5_file(buffer: io.BytesIO, mode: str) -> Iterator[Any]:
    """An H5 file in memory; what the library makes of a damaged one is a CorruptModelError."""
    data = buffer.getvalue()
    _check_heaps(data)
    _check_global_heaps(data)
    try:
        with h5py.File(buffer, mode) as file:
            yield file
    except H5_ERRORS as error:
        raise CorruptModelError("the H5 file with the weights is damaged") from error


def _check_heaps(data: bytes) -> None:
    """Refuses lists without an end, along which the library would allocate until the process is killed.

    The local heap of a group has a list of its free blocks, (next, size) each; the library follows it anywhere.
    See the HDF5 File Format Specification 3.0, II.A (superblock) and III.D (local heaps).
    """
    version = data[8] if data.startswith(SIGNATURE) and len(data) > SUPERBLOCK else None
    if version is None or version not in SUPERBLOCKS:
        raise CorruptModelError("the H5 file with the weights is damaged")
    sizes, base = SUPERBLOCKS[version]
    if data[sizes : sizes + 2] != b"\x08\x08" or data[base : base + 8] != bytes(8):
        raise CorruptModelError("the H5 file with the weights has addresses of another kind than Keras writes")
    at = data.find(HEAP)
    while at >= 0:
        if at + HEAP_HEADER.size <= len(data):
            size, free, start = HEAP_HEADER.unpack_from(data, at)
            blocks = min(size, len(data)) // FREE_BLOCK.size  # as many as there is room for
            while free != NO_MORE and free + FREE_BLOCK.size <= size and start + free + FREE_BLOCK.size <= len(data):
                if blocks == 0:
                    raise CorruptModelError("the H5 file with the weights is damaged: a list in it has no end")
                blocks -= 1
                free, _ = FREE_BLOCK.unpack_from(data, start + free)
        at = data.find(HEAP, at + 1)


def _check_global_heaps(data: bytes) -> None:
    """Refuses collections of texts that the library would walk without an end: an object must lead to the next one.

    See the HDF5 File Format Specification 3.0, III.E: index, size and data of each object, padded to 8 bytes; the
    object with index 0 is the space that is left, and its size counts its own header.
    """
    steps = len(data) // COLLECTED.size  # of all collections together, which do not overlap
    at = data.find(COLLECTION)
    while at >= 0:
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        place, end = at + COLLECTED.size, min(at + size, len(data)) - COLLECTED.size
        while place <= end:
            index, length = COLLECTED.unpack_from(data, place)
            taken = length if index == 0 else COLLECTED.size + (length + 7 & ~7)
            steps -= 1
            if taken < COLLECTED.size or taken > len(data) or steps < 0:
                raise CorruptModelError("the H5 file with the weights is damaged: a list in it has no end")
            place += taken
        at = data.find(COLLECTION, at + 1)


def dataset(file: Any, path: str, name: str, spec: WeightSpec, stored: int) -> Any:
    """The dataset at a path, once it is known to be plain numbers in this very file, of the shape and type expected.

    Each step of the path must be a hard link: soft and external ones lead elsewhere. Virtual datasets, external
    storage, chunks and filters are how a small file makes large arrays or reads others; Keras writes none of them.
    """
    place = file
    for part in path.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            raise CorruptModelError(f"weight {name} is missing from the file", weight=name)
        if not isinstance(link, h5py.HardLink):
            raise CorruptModelError(f"weight {name} is a link to elsewhere; links are not followed", weight=name)
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise CorruptModelError(f"weight {name} is not an array", weight=name)
    if place.is_virtual or place.external or place.chunks is not None or place.compression is not None:
        raise CorruptModelError(
            f"weight {name} is not stored plainly: virtual, external, chunked or packed", weight=name
        )
    if place.shape != spec.shape or place.dtype != spec.dtype:
        raise CorruptModelError(
            f"weight {name}: the file has {place.dtype} of shape {list(place.shape or ())}, "
            f"its config implies {spec.dtype.name} of {list(spec.shape)}",
            weight=name,
            expected=list(spec.shape),
            actual=list(place.shape or ()),
        )
    size = math.prod(spec.shape) * spec.dtype.itemsize
    if size > stored or place.id.get_storage_size() != size:
        raise CorruptModelError(f"weight {name} declares {size} bytes that the file does not hold", weight=name)
    return place


def _read(file: Any, path: str, name: str, spec: WeightSpec, stored: int) -> Array:
    array: Array = np.empty(spec.shape, spec.dtype)
    dataset(file, path, name, spec, stored).read_direct(array)
    if not np.isfinite(array).all():
        raise CorruptModelError(f"weight {name} holds values that are not finite", weight=name)
    return array
