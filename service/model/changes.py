"""Weight changes: set, add to or scale a weight or a slice of it. What-ifs and overrides share them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from service.errors import InvalidArgumentError
from service.model.network import Network
from service.model.tensors import Array


class ChangeKind(Enum):
    """What a change does with its value."""

    SET = "set"
    ADD = "add"
    SCALE = "scale"


@dataclass(frozen=True)
class Change:
    """One change, as a request gave it."""

    weight: str
    operation: ChangeKind
    ranges: tuple[tuple[int, int], ...]  # one (start, stop) for each axis; () is everything; (0, 0) a whole axis
    value: Array  # of the shape that the ranges select, or of shape ()
    field: str = "changes"  # path in the request, for errors


def touched(weights: Mapping[str, Array], changes: Iterable[Change]) -> int:
    """How many elements it takes to make the changes: what each of them selects, and each weight once, to copy it.

    Raises InvalidArgumentError for a range outside a weight.
    """
    total, copied = 0, set()
    for change in changes:
        shape = weights[change.weight].shape
        total += math.prod(len(range(*s.indices(n))) for s, n in zip(_slices(change, shape), shape, strict=True))
        if change.weight not in copied:
            copied.add(change.weight)
            total += math.prod(shape)
    return total


def changed_weights(weights: Mapping[str, Array], changes: Iterable[Change]) -> dict[str, Array]:
    """The new values of the weights that the changes name, applied in order; `weights` stay as they are.

    Raises InvalidArgumentError for a range outside the weight, a value of another shape than the range selects, and a
    result that is not finite.
    """
    new: dict[str, Array] = {}
    for change in changes:
        array = new.setdefault(change.weight, weights[change.weight].copy())
        selected = array[_slices(change, array.shape)]
        if change.value.shape not in {(), selected.shape}:
            raise InvalidArgumentError(
                f"{change.field}: {change.weight} {'slice' if change.ranges else 'weight'} has shape "
                f"{list(selected.shape)}, got a value of shape {list(change.value.shape)}",
                field=f"{change.field}.value.shape",
            )
        with np.errstate(over="ignore"):  # overflow is found below, by name
            if change.operation is ChangeKind.SET:
                selected[...] = change.value
            elif change.operation is ChangeKind.ADD:
                selected += change.value
            else:
                selected *= change.value
        if not np.isfinite(selected).all():
            raise InvalidArgumentError(
                f"{change.field}: {change.weight} would hold values that are not finite", field=f"{change.field}.value"
            )
    return new


def apply(network: Network, changes: Iterable[Change]) -> Network:
    """A network with the changes made; the one given stays as it is. Raises as `changed_weights`."""
    return network.with_weights(changed_weights(network.weights, changes))


def _slices(change: Change, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The ranges as slices. Always slices, never indices, so that what they select is a view."""
    if not change.ranges:
        return (slice(None),) * len(shape)
    if len(change.ranges) != len(shape):
        raise InvalidArgumentError(
            f"{change.field}: {change.weight} has {len(shape)} axes, got {len(change.ranges)} ranges",
            field=f"{change.field}.ranges",
        )
    slices = []
    for axis, ((start, stop), extent) in enumerate(zip(change.ranges, shape, strict=True)):
        if start == stop == 0:
            slices.append(slice(None))
        elif 0 <= start < stop <= extent:
            slices.append(slice(start, stop))
        else:
            raise InvalidArgumentError(
                f"{change.field}: range {start}:{stop} is not within axis {axis} of {change.weight}, 0:{extent}",
                field=f"{change.field}.ranges[{axis}]",
            )
    return tuple(slices)
