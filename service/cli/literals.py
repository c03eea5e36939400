"""Parsing of command-line values: arrays, and weight changes such as `output/bias=[0.5]`."""

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.client import WeightChange
from service.errors import InvalidArgumentError

OPERATIONS = {"": "set", "+": "add", "*": "scale"}
_CHANGE = re.compile(
    r"(?P<weight>[^=\[\]+*]+)(\[(?P<ranges>[\d:,\s]+)\])?(?P<operation>[+*]?)=(?P<value>.+)", re.DOTALL
)


def parse_array(text: str) -> npt.NDArray[np.generic]:
    """An array from JSON (`[[1, 2], [2, 3]]`), from a file (`@x.npy`, `@x.json`), or from standard input (`-`).

    Raises InvalidArgumentError where it is neither, or ragged.
    """
    return _array(_read(text), text)


def parse_inputs(text: str) -> npt.NDArray[np.generic] | dict[str, npt.NDArray[np.generic]]:
    """One array, as `parse_array`; or one for each input by name, from JSON (`{"x": [[1, 2]]}`) or a file (`@x.npz`).

    Raises InvalidArgumentError as `parse_array`.
    """
    found = _read(text)
    return (
        {name: _array(value, text, texts=True) for name, value in found.items()}
        if isinstance(found, dict)
        else _array(found, text, texts=True)
    )


def _read(text: str) -> Any:
    try:
        if text.startswith("@"):
            path = Path(text[1:])
            if path.suffix == ".npy":
                return np.load(path, allow_pickle=False)
            if path.suffix == ".npz":
                with path.open("rb") as file:
                    if not zipfile.is_zipfile(file):  # of which np.load would leave an open file behind
                        raise ValueError("it is not an .npz file, or a damaged one")
                    return dict(np.load(file, allow_pickle=False))
            text = path.read_text()
        elif text == "-":
            text = sys.stdin.read()
        return json.loads(text)
    except (ValueError, OSError) as error:
        raise InvalidArgumentError(f"not an array: {text[:60]!r} ({error})") from None


def _array(value: Any, text: str, *, texts: bool = False) -> npt.NDArray[np.generic]:
    """An array of numbers, or where `texts` are allowed of these, but not of both."""
    try:
        array = np.array(value)
    except ValueError as error:
        raise InvalidArgumentError(f"not an array: {text[:60]!r} ({error})") from None
    if texts and array.ndim and array.dtype.kind == "U" and (isinstance(value, np.ndarray) or _only_texts(value)):
        return array
    if array.dtype.kind not in "fiub":
        raise InvalidArgumentError(f"not an array of numbers: {text[:60]!r}")
    return array


def _only_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(map(_only_texts, value)))


def parse_change(text: str) -> WeightChange:
    """A change: `LAYER/kernel=VALUE` sets, `+=` adds, `*=` scales; `LAYER/kernel[0:1,2:4]=VALUE` means a slice.

    Each range is START:STOP, one index I, or `:`, for one axis, in order. Raises InvalidArgumentError.
    """
    match = _CHANGE.fullmatch(text)
    if match is None:
        raise InvalidArgumentError(f"not a weight change: {text!r}; expected something like output/bias=[0.5]")
    ranges = [_range(part.strip(), text) for part in (match["ranges"] or "").split(",") if match["ranges"]]
    return WeightChange(match["weight"].strip(), parse_array(match["value"]), OPERATIONS[match["operation"]], ranges)


def parse_range(text: str) -> tuple[int, int]:
    """A range: `START:STOP`, one index, or `:` for all, which is (0, 0). Raises InvalidArgumentError."""
    return _range(text.strip(), text)


def _range(text: str, whole: str) -> tuple[int, int]:
    if text == ":":
        return (0, 0)
    start, colon, stop = text.partition(":")
    try:
        return (int(start or 0), int(stop)) if colon else (int(start), int(start) + 1)
    except ValueError:
        raise InvalidArgumentError(f"not a range: {text!r} in {whole!r}; expected START:STOP, INDEX or `:`") from None
