"""Windows from an `.npz` file with sequences `x`, of numbers or of ids, and targets `y`."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from service.model.tensors import TensorSpec
from training.data import files
from training.data.layout import Layout
from training.data.windows import Parts, Windows, parts_by_place
from training.options import Source

MOST_IDS = 1_000_000  # each has a row of the Embedding


def read(path: Path, source: Source, note: Callable[[str], None]) -> tuple[Layout, Parts]:
    """Windows and their layout. Raises InvalidArgumentError for arrays that are not sequences and targets; OSError."""
    found = _loaded(path)
    if missing := {"x", "y"} - set(found):
        raise InvalidArgumentError(f"data: {path.name} holds no array {min(missing)!r}", field="data")
    x, y = found["x"], found["y"]
    ids = _check_ids(x) if x.ndim == 2 and x.dtype.kind in "iu" else 0
    if not ids and (x.ndim != 3 or x.dtype.kind not in "fiub" or not x.size):
        raise InvalidArgumentError(
            f"data: x is {x.dtype} of shape {list(x.shape)}; expected numbers (sequences, timesteps, features), or ids "
            "as whole numbers (sequences, timesteps)",
            field="data",
        )
    files.check_range(x.astype(np.float64, copy=False), "x")
    if y.ndim not in {1, 2} or len(y) != len(x):
        raise InvalidArgumentError(
            f"data: y has the shape {list(y.shape)}; expected ({len(x)},) or ({len(x)}, outputs)", field="data"
        )
    count, timesteps, *width = x.shape
    finite = np.isfinite(x.astype(np.float32)).all(axis=(1, 2)) if x.dtype.kind == "f" else np.ones(count, bool)
    classify = source.task == "classification" or (source.task == "auto" and y.dtype.kind in "USb")
    classes: tuple[str, ...] = ()
    if classify:
        if y.ndim != 1:
            raise InvalidArgumentError(f"data: y has the shape {list(y.shape)}; classes need ({count},)", field="data")
        kinds, codes = np.unique(y, return_inverse=True)
        classes, y = tuple(str(kind) for kind in kinds), codes.astype(np.int32)[:, None]
    elif y.dtype.kind not in "fiub":
        raise InvalidArgumentError(
            f"task: y is {y.dtype}, which is not a number; it can only be classified", field="task"
        )
    else:
        files.check_range(y.astype(np.float64, copy=False), "y")
        y = y.astype(np.float32).reshape(count, -1)
        finite &= np.isfinite(y).all(axis=1)
    if not finite.all():
        text = f"{np.count_nonzero(~finite)} of {count} sequences have missing values"
        if source.missing != "drop":
            raise InvalidArgumentError(f"missing: {text}; for sequences there is --missing drop", field="missing")
        note(f"{text}: left out")
    outputs = y.shape[1]
    places = np.flatnonzero(finite)
    values: Any = np.ascontiguousarray(x, np.int32 if ids else np.float32)
    everything = Windows(
        values.reshape(-1, *width), np.ascontiguousarray(y).reshape(-1),
        places * timesteps, places * outputs, timesteps, outputs,
    )  # fmt: skip
    part = parts_by_place(np.zeros(len(places), np.int32), source.validation, source.test)
    names = ("id",) if ids else tuple(f"x{i}" for i in range(*width))
    layout = Layout(names, "y", timesteps, outputs, classes, ids=ids)
    return layout, Parts(*(everything.some(part == number) for number in range(3)))


def _check_ids(x: npt.NDArray[Any]) -> int:
    """How many ids there are, from 0 on. Raises InvalidArgumentError for ids that are none, and for too many."""
    least, greatest = (int(x.min()), int(x.max())) if x.size else (-1, -1)
    if least < 0 or greatest >= MOST_IDS:
        raise InvalidArgumentError(
            f"data: x holds ids from {least} to {greatest}; expected 0 to {MOST_IDS - 1}", field="data"
        )
    return greatest + 1


def arrays(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, npt.NDArray[Any]]:
    """What a file has for the inputs of a network, by their names; a single one may be called `x`.

    Raises InvalidArgumentError for arrays that are not there or do not fit; OSError.
    """
    found = _loaded(path)
    if len(inputs) == 1 and inputs[0].name not in found and "x" in found:
        found = {inputs[0].name: found["x"]}
    made: dict[str, npt.NDArray[Any]] = {}
    for spec in inputs:
        if spec.name not in found:
            raise InvalidArgumentError(
                f"data: {path.name} holds no array {spec.name!r}; it holds {files.listed(list(found))}", field="data"
            )
        array = found[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            size is None or size == have for size, have in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
        if not fits or array.dtype.kind not in ("iub" if np.dtype(spec.dtype).kind in "iu" else "fiub"):
            wanted = ", ".join("any" if size is None else str(size) for size in spec.shape)
            raise InvalidArgumentError(
                f"data: {spec.name} is {array.dtype} of shape {list(array.shape)}; expected numbers ({wanted})",
                field="data",
            )
        made[spec.name] = array.astype(spec.dtype, copy=False)
    counts = {len(array) for array in made.values()}
    if len(counts) != 1 or not all(counts):
        raise InvalidArgumentError(
            f"data: the arrays hold {sorted(counts)} sequences; expected one number", field="data"
        )
    return made


def _loaded(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a file. Raises InvalidArgumentError for one that is none, OSError."""
    if not path.is_file():
        raise InvalidArgumentError(f"data: there is no file {path}", field="data")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(f"data: {path.name} cannot be read: {error}", field="data") from error
