"""Which part of a trace is shown: tensors by name, and a range of timesteps."""

from collections.abc import Collection, Mapping, Sequence

from service.errors import InvalidArgumentError
from service.model.results import LayerTrace
from service.model.tensors import Array


def named(layers: Sequence[LayerTrace], names: Collection[str]) -> list[Mapping[str, Array]]:
    """Of each layer the tensors of these names; all where there are none.

    A name without a prefix means the tensors of that name under each prefix, such as `forward/`.

    Raises InvalidArgumentError for a name that no layer has.
    """
    if not names:
        return [layer.tensors for layer in layers]
    wanted = set(names)
    known = {form for layer in layers for name in layer.tensors for form in _forms(name)}
    if unknown := sorted(wanted - known):
        there = ", ".join(sorted({name for layer in layers for name in layer.tensors})) or "none"
        raise InvalidArgumentError(
            f"tensors: no layer that is shown has a tensor {unknown[0]!r}; there are: {there}", field="tensors"
        )
    return [
        {name: array for name, array in layer.tensors.items() if not wanted.isdisjoint(_forms(name))}
        for layer in layers
    ]


def checked_range(start: int, stop: int, timesteps: int) -> slice | None:
    """A range of timesteps of the inputs; None where it is all of them.

    Raises InvalidArgumentError where it is empty or reaches beyond the inputs.
    """
    if start == stop == 0:
        return None
    if not 0 <= start < stop <= timesteps:
        raise InvalidArgumentError(
            f"timesteps: expected 0 <= start < stop <= {timesteps}, got start {start} and stop {stop}",
            field="timesteps",
        )
    return slice(start, stop)


def cut(tensors: Mapping[str, Array], shown: slice | None, timesteps: int) -> Mapping[str, Array]:
    """Tensors with a range of timesteps only; those that have other timesteps than the inputs, or none, whole."""
    if shown is None:
        return tensors
    return {
        name: array[:, shown] if array.ndim > 2 and array.shape[1] == timesteps else array
        for name, array in tensors.items()
    }


def _forms(name: str) -> tuple[str, str]:
    """The two names that a tensor goes by: with and without the prefix."""
    return name, name.rpartition("/")[2]
