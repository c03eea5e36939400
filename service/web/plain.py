"""Arrays and messages as JSON for the page, and requests of the page as arguments of the client."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from service.client.messages import Array, LayerTrace, Patch, WeightChange
from service.errors import InvalidArgumentError

MOST_CHANGES = 4096  # weight changes or patches of one request


@dataclass(frozen=True)
class Subject:
    """What most requests of the page have in common: a network, one sequence for it, and changes for this call."""

    model: str = ""
    version: str = ""
    inputs: Mapping[str, Array] = field(default_factory=dict)
    initial_state: Mapping[str, Array] = field(default_factory=dict)
    what_if: Sequence[WeightChange] = ()
    patches: Sequence[Patch] = ()

    def options(self) -> dict[str, Any]:
        """All but the inputs, as the arguments that calls of the client have in common."""
        return {
            "model": self.model,
            "version": self.version,
            "initial_state": self.initial_state,
            "what_if": self.what_if,
            "patches": self.patches,
        }


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in the body of a request. Raises InvalidArgumentError for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidArgumentError("the body is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"the body: expected a JSON object, got {type(document).__name__}")
    return document


def read_subject(document: Mapping[str, Any]) -> Subject:
    """The subject of a request. Raises InvalidArgumentError naming the field that is wrong."""
    return Subject(
        text(document, "model"),
        text(document, "version"),
        read_arrays(document, "inputs"),
        read_arrays(document, "initial_state"),
        read_changes(document, "what_if"),
        [_patch(item, f"patches[{i}]") for i, item in enumerate(_list(document, "patches"))],
    )


def read_arrays(document: Mapping[str, Any], name: str) -> dict[str, Array]:
    """Arrays by name: nested lists of numbers or of texts, or the form that `array` writes.

    Raises InvalidArgumentError.
    """
    given = document.get(name, {})
    if not isinstance(given, dict):
        raise InvalidArgumentError(f"{name}: expected an object of arrays by name", field=name)
    return {key: _array(value, f"{name}.{key}", texts=True) for key, value in given.items()}


def read_changes(document: Mapping[str, Any], name: str) -> list[WeightChange]:
    """Weight changes. Raises InvalidArgumentError."""
    return [_change(item, f"{name}[{i}]") for i, item in enumerate(_list(document, name))]


def text(document: Mapping[str, Any], name: str, default: str = "") -> str:
    """A field that is text. Raises InvalidArgumentError."""
    value = document.get(name, default)
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name}: expected text, got {type(value).__name__}", field=name)
    return value


def integer(document: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A field that is a whole number. Raises InvalidArgumentError."""
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name}: expected a whole number, got {value!r}", field=name)
    return value


def texts(document: Mapping[str, Any], name: str) -> list[str]:
    """A field that is a list of texts. Raises InvalidArgumentError."""
    values = _list(document, name)
    if not all(isinstance(value, str) for value in values):
        raise InvalidArgumentError(f"{name}: expected a list of texts", field=name)
    return values


def integers(document: Mapping[str, Any], name: str, count: int = 0) -> tuple[int, ...]:
    """A field that is a list of whole numbers, of so many where `count` is not 0. Raises InvalidArgumentError."""
    values = _list(document, name)
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if not whole or (count and len(values) != count):
        raise InvalidArgumentError(f"{name}: expected a list of {count or 'whole'} numbers", field=name)
    return tuple(values)


def numbers(document: Mapping[str, Any], name: str) -> list[float]:
    """A field that is a list of numbers. Raises InvalidArgumentError."""
    values = _list(document, name)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise InvalidArgumentError(f"{name}: expected a list of numbers", field=name)
    return values


def array(values: Any) -> dict[str, Any]:
    """An array as JSON: its shape, and its elements as base64 of little-endian numbers, or as a list of texts.

    JSON has no NaN and no infinity, and these are what a person who looks inside may want to find.
    """
    values = np.asarray(values)
    if values.dtype == object:
        return {"shape": values.shape, "type": "text", "data": values.ravel().tolist()}
    kind = "<f4" if values.dtype in (np.float32, np.float16) else "<f8"
    data = base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
    return {"shape": values.shape, "type": kind[1:], "data": data}


def arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name as JSON."""
    return {name: array(value) for name, value in values.items()}


def layers(values: Mapping[str, LayerTrace]) -> list[dict[str, Any]]:
    """Traced layers as JSON, in their order, which objects would not need to keep."""
    return [
        {"layer": name, "class_name": layer.class_name, "tensors": arrays(layer.tensors)}
        for name, layer in values.items()
    ]


def message(value: Message) -> dict[str, Any]:
    """A message as JSON, under the names of the proto; int64, NaN and infinities are texts that `Number` reads."""
    return MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    values = document.get(name, [])
    if not isinstance(values, list):
        raise InvalidArgumentError(f"{name}: expected a list, got {type(values).__name__}", field=name)
    if len(values) > MOST_CHANGES:
        raise InvalidArgumentError(f"{name}: {len(values)} are given, the limit is {MOST_CHANGES}", field=name)
    return values


def _array(value: Any, name: str, *, texts: bool = False) -> Array:
    """An array of numbers, or, where `texts` may be, of texts. Raises InvalidArgumentError."""
    try:
        if isinstance(value, dict):
            kind = {"f4": "<f4", "f8": "<f8"}[value["type"]]
            return np.frombuffer(base64.b64decode(value["data"], validate=True), kind).reshape(value["shape"])
        found = np.asarray(value)  # of whole numbers integers: ids of an Embedding
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidArgumentError(f"{name}: expected numbers in lists of equal lengths", field=name) from None
    if texts and found.dtype.kind == "U":
        found = np.asarray(value, object)  # as they are; NumPy's own texts lose NULs at the end, and take in numbers
        if all(isinstance(one, str) for one in found.flat):
            return found
        raise InvalidArgumentError(f"{name}: expected numbers or texts, not both", field=name)
    if found.dtype.kind not in "fi":
        raise InvalidArgumentError(f"{name}: expected numbers", field=name)
    return found


def _change(item: Any, name: str) -> WeightChange:
    if not isinstance(item, dict):
        raise InvalidArgumentError(f"{name}: expected an object", field=name)
    return WeightChange(
        text(item, "weight"),
        _array(item.get("value"), f"{name}.value"),
        text(item, "operation", "set"),
        [integers({"ranges": pair}, "ranges", 2) for pair in _list(item, "ranges")],  # type: ignore[misc]  # two each
    )


def _patch(item: Any, name: str) -> Patch:
    if not isinstance(item, dict):
        raise InvalidArgumentError(f"{name}: expected an object", field=name)
    start, stop = (integers(item, axis, 2) if axis in item else (0, 0) for axis in ("timesteps", "units"))
    return Patch(
        text(item, "layer"),
        text(item, "tensor"),
        _array(item.get("value", 0.0), f"{name}.value"),
        text(item, "operation", "set"),
        timesteps=start,  # type: ignore[arg-type]  # two each
        units=stop,  # type: ignore[arg-type]
    )
