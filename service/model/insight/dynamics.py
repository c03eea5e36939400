"""A recurrent layer as a dynamical system: linearization along a sequence, and fixed points for a held input.

D. Sussillo, O. Barak, Opening the Black Box: Low-Dimensional Dynamics in High-Dimensional Recurrent Neural Networks,
Neural Computation 25, 2013. Newton's method, damped: J. Nocedal, S. Wright, Numerical Optimization, 2006, §11.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.errors import InvalidArgumentError
from service.model.gradients.base import Seen, backward
from service.model.gradients.tape import Tape
from service.model.insight.memory import Part, parts
from service.model.layers.patch import Hook, Patch
from service.model.network import Network
from service.model.tensors import Array

STARTS = 32  # states visited, spread evenly over what was given, from which fixed points are looked for
ITERATIONS = 60
LARGEST_STEP = 0.5  # of a Newton step, in any unit
SMALLEST_SHARE = 2.0**-8  # of a Newton step, before it is taken although it helps nothing
SAME = 1e-3  # distance up to which two fixed points are one


@dataclass(frozen=True)
class Mode:
    """An eigenvalue of ∂s_t/∂s_{t-1}.

    modulus: by what the mode is multiplied each timestep. time_constant: timesteps in which it falls by e,
    -1/ln(modulus); infinite from 1 on. period: timesteps of one turn, 2π/|angle|; infinite where it does not turn.
    """

    real: float
    imaginary: float

    @property
    def modulus(self) -> float:
        """|λ|."""
        return abs(complex(self.real, self.imaginary))

    @property
    def time_constant(self) -> float:
        """-1/ln|λ|."""
        return float("inf") if self.modulus >= 1 else 0.0 if not self.modulus else -1 / float(np.log(self.modulus))

    @property
    def period(self) -> float:
        """2π/|arg λ|."""
        angle = abs(float(np.angle(complex(self.real, self.imaginary))))
        return 2 * float(np.pi) / angle if angle > 1e-9 else float("inf")


@dataclass(frozen=True)
class FixedPoint:
    """A state s with F(s, x) = s for the held input x."""

    state: Array  # (states,): all states of the layer side by side
    modes: tuple[Mode, ...]  # of the Jacobian there, the slowest first
    starts: int  # from how many of the states visited the search ended here
    speed: float  # largest |F(s) - s| of a unit

    @property
    def stable(self) -> bool:
        """Whether all modes decay."""
        return all(mode.modulus < 1 for mode in self.modes)


@dataclass(frozen=True)
class Dynamics:
    """What was found for one layer."""

    layer: str
    class_name: str
    held: Array  # (features,) or (positions, channels): the input of the layer that was held
    points: tuple[FixedPoint, ...]  # the one that most starts led to first
    lost: int  # starts from which no fixed point was reached
    along: Mapping[int, tuple[Mode, ...]]  # by timestep: the modes of ∂s_t/∂s_{t-1} there


def layer_part(
    network: Network,
    inputs: Mapping[str, Array],
    initial_state: Mapping[str, Array],
    name: str,
    patches: Sequence[Patch] = (),
) -> Part:
    """The recurrent layer of that name, LAYER or LAYER/forward. Empty: the only one.

    Raises InvalidArgumentError where there is no such one.
    """
    found = {part.name: part for call in Tape(network, inputs, initial_state, patches).calls for part in parts(call)}
    if name not in found and (name or len(found) != 1):
        raise InvalidArgumentError(
            f"layer: no recurrent layer {name!r}; there are: {', '.join(found) or 'none'}", field="layer"
        )
    return found[name] if name else next(iter(found.values()))


def steps_of(network: Network, starts: int, timesteps: int, iterations: int = ITERATIONS) -> int:
    """Timesteps of the network that `find` computes at most, ways back aside: a bound known before it begins."""
    width = max((sum(s.units for s in node.states) for node in network.graph.nodes), default=0)
    halvings = 1 - int(np.log2(SMALLEST_SHARE))
    return width * (starts * (iterations + halvings) + timesteps)


def find(
    part: Part, held: Array | None, timesteps: Sequence[int], starts: int = STARTS, iterations: int = ITERATIONS
) -> Dynamics:
    """The fixed points of a layer for an input of it that is held, and its modes at some timesteps of the sequences.

    held: (features,); None: the mean over the timesteps given. Modes along are those of the first sequence.

    A patch that is the same at every timestep of all sequences is a part of the system. Others change the states that
    are visited, and the modes along.

    Raises InvalidArgumentError for an input or timesteps that do not fit.
    """
    x = part.seen.x
    if held is None:
        held = x.mean(axis=(0, 1))
    if held.shape != x.shape[2:]:
        raise InvalidArgumentError(
            f"held_input: expected shape {list(x.shape[2:])}, got {list(held.shape)}", field="held_input"
        )
    for t in timesteps:
        if not 0 <= t < x.shape[1]:
            raise InvalidArgumentError(f"timesteps: {t} is not within 0:{x.shape[1]}", field="timesteps")
    states = np.concatenate([part.seen.record[name] for name in part.layer.state_names], axis=2)
    visited = states.reshape(-1, states.shape[2])
    chosen = visited[np.unique(np.linspace(0, len(visited) - 1, starts).astype(int))]
    hook = part.seen.hook
    always = [] if hook is None else hook.always(len(x))
    points, lost = _fixed_points(part, held.astype(x.dtype), chosen, iterations, always)
    along = {}
    turned = x[:, ::-1] if part.layer.backwards else x
    first = np.zeros_like(visited[0])
    if part.seen.start is not None:
        first = np.concatenate([state[0].ravel() for state in part.seen.start])
    for t in timesteps:
        before = first if t == 0 else states[0, t - 1]
        along[t] = modes(step(part, turned[:1, t], before[None], [] if hook is None else hook.step(t))[1][0])
    return Dynamics(part.name, part.layer.CLASS, held, points, lost, along)


def step(part: Part, x: Array, states: Array, patches: Sequence[Patch] = ()) -> tuple[Array, Array]:
    """One timestep of a layer: the states after it, (n, states), and ∂s_t/∂s_{t-1}, (n, states, states).

    x (n, …), states (n, states); patches: of this timestep.
    """
    layer = part.layer
    specs = layer.cell.states()
    n, count = states.shape
    ends = np.cumsum([spec.units for spec in specs])[:-1]
    given = np.repeat(x, count, 0)[:, None]
    side_by_side = np.split(np.repeat(states, count, 0), ends, axis=1)
    start = tuple([s.reshape(-1, *spec.shape) for s, spec in zip(side_by_side, specs, strict=True)])
    record: dict[str, Array] = {}
    hook = Hook([replace(patch, sequences=(0, n * count)) for patch in patches], 1) if patches else None
    outputs, final = layer.run(layer.prepare(part.seen.weights), given, None, start, record, hook=hook)
    seen = Seen(part.seen.weights, [given], [None], list(outputs), record, start, hook=hook)
    seeds = np.split(np.tile(np.eye(count, dtype=states.dtype), (n, 1)), ends, axis=1)
    back = backward(layer, seen, [None, *seeds])
    jacobians = _side_by_side(back.start).reshape(n, count, count)
    return _side_by_side(final)[::count], jacobians


def _side_by_side(states: Sequence[Array]) -> Array:
    return np.concatenate([state.reshape(len(state), -1) for state in states], axis=1)


def modes(jacobian: Array) -> tuple[Mode, ...]:
    """The eigenvalues of a Jacobian, the slowest first; none where it is not finite."""
    if not np.isfinite(jacobian).all():
        return ()
    values = np.linalg.eigvals(jacobian.astype(np.float64))
    return tuple(Mode(float(v.real), float(v.imag)) for v in sorted(values, key=lambda v: -abs(v)))


def _fixed_points(
    part: Part, x: Array, starts: Array, iterations: int, patches: Sequence[Patch]
) -> tuple[tuple[FixedPoint, ...], int]:
    """Newton on F(s) - s from all starts at once; a step is halved until it makes the speed smaller."""
    kind = starts.dtype
    enough = 20 * float(np.finfo(kind).eps) * max(1.0, float(np.abs(starts).max(initial=0.0)))
    state = starts.astype(np.float64)
    held = np.broadcast_to(x, (len(state), *x.shape))

    def speed_of(moved: Array) -> tuple[Array, Array, Array]:
        after, jacobians = step(part, held, moved.astype(kind), patches)
        residual = after.astype(np.float64) - moved.astype(kind)
        return residual, jacobians.astype(np.float64), np.abs(residual).max(axis=1)

    residual, jacobians, speed = speed_of(state)
    identity = np.eye(state.shape[1])
    for _ in range(iterations):
        if (speed <= enough).all():
            break
        finite = np.isfinite(jacobians).all(axis=(1, 2)) & np.isfinite(residual).all(axis=1) & (speed > enough)
        change = np.zeros_like(state)
        for i in np.flatnonzero(finite):
            change[i] = np.linalg.lstsq(jacobians[i] - identity, -residual[i], rcond=None)[0]
        size = np.abs(change).max(axis=1, keepdims=True)
        change *= np.minimum(1, LARGEST_STEP / np.maximum(size, 1e-300))
        share = np.where(finite, 1.0, 0.0)
        while True:
            tried = state + share[:, None] * change
            found = speed_of(tried)
            worse = ~(found[2] < speed) & finite & (share > SMALLEST_SHARE)
            if not worse.any():
                break
            share[worse] /= 2
        state, (residual, jacobians, speed) = tried, found
    groups: list[list[int]] = []
    for i in np.flatnonzero(speed <= enough):
        for group in groups:
            if np.abs(state[i] - state[group[0]]).max() < SAME:
                group.append(int(i))
                break
        else:
            groups.append([int(i)])
    points = []
    for group in sorted(groups, key=len, reverse=True):
        best = min(group, key=lambda i: float(speed[i]))
        points.append(
            FixedPoint(state[best].astype(kind), modes(jacobians[best]), len(group), float(speed[best]))
        )  # fmt: skip
    return tuple(points), len(starts) - sum(map(len, groups))
