"""Reads `.safetensors` files: a header in JSON, and the bytes of arrays behind it."""

import json
import os
from typing import Any

import numpy as np

from service.convert.h5_file import contents
from service.errors import CorruptModelError, UnsupportedModelError
from service.model.layers.options import shown
from service.model.limits import ReadLimits
from service.model.tensors import Array

DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
TENSORS = 10_000
SIZE = 8  # bytes of the header's size
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")  # how torch.save begins a file


def read(path: str | os.PathLike[str], limits: ReadLimits) -> dict[str, Array]:
    """The arrays of a file, by name.

    Raises CorruptModelError, UnsupportedModelError, LimitExceededError; OSError where it cannot be opened.
    """
    data = contents(path, limits.file_bytes)
    if data.startswith(PICKLES):
        raise UnsupportedModelError(
            "the file is a pickle, as torch.save writes: reading it would execute its content; write it with "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        )
    size = int.from_bytes(data[:SIZE], "little")
    if not 2 <= size <= min(limits.config_bytes, len(data) - SIZE):
        raise CorruptModelError("it is not a .safetensors file, or a damaged one")
    try:
        header = json.loads(data[SIZE : SIZE + size])
    except (ValueError, RecursionError) as error:
        raise CorruptModelError("the header of the .safetensors file is not JSON") from error
    if not isinstance(header, dict) or len(header) > TENSORS:
        raise CorruptModelError(f"the header of the .safetensors file is not an object of at most {TENSORS} tensors")
    body = memoryview(data)[SIZE + size :]
    return {name: _tensor(name, said, body) for name, said in header.items() if name != "__metadata__"}


def _tensor(name: str, said: Any, body: memoryview) -> Array:
    """One array, once its header has been seen to fit."""
    where = f"tensor {shown(name)}"
    if not isinstance(said, dict):
        raise CorruptModelError(f"{where}: its header is not an object")
    kind: Any = said.get("dtype")
    shape: Any = said.get("shape")
    offsets: Any = said.get("data_offsets")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise UnsupportedModelError(f"{where}: dtype {shown(kind)} is not supported; expected {', '.join(DTYPES)}")
    dtype = np.dtype(DTYPES[kind])
    if not _sizes(shape, 8) or not _sizes(offsets, 2) or len(offsets) != 2:
        raise CorruptModelError(f"{where}: its shape or place is not one")
    begin, end = offsets
    count = 1
    for extent in shape:
        count *= extent
    if not begin <= end <= len(body) or end - begin != count * dtype.itemsize:
        raise CorruptModelError(f"{where}: it declares {count * dtype.itemsize} bytes that the file does not hold")
    array = np.frombuffer(body[begin:end], dtype).reshape(shape)
    if not np.isfinite(array).all():
        raise CorruptModelError(f"{where} holds values that are not finite")
    return array


def _sizes(value: Any, most: int) -> bool:
    """Whether it is a list of at most so many integers from 0."""
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in value)
    )
