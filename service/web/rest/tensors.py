"""Tensors of the protocol in JSON and in binary form, to and from its gRPC messages."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from service.oip.byte_strings import pack, unpack
from service.oip.messages import pb
from service.web.rest.answers import Answer, TooLargeError, plain

# Element types as they travel, little-endian. The server says which of them a network takes.
TYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}  # of JSON's elements that make elements of a type
BYTES = "BYTES"  # texts
MOST_AXES = 32
BINARY_SIZE = "binary_data_size"
LARGEST_DOCUMENT = 16 * 1024 * 1024  # bytes of JSON, each of which may take twenty in memory
MOST_IN_JSON = 1_000_000  # elements of an answer that are not binary


@dataclass(frozen=True)
class Wanted:
    """Which outputs are to come in binary form."""

    default: bool
    by_name: Mapping[str, bool]

    def binary(self, name: str) -> bool:
        """Whether this one is."""
        return self.by_name.get(name, self.default)


def read_document(body: bytes) -> dict[str, Any]:
    """A body that is one JSON object; an empty one is an empty object. Raises InvalidArgumentError."""
    if len(body) > LARGEST_DOCUMENT:
        raise TooLargeError(
            f"the JSON has {len(body)} bytes, the limit is {LARGEST_DOCUMENT}; send tensors in binary form",
            limit=LARGEST_DOCUMENT,
            actual=len(body),
        )
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"the body: expected a JSON object, got {_kind(document)}")
    return document


def read_request(body: bytes, header: str | None, model: str, version: str) -> tuple[pb.ModelInferRequest, Wanted]:
    """A request for an inference; `header` is the length of its JSON, as the request's own header has it, if it does.

    Raises InvalidArgumentError with the place in the document.
    """
    length = len(body)
    if header is not None:
        if not header.isascii() or not header.isdigit() or not 0 < int(header[:20]) <= length:
            raise InvalidArgumentError(
                f"inference-header-content-length: expected a number from 1 to {length}, got {header[:20]!r}"
            )
        length = int(header)
    document, binary = read_document(body[:length]), memoryview(body)[length:]
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=_text(document.get("id", ""), "id"))
    parameters = _object(document, "parameters")
    default = _flag(parameters.pop("binary_data_output", False), "parameters.binary_data_output")
    add_parameters(request.parameters, parameters, "parameters")
    for i, given in enumerate(_objects(document, "inputs")):
        field = f"inputs[{i}]"
        tensor = request.inputs.add(
            name=_text(given.get("name", ""), f"{field}.name"),
            datatype=_text(given.get("datatype", ""), f"{field}.datatype"),
            shape=_shape(given.get("shape"), f"{field}.shape"),
        )
        own = _object(given, "parameters", field)
        size = own.pop(BINARY_SIZE, None)
        add_parameters(tensor.parameters, own, f"{field}.parameters")
        if any(name.startswith("shared_memory_") for name in own):
            raw = b""  # the server refuses it
        elif size is None:
            raw = _elements(given.get("data"), tensor.datatype, tensor.shape, f"{field}.data")
        elif "data" in given:
            raise InvalidArgumentError(f"{field}: data and {BINARY_SIZE} are both given; give one")
        else:
            if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary):
                raise InvalidArgumentError(
                    f"{field}.parameters.{BINARY_SIZE}: expected a number from 0 to {len(binary)}, the bytes that "
                    f"follow, got {str(size)[:40]}"
                )
            raw, binary = bytes(binary[:size]), binary[size:]
        request.raw_input_contents.append(raw)
    if len(binary):
        raise InvalidArgumentError(f"{len(binary)} bytes follow that belong to no input")
    by_name = {}
    for i, asked in enumerate(_objects(document, "outputs")):
        field = f"outputs[{i}]"
        output = request.outputs.add(name=_text(asked.get("name", ""), f"{field}.name"))
        own = _object(asked, "parameters", field)
        if "binary_data" in own:
            by_name[output.name] = _flag(own.pop("binary_data"), f"{field}.parameters.binary_data")
        add_parameters(output.parameters, own, f"{field}.parameters")
    return request, Wanted(default, by_name)


def written(response: pb.ModelInferResponse, wanted: Wanted) -> Answer:
    """An inference as it is answered. Raises InvalidArgumentError for numbers that JSON does not have."""
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = read_parameters(response.parameters)
    outputs, binary = [], []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        shown: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if wanted.binary(output.name):
            shown["parameters"] = {BINARY_SIZE: len(raw)}
            binary.append(raw)
        else:
            shown["data"] = _shown(output, raw)
        outputs.append(shown)
    return Answer({**document, "outputs": outputs}, tensors=binary, inference=True)


def _shown(output: Any, raw: bytes) -> list[Any]:
    """The elements of an output in JSON. Raises InvalidArgumentError where JSON cannot hold them."""
    if (size := math.prod(output.shape)) > MOST_IN_JSON:
        raise InvalidArgumentError(
            f"output {output.name} has {size} elements; JSON takes {MOST_IN_JSON} at most: ask for it in binary form"
        )
    if output.datatype == BYTES:
        return unpack(raw, f"output {output.name}")
    array = np.frombuffer(raw, TYPES[output.datatype])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidArgumentError(
            f"output {output.name} has numbers that are not finite, which JSON cannot hold; ask for it in binary form"
        )
    elements: list[Any] = array.tolist()
    return elements


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON: each is a message with one alternative set."""
    return {name: next(iter(plain(value).values()), None) for name, value in parameters.items()}


def add_parameters(into: Any, parameters: Mapping[str, Any], field: str) -> None:
    """Adds parameters of a document to those of a message, by their types. Raises InvalidArgumentError."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            into[name].bool_param = value
        elif isinstance(value, int) and -(2**63) <= value < 2**64:
            if value < 2**63:
                into[name].int64_param = value
            else:
                into[name].uint64_param = value
        elif isinstance(value, float):
            into[name].double_param = value
        elif isinstance(value, str):
            into[name].string_param = _text(value, f"{field}.{name}")
        else:
            raise InvalidArgumentError(
                f"{field}.{name[:80]}: expected a number, a text, true or false, got {_kind(value)}"
            )


def _elements(data: Any, datatype: str, shape: Sequence[int], field: str) -> bytes:
    """Elements of a document, nested or flat, as bytes in row-major order."""
    if datatype not in TYPES and datatype != BYTES:
        return b""  # the server names the type that it expects
    if not isinstance(data, list):
        raise InvalidArgumentError(f"{field}: expected a list of elements, or {BINARY_SIZE}, got {_kind(data)}")
    if datatype == BYTES:
        return _texts(data, shape, field)
    dtype = np.dtype(TYPES[datatype])
    try:
        array = np.array(data)
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{field}: the lists have different lengths, or more than 64 axes") from None
    if array.size and array.dtype.kind not in KINDS[dtype.kind]:
        raise InvalidArgumentError(f"{field}: not all elements are of the type {datatype}")
    if array.size != math.prod(shape):
        raise InvalidArgumentError(
            f"{field}: {array.size} elements, but the shape {list(shape)} has {math.prod(shape)}"
        )
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InvalidArgumentError(f"{field}: an element does not fit into {datatype}")
    with np.errstate(over="ignore"):  # the server refuses what is not finite, with its place
        return array.astype(dtype).tobytes()


def _texts(data: list[Any], shape: Sequence[int], field: str) -> bytes:
    """Texts of a document, nested or flat, as elements of BYTES."""
    while data and all(isinstance(one, list) for one in data):
        data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise InvalidArgumentError(f"{field}: {len(data)} elements, but the shape {list(shape)} has {math.prod(shape)}")
    return pack(_text(one, field) for one in data)


def _shape(value: Any, field: str) -> list[int]:
    if not isinstance(value, list) or len(value) > MOST_AXES:
        raise InvalidArgumentError(f"{field}: expected a list of at most {MOST_AXES} extents, got {_kind(value)}")
    for extent in value:
        if isinstance(extent, bool) or not isinstance(extent, int) or not 0 <= extent < 2**31:
            raise InvalidArgumentError(f"{field}: expected extents of 0 or more, got {str(extent)[:40]}")
    return value


def _object(document: Mapping[str, Any], name: str, place: str = "") -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{place}{place and '.'}{name}: expected an object, got {_kind(value)}")
    return dict(value)


def _objects(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidArgumentError(f"{name}: expected a list of objects")
    return value


def _text(value: Any, field: str) -> str:
    try:
        if isinstance(value, str):
            value.encode()  # JSON can write half of a character
            return value
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{field}: the text is not Unicode") from None
    raise InvalidArgumentError(f"{field}: expected a text, got {_kind(value)}")


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{field}: expected true or false, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """What JSON calls the type of a value."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")
