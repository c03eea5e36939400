"""Conversion between the protocol's tensors and arrays. Also names the states that are inputs and outputs.

A state `LAYER/hidden_state` goes in as `LAYER/initial_state` and comes out as `LAYER/final_state`; `LAYER/cell_state`
as `LAYER/initial_cell_state` and `LAYER/final_cell_state`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from service.config import Limits
from service.errors import InvalidArgumentError, NotSupportedError
from service.model.classes import ranked
from service.model.network import Network
from service.model.results import Result
from service.model.tensors import STRING, Array, TensorSpec
from service.oip.byte_strings import decoded, pack, unpack
from service.oip.classification import CLASSIFICATION, elements, requested_classes
from service.oip.messages import pb
from service.serving.loaded import LoadedVersion
from service.tensors import LITTLE, check_extents, checked_shape, from_raw, from_texts, from_values

DATATYPES = {
    np.dtype("<f2"): "FP16",
    np.dtype("<f4"): "FP32",
    np.dtype("<f8"): "FP64",
    np.dtype("<i4"): "INT32",
    np.dtype("<i8"): "INT64",
    np.dtype("?"): "BOOL",
    STRING: "BYTES",
}
# Where elements lie that are not raw, and what holds them exactly.
CONTENTS: dict[str, tuple[str, type]] = {
    "FP32": ("fp32_contents", np.float64),
    "FP64": ("fp64_contents", np.float64),
    "INT32": ("int_contents", np.int64),
    "INT64": ("int64_contents", np.int64),
    "BOOL": ("bool_contents", np.bool_),
}
SHARED_MEMORY = "shared_memory_"  # how parameters begin that speak of it


def initial(state: TensorSpec) -> TensorSpec:
    """A state as an input."""
    return replace(state, name=_renamed(state.name, "initial"))


def final(state: TensorSpec) -> TensorSpec:
    """A state as an output."""
    return replace(state, name=_renamed(state.name, "final"))


def _renamed(state: str, when: str) -> str:
    layer, _, kind = state.rpartition("/")
    return f"{layer}/{when}_state" if kind == "hidden_state" else f"{layer}/{when}_{kind}"


def decode(
    request: pb.ModelInferRequest, network: Network, limits: Limits
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs and initial states of a request, by their names in the network, checked.

    Raises InvalidArgumentError for what does not fit, with the tensor's place and name; LimitExceededError;
    NotSupportedError for shared memory.
    """
    raw, tensors = request.raw_input_contents, request.inputs
    if raw and len(raw) != len(tensors):
        raise InvalidArgumentError(
            f"raw_input_contents: expected one for each of {len(tensors)} inputs, got {len(raw)}",
            field="raw_input_contents", expected=len(tensors), actual=len(raw),
        )  # fmt: skip
    inputs: dict[str, Array] = {}
    states: dict[str, Array] = {}
    for i, tensor in enumerate(tensors):
        field = f"inputs[{i}]"
        spec, into = _place(tensor.name, network, inputs, states, field)
        if spec.name in into:
            raise InvalidArgumentError(f"{field}: {tensor.name} is given twice", field=f"{field}.name")
        refuse_shared_memory(tensor.parameters, field)
        into[spec.name] = _array(tensor, raw[i] if raw else None, spec, f"{field} ({tensor.name})", limits)
    network.check(inputs, states)
    check_extents(inputs, limits)
    return inputs, states


def _place(
    name: str, network: Network, inputs: dict[str, Array], states: dict[str, Array], field: str
) -> tuple[TensorSpec, dict[str, Array]]:
    for spec in network.inputs:
        if spec.name == name:
            return spec, inputs
    for spec in network.states:
        if initial(spec).name == name:
            return spec, states
    known = [spec.name for spec in network.inputs] + [initial(spec).name for spec in network.states]
    raise InvalidArgumentError(
        f"{field}: no input named {name!r}; there are: {', '.join(known)}", field=f"{field}.name"
    )


def _array(tensor: Any, raw: bytes | None, spec: TensorSpec, field: str, limits: Limits) -> Array:
    expected = DATATYPES[spec.dtype]
    if tensor.datatype != expected:
        raise InvalidArgumentError(
            f"{field}: expected datatype {expected}, got {tensor.datatype or 'none'}", field=f"{field}.datatype"
        )
    shape = checked_shape(tensor.shape, field, limits)
    if raw is not None:
        if tensor.HasField("contents"):
            raise InvalidArgumentError(
                f"{field}: contents and raw_input_contents are both given; give exactly one", field=f"{field}.contents"
            )
        if spec.dtype == STRING:
            return from_texts(unpack(raw, field), shape, field, limits)
        return from_raw(raw, shape, spec.dtype, field)
    if spec.dtype == STRING:
        return from_texts(decoded(tensor.contents.bytes_contents, field), shape, field, limits)
    if expected not in CONTENTS:
        raise InvalidArgumentError(f"{field}: {expected} travels in raw_input_contents only", field=f"{field}.contents")
    given, wide_type = CONTENTS[expected]
    others = [descriptor.name for descriptor, _ in tensor.contents.ListFields() if descriptor.name != given]
    if others:
        raise InvalidArgumentError(
            f"{field}: {expected} is read from {given}, got {others[0]}", field=f"{field}.contents"
        )
    values = getattr(tensor.contents, given)
    if not values:
        raise InvalidArgumentError(
            f"{field}: no data: neither raw_input_contents nor contents.{given} is given", field=f"{field}.contents"
        )
    return from_values(values, shape, spec.dtype, field, wide_type)


def _bytes(array: Array) -> bytes:
    """An array as it travels raw."""
    if array.dtype == STRING:
        return pack(array.ravel().tolist())
    return array.astype(array.dtype if LITTLE else array.dtype.newbyteorder("<"), copy=False).tobytes()


@dataclass(frozen=True)
class Wanted:
    """What is to come out."""

    name: str  # in the protocol
    spec: TensorSpec  # in the network
    is_state: bool = False
    classes: int = 0  # that are returned in place of the output; 0: the output itself is


def chosen(request: pb.ModelInferRequest, network: Network) -> list[Wanted]:
    """What is to come out.

    Raises InvalidArgumentError for an unknown or repeated name, and for classes that there are not;
    NotSupportedError for shared memory.
    """
    if not request.outputs:
        return [Wanted(spec.name, spec) for spec in network.outputs]
    known = {spec.name: Wanted(spec.name, spec) for spec in network.outputs}
    known.update((final(spec).name, Wanted(final(spec).name, spec, is_state=True)) for spec in network.states)
    found: dict[str, Wanted] = {}
    for i, output in enumerate(request.outputs):
        field = f"outputs[{i}]"
        if output.name not in known:
            raise InvalidArgumentError(
                f"{field}: no output named {output.name!r}; there are: {', '.join(known)}", field=f"{field}.name"
            )
        if output.name in found:
            raise InvalidArgumentError(f"{field}: {output.name} is requested twice", field=f"{field}.name")
        refuse_shared_memory(output.parameters, field)
        wanted = known[output.name]
        found[output.name] = replace(wanted, classes=requested_classes(output, wanted.spec, field))
    return list(found.values())


def encode(response: pb.ModelInferResponse, wanted: Iterable[Wanted], result: Result, version: LoadedVersion) -> None:
    """Adds what is wanted of a result, always raw: the standard clients read nothing else.

    Raises LimitExceededError where classes are too many.
    """
    for one in wanted:
        array = (result.final_state if one.is_state else result.outputs)[one.spec.name]
        if one.classes:
            found = ranked(array, one.classes, version.labels_for(one.spec), f"outputs ({one.name}): {CLASSIFICATION}")
            array = np.array(elements(found), STRING).reshape(found.indices.shape)
        add_output(response, one.name, array)


def add_output(response: pb.ModelInferResponse, name: str, array: Array) -> None:
    """Adds an array as an output."""
    dtype = array.dtype if LITTLE else array.dtype.newbyteorder("<")
    response.outputs.add(name=name, datatype=DATATYPES[dtype], shape=array.shape)
    response.raw_output_contents.append(_bytes(array))


def refuse_shared_memory(parameters: Mapping[str, Any], field: str) -> None:
    """Raises NotSupportedError where parameters speak of shared memory."""
    for name in parameters:
        if name.startswith(SHARED_MEMORY):
            raise NotSupportedError(f"{field}: shared memory is not supported; send tensors in messages", field=field)


def extents(spec: TensorSpec) -> Sequence[int]:
    """The shape as the protocol writes it."""
    return [-1 if extent is None else extent for extent in spec.shape]
