"""Memory of a recurrent layer: how its last state depends on each earlier state and each input.

The product of the Jacobians ∂s_T/∂s_t = Π ∂s_k/∂s_{k-1}, whose largest singular value bounds what is left of a change
made at t: Y. Bengio, P. Simard, P. Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult, 1994;
R. Pascanu, T. Mikolov, Y. Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.errors import NotFoundError
from service.model.gradients.base import Seen, backward
from service.model.gradients.tape import Tape, seen_by
from service.model.layers.patch import Patch
from service.model.layers.recurrent import CellLayer
from service.model.layers.wrappers import Bidirectional
from service.model.network import LayerCall, Network
from service.model.tensors import Array

SHARES = (0.5, 0.1, 0.01)


@dataclass(frozen=True)
class Memory:
    """What a recurrent layer remembers of one sequence; timesteps in the order in which it processes them.

    by_states: largest singular value of ∂s_T/∂s_t, (timesteps,); 1 at the last.
    by_inputs: largest singular value of ∂s_T/∂x_t, (timesteps,).
    horizons: for each of SHARES, after how many timesteps back `by_states` is below that share for good; -1: never.
    """

    layer: str  # a call of a layer, with the direction where it has two
    class_name: str
    by_states: Array
    by_inputs: Array
    horizons: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A recurrent layer that goes one way, with what one call of it saw."""

    name: str
    layer: CellLayer
    seen: Seen


def remember(
    network: Network,
    inputs: Mapping[str, Array],
    initial_state: Mapping[str, Array],
    layers: Sequence[str] = (),
    patches: Sequence[Patch] = (),
) -> list[Memory]:
    """The memory of each recurrent layer, or of those named, over one sequence. What a patch sets is forgotten there.

    Raises NotSupportedError where a layer has no gradient, NotFoundError for a name of no recurrent layer.
    """
    found = {part.name: part for call in Tape(network, inputs, initial_state, patches).calls for part in parts(call)}
    for i, name in enumerate(layers):
        if name not in found:
            raise NotFoundError(
                f"no recurrent layer {name!r}; there are: {', '.join(found) or 'none'}", field=f"layers[{i}]"
            )
    return [_remember(found[name]) for name in layers or found]


def copies_of(network: Network) -> int:
    """Sequences that are computed back at a time: as many as the largest layer has states."""
    widths = [sum(state.units for state in node.states) for node in network.graph.nodes]
    return 1 + max(widths, default=0)


def parts(call: LayerCall) -> Iterator[Part]:
    """The layers that go one way in a call of a layer; none if it is not recurrent."""
    if isinstance(call.layer, CellLayer):
        yield Part(call.node.name, call.layer, seen_by(call))
    elif isinstance(call.layer, Bidirectional):
        whole = seen_by(call)
        states = len(call.layer.parts[0].cell.states())
        for i, (layer, direction) in enumerate(zip(call.layer.parts, call.layer.DIRECTIONS, strict=True)):
            prefix, turn = f"{direction}/", -1 if layer.backwards else 1
            yield Part(
                f"{call.node.name}/{direction}",
                layer,
                replace(
                    whole,
                    weights={n.removeprefix(prefix): w for n, w in whole.weights.items() if n.startswith(prefix)},
                    record={
                        n.removeprefix(prefix): a[:, ::turn] for n, a in whole.record.items() if n.startswith(prefix)
                    },
                    start=None if whole.start is None else whole.start[i * states : (i + 1) * states],
                    hook=None if whole.hook is None else whole.hook.part(prefix, turned=layer.backwards),
                ),
            )


def final_jacobians(part: Part) -> tuple[Array, Array]:
    """∂s_T/∂s_t (timesteps, states, states) and ∂s_T/∂x_t (timesteps, states, features) of one sequence.

    All states of the layer side by side. One way back, with a seed for each state.
    """
    widths = [state.units for state in part.layer.cell.states()]
    count = sum(widths)

    def copied(array: Array) -> Array:
        return np.broadcast_to(array, (count, *array.shape[1:]))

    seen = part.seen
    kind = seen.x.dtype
    ends = np.cumsum(widths)[:-1]
    timesteps = part.seen.x.shape[1:2] if part.layer.return_sequences else ()
    many = replace(
        seen,
        inputs=[copied(seen.x)],
        masks=[None if seen.masks[0] is None else copied(seen.masks[0])],
        outputs=[np.zeros((count, *timesteps, *part.layer.cell.shape), kind)],
        record={name: copied(array) for name, array in seen.record.items()},
        start=None if seen.start is None else tuple(copied(state) for state in seen.start),
        hook=None if seen.hook is None else seen.hook.alone(count),
    )
    seeds = np.split(np.eye(count, dtype=kind), ends, axis=1)
    back = backward(part.layer, many, [None, *seeds])
    by_states = np.concatenate([back.inside[name] for name in part.layer.state_names], axis=2)
    by_x = back.inputs[0]
    assert by_x is not None
    if part.layer.backwards:
        by_x = by_x[:, ::-1]
    by_x = by_x.reshape(*by_x.shape[:2], -1)
    return by_states.transpose(1, 0, 2), by_x.transpose(1, 0, 2)


def _remember(part: Part) -> Memory:
    by_states, by_inputs = (_largest(jacobians) for jacobians in final_jacobians(part))
    back = by_states[::-1]
    horizons = []
    for share in SHARES:
        above = np.flatnonzero(~(back < share))  # NaN counts as remembered
        after = int(above[-1]) + 1 if len(above) else 0
        horizons.append(after if after < len(back) else -1)
    return Memory(part.name, part.layer.CLASS, by_states, by_inputs, tuple(horizons))


def _largest(matrices: Array) -> Array:
    """The largest singular value of each; NaN where a matrix is not finite."""
    found = np.full(len(matrices), np.nan)
    finite = np.isfinite(matrices).all(axis=(1, 2))
    if finite.any():
        found[finite] = np.linalg.norm(matrices[finite].astype(np.float64), 2, axis=(1, 2))
    return found
