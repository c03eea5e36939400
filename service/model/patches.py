"""Validation of patches against a network and a call: names, ranges and values, before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from service.errors import InvalidArgumentError
from service.model import cost
from service.model.graph import Graph, Node
from service.model.layers.patch import Hook, Patch, PatchKind, Range
from service.model.layers.recurrent import Recurrent


def hooks(graph: Graph, patches: Sequence[Patch], shapes: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, Hook]:
    """The patches of each call of a layer, by its name, their ranges resolved.

    shapes: of the inputs, without the batch.

    Raises InvalidArgumentError for a layer or tensor that does not exist, a range outside it, a value that does not
    broadcast to what the ranges select, and KEEP for what is no state.
    """
    nodes = {node.name: node for node in graph.nodes}
    values = cost.known(graph, shapes)
    found: dict[str, list[Patch]] = {}
    extents: dict[str, int] = {}
    for patch in patches:
        node = nodes.get(patch.layer)
        if node is None:
            raise InvalidArgumentError(
                f"{patch.field}: no layer named {patch.layer!r}; there are: {', '.join(nodes)}",
                field=f"{patch.field}.layer",
            )
        tensors = patchable(graph, node)
        units = tensors.get(patch.tensor)
        if units is None:
            raise InvalidArgumentError(
                f"{patch.field}: {patch.layer} has no tensor {patch.tensor!r} that can be patched; "
                f"there are: {', '.join(tensors) or 'none'}",
                field=f"{patch.field}.tensor",
            )
        states = {state.name for state in node.states}
        if patch.kind is PatchKind.KEEP and patch.tensor not in states:
            raise InvalidArgumentError(
                f"{patch.field}: KEEP needs a state, and {patch.tensor} is not one; "
                f"the states of {patch.layer} are: {', '.join(states) or 'none'}",
                field=f"{patch.field}.operation",
            )
        output, shown = patch.tensor == "output", values[node.outputs[0]].shape
        steps = values[node.inputs[0]].shape[1] if not output else shown[1] if len(shown) == 3 else 1
        timesteps = steps or 1
        if not output:  # which has other axes than what is carried from timestep to timestep
            extents[node.name] = timesteps
        resolved = replace(
            patch,
            sequences=_range(patch, "sequences", patch.sequences, batch),
            timesteps=_range(patch, "timesteps", patch.timesteps, timesteps),
            units=_range(patch, "units", patch.units, shown[-1] or 1 if output else units),
        )
        shape = tuple(stop - start for start, stop in (resolved.sequences, resolved.timesteps, resolved.units))
        try:
            fits = np.broadcast_shapes(patch.value.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise InvalidArgumentError(
                f"{patch.field}: a value of shape {list(patch.value.shape)} does not broadcast to the "
                f"{list(shape)} sequences, timesteps and units that the patch selects",
                field=f"{patch.field}.value.shape",
            )
        found.setdefault(node.name, []).append(resolved)
    return {name: Hook(parts, extents.get(name, 1)) for name, parts in found.items()}


def patchable(graph: Graph, node: Node) -> dict[str, int]:
    """The tensors of a call that a patch may change, with their number of units (0: as many as the output has)."""
    layer = graph.layers[node.layer].layer
    tensors = dict(layer.inner_tensors()) if isinstance(layer, Recurrent) else {}
    output = graph.values[node.outputs[0]]
    if output.dtype.kind == "f" and output.rank in {2, 3}:
        tensors["output"] = 0
    return tensors


def shifted(patches: Sequence[Patch], begun: int, timesteps: int) -> list[Patch]:
    """The patches of a stream as they fall on its next timesteps, of which `begun` were before.

    Ranges of timesteps count from the beginning of the stream.
    """
    found = []
    for patch in patches:
        start, stop = patch.timesteps
        if start == stop == 0:
            found.append(patch)
            continue
        first, last = max(start, begun), min(stop, begun + timesteps)
        if first >= last:
            continue
        value = patch.value
        if value.ndim > 1 and value.shape[-2] > 1:
            value = value[..., first - start : last - start, :]
        found.append(replace(patch, timesteps=(first - begun, last - begun), value=value))
    return found


def _range(patch: Patch, name: str, given: Range, extent: int) -> Range:
    start, stop = given
    if start == stop == 0:
        return (0, extent)
    if not 0 <= start < stop <= extent:
        raise InvalidArgumentError(
            f"{patch.field}: {name} {start}:{stop} is not within 0:{extent} of {patch.tensor} of {patch.layer}",
            field=f"{patch.field}.{name}",
        )
    return (start, stop)
