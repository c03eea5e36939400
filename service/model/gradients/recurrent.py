"""Backpropagation through time: through a recurrent layer, from its last timestep to its first.

P. Werbos, Backpropagation Through Time: What It Does and How to Do It, Proceedings of the IEEE 78, 1990.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.model.gradients.base import Back, Seen, backward, first
from service.model.gradients.cells import way_back
from service.model.layers.recurrent import CellLayer
from service.model.layers.wrappers import Bidirectional
from service.model.tensors import Array


@backward.register
def _cell_layer(layer: CellLayer, seen: Seen, above: Sequence[Array | None]) -> Back:
    """By x, W, U, b, the initial states, and every state and pre-activation at every timestep.

    By a state means by what the layer carries on from that timestep: as by the initial states of a sequence that goes
    on from there.

    `above`: by the output and, with return_state, by the final states. What a trace shows in the order of processing
    is given so.
    """
    x, (mask, *_) = seen.x, seen.masks
    if layer.backwards:
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    mask = None if mask is None else layer.over_units(mask)
    batch, timesteps = x.shape[:2]
    names, widths = layer.state_names, [state.units for state in layer.cell.states()]
    if seen.start is None:
        start = [np.zeros((n, batch), x.dtype) for n in widths]
    else:
        start = [state.reshape(batch, -1).T for state in seen.start]
    tensors = {name: _columns(array) for name, array in seen.record.items() if name != "output"}
    cell = way_back(layer.cell, seen.weights, _columns(x), tensors, start, seen.hook)

    place = layer.cell.output_state()
    # By the states after each timestep; in front of them by those that the sequence starts from.
    states = [np.empty((timesteps + 1, n, batch), x.dtype) for n in widths]
    for memory, given in zip(states, [*above[1:], *[None] * (len(widths) - len(above) + 1)], strict=True):
        memory[-1] = 0 if given is None else given.reshape(batch, -1).T
    output = first(above, seen.y)
    by_output = _columns(output) if layer.return_sequences else None  # (timesteps, units, batch)
    # By the output shown at a masked timestep, which is that of an earlier one: carried back to where that was made.
    carried = np.zeros((widths[place], batch), x.dtype) if layer.return_sequences else output.reshape(batch, -1).T
    for t in range(timesteps - 1, -1, -1):
        gradients = [memory[t + 1] for memory in states]
        before = [memory[t] for memory in states]
        live = None if mask is None else mask[:, t].T
        shown = carried if by_output is None else by_output[t] if mask is None else carried + by_output[t]
        if live is not None:
            carried = np.zeros_like(carried) if layer.zero_masked else np.where(live, 0, shown)
            shown = np.where(live, shown, 0)
            gradients[place] += shown
        elif by_output is not None or t == timesteps - 1:
            gradients[place] += shown
        kept = None
        if seen.hook is not None:
            kept = [np.zeros_like(g) for g in gradients] if seen.hook.keeps else None
            seen.hook.at(t)
            gradients = [
                seen.hook.back(name, g, None if kept is None else kept[i])
                for i, (name, g) in enumerate(zip(names, gradients, strict=True))
            ]
        cell.step(t, gradients, live, before)
        if live is not None:
            cell.hand_on(live, gradients, before)
        if kept is not None:
            for b, k in zip(before, kept, strict=True):
                b += k
    start_gradients = [memory[0] for memory in states]
    if mask is not None and seen.resumed and seen.start is not None:
        start_gradients[place] += carried  # the output before the first timestep was the first state
    by_x = cell.inputs().transpose(2, 0, 1).reshape(x.shape)
    inside = {name: memory[1:] for name, memory in zip(names, states, strict=True)} | cell.inside()
    return Back(
        [by_x[:, ::-1] if layer.backwards else by_x],
        cell.by_weights() if seen.by_weights else {},
        [g.T.reshape(batch, *state.shape) for g, state in zip(start_gradients, layer.cell.states(), strict=True)],
        {name: array.transpose(2, 0, 1) for name, array in inside.items()},
    )


@backward.register
def _bidirectional(layer: Bidirectional, seen: Seen, above: Sequence[Array | None]) -> Back:
    """Of both layers; timesteps in the order of the input."""
    merge = layer.options["merge_mode"]
    main, rest = (list(above[:2]), list(above[2:])) if merge is None else ([above[0]], list(above[1:]))
    by_parts: list[Array | None] = [None, None]
    if merge is None:
        by_parts = main
    elif main[0] is not None:
        by_parts = _unmerged(layer, merge, main[0], seen)
    if layer.parts[0].return_sequences and by_parts[1] is not None:
        by_parts[1] = by_parts[1][:, ::-1]
    states = len(layer.parts[0].cell.states())
    x: Array | None = None
    weights: dict[str, Array] = {}
    start: list[Array] = []
    inside: dict[str, Array] = {}
    for i, (part, direction) in enumerate(zip(layer.parts, layer.DIRECTIONS, strict=True)):
        turn = -1 if part.backwards else 1
        prefix = f"{direction}/"
        record = {n.removeprefix(prefix): a[:, ::turn] for n, a in seen.record.items() if n.startswith(prefix)}
        own = replace(
            seen,
            weights={n.removeprefix(prefix): w for n, w in seen.weights.items() if n.startswith(prefix)},
            outputs=[_output_of(part, record)],
            record=record,
            start=None if seen.start is None else seen.start[i * states : (i + 1) * states],
            hook=None if seen.hook is None else seen.hook.part(prefix, turned=part.backwards),
        )
        back = _cell_layer(part, own, [by_parts[i], *rest[i * states : (i + 1) * states]])
        (by_x,) = back.inputs
        assert by_x is not None
        x = by_x if x is None else x + by_x
        weights |= {f"{prefix}{name}": w for name, w in back.weights.items()}
        start += back.start
        inside |= {f"{prefix}{name}": a[:, ::turn] for name, a in back.inside.items()}
    return Back([x], weights, start, inside)


def _unmerged(layer: Bidirectional, merge: str, above: Array, seen: Seen) -> list[Array | None]:
    """The gradients by the outputs of the two layers, in the order of the input."""
    if merge == "concat":
        width = layer.parts[0].cell.shape[-1]
        return [above[..., :width], above[..., width:]]
    if merge == "sum":
        return [above, above]
    if merge == "ave":
        return [above / 2, above / 2]
    one, two = _made(layer, seen)
    return [above * two, above * one]


def _made(layer: Bidirectional, seen: Seen) -> list[Array]:
    """The outputs of the two layers, in the order of the input, computed anew: a trace does not show them."""
    found = []
    for i, (part, direction) in enumerate(zip(layer.parts, layer.DIRECTIONS, strict=True)):
        prefix, states = f"{direction}/", len(part.cell.states())
        weights = {n.removeprefix(prefix): w for n, w in seen.weights.items() if n.startswith(prefix)}
        start = None if seen.start is None else tuple(seen.start[i * states : (i + 1) * states])
        hook = None if seen.hook is None else seen.hook.part(prefix, turned=part.backwards)
        outputs, _ = part.run(
            part.prepare(weights), seen.x, seen.masks[0], start, None, resumed=seen.resumed, hook=hook
        )  # fmt: skip
        found.append(outputs[0][:, ::-1] if i and part.return_sequences else outputs[0])
    return found


def _output_of(part: CellLayer, record: dict[str, Array]) -> Array:
    """An array of the shape and type of the output of one direction."""
    hidden = record[part.state_names[part.cell.output_state()]]
    return hidden if part.return_sequences else hidden[:, -1]


def _columns(x: Array) -> Array:
    """(batch, timesteps, …) as (timesteps, units, batch): how a trace lies in memory."""
    return x.reshape(*x.shape[:2], -1).transpose(1, 2, 0)
