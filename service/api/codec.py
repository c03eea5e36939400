"""Between messages and arrays: every number that comes in is checked here, and nothing is copied that can be viewed."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from service.config import Limits
from service.datatypes import DATA_TYPES, DTYPES
from service.errors import InvalidArgumentError, LimitExceededError
from service.model.changes import Change, ChangeKind
from service.model.network import Network
from service.model.tensors import Array, DType, RawSequence, TensorSpec
from service.pb import unroll_pb2 as pb

ENCODINGS = frozenset(pb.TensorEncoding.values())  # which makes a list at every call
SMALL = 64  # elements up to which Python's own sum is quicker than NumPy's
AT_ONCE = 65_536  # elements that are Python's numbers at a time
MOST_AXES = 32
LITTLE = sys.byteorder == "little"
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
    if raw:
        if values:
            raise InvalidArgumentError(f"{field}: values and raw are both given; give exactly one", field=field)
        return from_raw(raw, shape, dtype, field)
    if not values:
        if math.prod(shape):
            raise InvalidArgumentError(f"{field}: neither values nor raw is given", field=field)
        return np.zeros(shape, dtype)
    return from_values(values, shape, dtype, field)


def checked_shape(extents: Sequence[int], field: str, limits: Limits) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises InvalidArgumentError for a negative extent or too many axes, LimitExceededError for too many elements.
    """
    if len(extents) > MOST_AXES:  # whose product alone could take seconds
        raise InvalidArgumentError(
            f"{field}: a shape of {len(extents)} axes, the limit is {MOST_AXES}", field=f"{field}.shape"
        )
    shape = tuple(extents)
    if shape and min(shape) < 0:
        raise InvalidArgumentError(f"{field}: shape {list(shape)} has a negative extent", field=f"{field}.shape")
    count = math.prod(shape)  # Python integers do not overflow
    if count > limits.elements:
        raise LimitExceededError(
            f"{field}: shape {list(shape)} asks for {count} elements, the limit is {limits.elements}",
            field=f"{field}.shape",
            limit=limits.elements,
            actual=count,
        )
    return shape


def from_raw(raw: bytes, shape: tuple[int, ...], dtype: DType, field: str) -> Array:
    """Little-endian bytes, viewed as an array. Raises InvalidArgumentError as `decode` does."""
    needed = math.prod(shape) * dtype.itemsize
    if len(raw) != needed:
        raise InvalidArgumentError(
            f"{field}: shape {list(shape)} of {dtype.name} needs {needed} bytes of raw, got {len(raw)}",
            field=f"{field}.raw",
            expected=needed,
            actual=len(raw),
        )
    return finite(np.frombuffer(raw, dtype).reshape(shape), field)


def from_values(
    values: Sequence[float], shape: tuple[int, ...], dtype: DType, field: str, wide_type: type = np.float64
) -> Array:
    """Numbers, which `wide_type` holds, as an array of `dtype`. Raises InvalidArgumentError as `decode` does."""
    count = math.prod(shape)
    if len(values) != count:
        raise InvalidArgumentError(
            f"{field}: shape {list(shape)} needs {count} values, got {len(values)}",
            field=f"{field}.values",
            expected=count,
            actual=len(values),
        )
    wide = finite(np.array(values, wide_type).reshape(shape), field)
    with np.errstate(all="ignore"):  # what does not fit is found below, by name
        array = wide.astype(dtype)
    if dtype.kind == "i":
        if not np.array_equal(array, wide):
            raise InvalidArgumentError(f"{field}: expected values of {dtype.name}", field=f"{field}.values")
        return array
    return finite(array, field)


def finite(array: Array, field: str) -> Array:
    """The array itself, if it holds neither NaN nor infinity. Raises InvalidArgumentError naming the first index."""
    if array.dtype.kind != "f":
        return array
    # A sum of finite numbers may overflow; then the slower look decides.
    if array.size <= SMALL and math.isfinite(sum(array.ravel().tolist())):
        return array
    fits = np.isfinite(array)
    if fits.all():
        return array
    bad = np.argwhere(~fits)
    index = tuple(int(i) for i in bad[0])
    raise InvalidArgumentError(f"{field}: element {list(index)} is {array[index]}, not a finite number", field=field)


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


def check_extents(inputs: Mapping[str, Array], limits: Limits) -> None:
    """Holds the inputs of a call against the bounds of the server. Raises LimitExceededError."""
    for array in inputs.values():
        if array.size <= min(limits.batch, limits.timesteps):
            continue  # then no extent is larger either
        for extent, limit, what in zip(
            array.shape, (limits.batch, limits.timesteps), ("sequences", "timesteps"), strict=False
        ):
            if extent > limit:
                raise LimitExceededError(
                    f"inputs: {extent} {what} in one call, the limit is {limit}",
                    field="inputs",
                    limit=limit,
                    actual=extent,
                )


def short_bytes(network: Network, limits: Limits) -> int:
    """Bytes up to which one float32 sequence is within all bounds and quick; 0 where the network takes no such one."""
    if not RawSequence(network.inputs, network.outputs).possible:
        return 0
    _, timesteps, features = network.inputs[0].shape
    assert features is not None
    most = min(limits.timesteps, limits.elements) // features
    for count in [timesteps] if timesteps else [most >> halved for halved in range(most.bit_length())]:
        with suppress(InvalidArgumentError):  # a layer wants more timesteps, or fewer
            if network.cost(((count, features),)) <= limits.quick:
                return 4 * min(most, count) * features
    return 0


def decode_changes(changes: Sequence[pb.WeightChange], network: Network, field: str, limits: Limits) -> list[Change]:
    """Weight changes as arrays of the type of the weight each names.

    Raises InvalidArgumentError for an unknown weight or operation, and as `decode`; LimitExceededError for too many.
    """
    if len(changes) > limits.changes:
        raise LimitExceededError(
            f"{field}: {len(changes)} changes in one call, the limit is {limits.changes}",
            field=field,
            limit=limits.changes,
            actual=len(changes),
        )
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


def encode(array: Array, name: str, encoding: int) -> pb.Tensor:
    """An array as a message, in `raw` or in `values`."""
    return pb.Tensor(**_fields(array, name, encoding))


def add_all(tensors: Any, arrays: Mapping[str, Array], encoding: int) -> None:
    """Adds arrays to a repeated field; quicker than to make messages that are copied into it."""
    for name, array in arrays.items():
        tensors.add(**_fields(array, name, encoding))


def _fields(array: Array, name: str, encoding: int) -> dict[str, Any]:
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
