"""Conversion between the messages of unroll.v1 and arrays. Input is checked, and viewed rather than copied."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.config import Limits
from service.datatypes import DATA_TYPES, DTYPES
from service.errors import InvalidArgumentError, LimitExceededError
from service.model.changes import Change, ChangeKind
from service.model.layers.patch import Patch, PatchKind
from service.model.network import Network
from service.model.tensors import STRING, Array, TensorSpec
from service.pb import unroll_pb2 as pb
from service.tensors import LITTLE, MOST_AXES, check_extents, checked_shape, from_raw, from_texts, from_values

ENCODINGS = frozenset(pb.TensorEncoding.values())  # which makes a list at every call
AT_ONCE = 65_536  # elements that are Python's numbers at a time
PATCHES = {
    pb.PATCH_OPERATION_UNSPECIFIED: PatchKind.SET,
    pb.PATCH_OPERATION_SET: PatchKind.SET,
    pb.PATCH_OPERATION_ADD: PatchKind.ADD,
    pb.PATCH_OPERATION_SCALE: PatchKind.SCALE,
    pb.PATCH_OPERATION_KEEP: PatchKind.KEEP,
}
OPERATIONS = {
    pb.WEIGHT_OPERATION_UNSPECIFIED: ChangeKind.SET,
    pb.WEIGHT_OPERATION_SET: ChangeKind.SET,
    pb.WEIGHT_OPERATION_ADD: ChangeKind.ADD,
    pb.WEIGHT_OPERATION_SCALE: ChangeKind.SCALE,
}


def decode(tensor: pb.Tensor, dtype: np.dtype, field: str, limits: Limits) -> Array:
    """The elements of a message as an array of `dtype`; `raw` is viewed, not copied.

    `field` is the path of the tensor in the request, for errors. Says nothing about which shape is wanted.

    Raises InvalidArgumentError for another data type, a negative extent, values and raw both or neither, a length that
    does not match the shape, a value that does not fit the type or is not finite; LimitExceededError for too many
    elements.
    """
    if tensor.data_type and DTYPES.get(tensor.data_type) != dtype:
        actual = pb.DataType.Name(tensor.data_type) if tensor.data_type in DTYPES else str(tensor.data_type)
        raise InvalidArgumentError(
            f"{field}: expected {pb.DataType.Name(DATA_TYPES[dtype])}, got {actual}", field=f"{field}.data_type"
        )
    shape = checked_shape(tensor.shape, field, limits)
    raw, values = tensor.raw, tensor.values
    if tensor.strings or dtype == STRING:
        if raw or values or dtype != STRING:
            raise InvalidArgumentError(f"{field}: text is given in strings alone, numbers never", field=field)
        return from_texts(tensor.strings, shape, field, limits)
    if raw:
        if values:
            raise InvalidArgumentError(f"{field}: values and raw are both given; give exactly one", field=field)
        return from_raw(raw, shape, dtype, field)
    if not values:
        if math.prod(shape):
            raise InvalidArgumentError(f"{field}: neither values nor raw is given", field=field)
        return np.zeros(shape, dtype)
    return from_values(values, shape, dtype, field)


def decode_named(
    tensors: Sequence[pb.Tensor], specs: Sequence[TensorSpec], field: str, limits: Limits
) -> dict[str, Array]:
    """Tensors of a request by the name of the spec each belongs to; a single spec needs no name.

    Raises InvalidArgumentError for an unknown, repeated or missing name where a name is needed, and as `decode`.
    """
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(tensors):
        path = f"{field}[{i}]"
        spec = _spec(tensor.name, specs, path)
        if spec.name in arrays:
            raise InvalidArgumentError(f"{path}: {spec.name} is given twice", field=f"{path}.name")
        arrays[spec.name] = decode(tensor, spec.dtype, path, limits)
    return arrays


def decode_inputs(
    inputs: Sequence[pb.Tensor], initial_state: Sequence[pb.Tensor], network: Network, limits: Limits
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs and initial states of a call, checked against the network and the bounds of the server."""
    arrays = decode_named(inputs, network.inputs, "inputs", limits)
    states = decode_named(initial_state, network.states, "initial_state", limits) if initial_state else {}
    network.check(arrays, states)
    check_extents(arrays, limits)
    return arrays, states


def check_count(count: int, what: str, most: int, field: str) -> None:
    """Raises LimitExceededError where a call asks for more of something than one may."""
    if count > most:
        raise LimitExceededError(
            f"{field}: {count} {what} in one call, the limit is {most}", field=field, limit=most, actual=count
        )


def decode_changes(changes: Sequence[pb.WeightChange], network: Network, field: str, limits: Limits) -> list[Change]:
    """Weight changes as arrays of the type of the weight each names.

    Raises InvalidArgumentError for an unknown weight or operation, and as `decode`; LimitExceededError for too many.
    """
    check_count(len(changes), "changes", limits.changes, field)
    decoded = []
    for i, change in enumerate(changes):
        path = f"{field}[{i}]"
        if change.weight not in network.weights:
            raise InvalidArgumentError(
                f"{path}: no weight {change.weight!r}; there are {', '.join(network.weights)}", field=f"{path}.weight"
            )
        if len(change.ranges) > MOST_AXES:
            raise InvalidArgumentError(
                f"{path}: {len(change.ranges)} ranges, the limit is {MOST_AXES}", field=f"{path}.ranges"
            )
        if change.operation not in OPERATIONS:
            raise InvalidArgumentError(f"{path}: unknown operation {change.operation}", field=f"{path}.operation")
        decoded.append(
            Change(
                change.weight,
                OPERATIONS[change.operation],
                tuple((r.start, r.stop) for r in change.ranges),
                decode(change.value, network.weights[change.weight].dtype, f"{path}.value", limits),
                path,
            )
        )
    return decoded


def decode_patches(patches: Sequence[pb.Patch], field: str, limits: Limits) -> list[Patch]:
    """Patches as the numerics take them; whether they fit the network is seen when they are applied.

    Raises InvalidArgumentError for an unknown operation and a missing value, and as `decode`; LimitExceededError for
    too many.
    """
    check_count(len(patches), "patches", limits.changes, field)
    decoded = []
    for i, patch in enumerate(patches):
        path = f"{field}[{i}]"
        kind = PATCHES.get(patch.operation)
        if kind is None:
            raise InvalidArgumentError(f"{path}: unknown operation {patch.operation}", field=f"{path}.operation")
        value = np.zeros(())
        if patch.HasField("value"):
            dtype = DTYPES.get(patch.value.data_type, np.dtype(np.float64))
            if dtype.kind != "f":
                raise InvalidArgumentError(f"{path}.value: expected floats", field=f"{path}.value.data_type")
            value = decode(patch.value, dtype, f"{path}.value", limits)
        elif kind is not PatchKind.KEEP:
            raise InvalidArgumentError(f"{path}.value: it is missing", field=f"{path}.value")
        sequences, timesteps, units = ((r.start, r.stop) for r in (patch.sequences, patch.timesteps, patch.units))
        decoded.append(Patch(patch.layer, patch.tensor, kind, value, sequences, timesteps, units, path))
    return decoded


def encode(array: Array, name: str, encoding: int) -> pb.Tensor:
    """An array as a message, in `raw` or in `values`."""
    return pb.Tensor(**_fields(array, name, encoding))


def add_all(tensors: Any, arrays: Mapping[str, Array], encoding: int) -> None:
    """Adds arrays to a repeated field; quicker than to make messages that are copied into it."""
    for name, array in arrays.items():
        tensors.add(**_fields(array, name, encoding))


def _fields(array: Array, name: str, encoding: int) -> dict[str, Any]:
    if array.dtype == STRING:
        return {
            "name": name, "data_type": pb.DATA_TYPE_STRING, "shape": array.shape, "strings": array.ravel().tolist()
        }  # fmt: skip
    dtype = array.dtype if LITTLE else array.dtype.newbyteorder("<")
    fields: dict[str, Any] = {"name": name, "data_type": DATA_TYPES[dtype], "shape": array.shape}
    if encoding == pb.TENSOR_ENCODING_RAW:
        fields["raw"] = array.astype(dtype, copy=False).tobytes()
    else:
        fields["values"] = _numbers(array.ravel())
    return fields


def _numbers(array: Array) -> Iterable[Any]:
    """Elements as Python's numbers, which take 32 bytes each; so of a long array not all at once."""
    return chain.from_iterable(array[i : i + AT_ONCE].tolist() for i in range(0, array.size, AT_ONCE))


def encode_specs(specs: Iterable[TensorSpec]) -> list[pb.TensorSpec]:
    """Descriptions of tensors; -1 stands for an extent that depends on the request."""
    return [
        pb.TensorSpec(
            name=spec.name,
            data_type=DATA_TYPES[spec.dtype],
            shape=[-1 if extent is None else extent for extent in spec.shape],
        )
        for spec in specs
    ]


def encoding_of(asked: int, inputs: Sequence[pb.Tensor] = ()) -> int:
    """The encoding of an answer: as asked, else as the first input was, else values.

    Raises InvalidArgumentError for an encoding that does not exist.
    """
    if asked not in ENCODINGS:
        raise InvalidArgumentError(f"encoding: unknown encoding {asked}", field="encoding")
    if asked:
        return asked
    return pb.TENSOR_ENCODING_RAW if inputs and inputs[0].raw else pb.TENSOR_ENCODING_VALUES


def _spec(name: str, specs: Sequence[TensorSpec], path: str) -> TensorSpec:
    if not name and len(specs) == 1:
        return specs[0]
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs) or "none"
    raise InvalidArgumentError(f"{path}: no tensor named {name!r} here; there are: {known}", field=f"{path}.name")
