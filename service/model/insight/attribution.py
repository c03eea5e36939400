"""Attribution: how much each part of an input, or each unit, contributes to one number of an output.

Gradient times input: A. Shrikumar et al., arXiv:1605.01713, §2. Integrated gradients: M. Sundararajan, A. Taly, Q. Yan,
Axiomatic Attribution for Deep Networks, ICML 2017. Occlusion: M. Zeiler, R. Fergus, ECCV 2014. Ablation: R. Meyes et
al., arXiv:1901.08644.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

import numpy as np

from service.errors import InvalidArgumentError
from service.model.gradients import Tape
from service.model.insight.target import Target, seed
from service.model.layers.embedding import Embedding
from service.model.layers.normalization import Normalization
from service.model.layers.patch import Patch, PatchKind
from service.model.layers.recurrent import Recurrent
from service.model.network import Network
from service.model.results import Result
from service.model.tensors import Array

TOGETHER = 32  # sequences that are computed at a time: more at once take longer, for want of cache
FEW_ELEMENTS = 262_144  # of all that is recorded, up to which there may be more of them
POINTS = 32  # of Gauss and Legendre's rule on the way from the baseline to the input


class Method(Enum):
    """How an attribution is computed."""

    GRADIENT_INPUT = "gradient_input"
    INTEGRATED_GRADIENTS = "integrated_gradients"
    OCCLUDE_TIMESTEPS = "occlude_timesteps"
    OCCLUDE_FEATURES = "occlude_features"
    ABLATE_UNITS = "ablate_units"


@dataclass(frozen=True)
class Attribution:
    """What parts have to do with a number F(x), (batch,).

    scores: by name of the input, of its shape (for ids of the shape of their embeddings, by the name of that call); for
    occlusion (batch, timesteps) or (batch, features); for ablation by the name of the state, (batch, units).
    baseline_value: F of the baseline. residual: |Σ scores - (F(x) - F(baseline))| / |F(x) - F(baseline)| of each
    sequence, for the methods whose scores add up (gradient times input and integrated gradients), else empty.
    """

    value: Array
    scores: Mapping[str, Array]
    baseline_value: Array
    residual: Array


@dataclass(frozen=True)
class Question:
    """What is asked: of which network, for which sequences, about which number."""

    network: Network
    inputs: Mapping[str, Array]
    initial_state: Mapping[str, Array]
    target: Target
    patches: Sequence[Patch] = ()

    def values(self, inputs: Mapping[str, Array], copies: int = 1, more: Sequence[Patch] = ()) -> Array:
        """F of other inputs, in which each sequence stands so many times, (batch · copies,)."""
        patches = [*(several(patch, copies) for patch in self.patches), *more]
        state = {name: np.repeat(array, copies, 0) for name, array in self.initial_state.items()}
        return seed(self._result(inputs, state, patches).outputs, many(self.target, copies))[1]

    def settled(self, outputs: Mapping[str, Array] | None = None) -> "Question":
        """The same, with a direction for each sequence, unless it asks about a loss; `outputs` where they are known."""
        if outputs is None:
            outputs = self._result(self.inputs, self.initial_state, self.patches).outputs
        name, _, direction = seed(outputs, self.target)
        return self if self.target.loss else replace(self, target=Target(name, direction=direction))

    def _result(self, inputs: Mapping[str, Array], state: Mapping[str, Array], patches: Sequence[Patch]) -> Result:
        if patches:
            return self.network.patched(inputs, state, patches)
        return self.network.forward(inputs, state)

    def repeated(self, copies: int) -> dict[str, Array]:
        """The inputs, each sequence so many times."""
        return {name: np.repeat(array, copies, 0) for name, array in self.inputs.items()}


def copies_of(network: Network, inputs: Mapping[str, Array], method: Method, points: int = POINTS) -> int:
    """How many times each sequence is computed: the cost of an attribution, in forward passes."""
    if method is Method.INTEGRATED_GRADIENTS:
        return points + 3
    if method is Method.GRADIENT_INPUT:
        return 4
    if method is Method.ABLATE_UNITS:
        return 2 + max((units for _, units in ablated(network)), default=0)
    extents = [a.shape[1 if method is Method.OCCLUDE_TIMESTEPS else -1] for a in inputs.values() if a.ndim > 1]
    return 2 + max(extents, default=0)


def attribute(
    question: Question, method: Method, baseline: Mapping[str, Array] | None = None, points: int = POINTS
) -> Attribution:
    """The attribution of a number to parts of the inputs, or to units.

    baseline: by name of the input, without the batch, what stands for its absence; an input not named has zeros, and
    for ids an embedding of zeros.

    Raises InvalidArgumentError for a baseline that does not fit; NotSupportedError where a layer has no gradient.
    """
    baselines = _baselines(question, baseline or {})
    if method in {Method.GRADIENT_INPUT, Method.INTEGRATED_GRADIENTS}:
        return _by_gradient(question, method, baselines, points)
    question = question.settled()
    value = question.values(question.inputs)
    if method is Method.ABLATE_UNITS:
        scores = {name: value[:, None] - _ablation(question, name, units) for name, units in ablated(question.network)}
    else:
        axis = 1 if method is Method.OCCLUDE_TIMESTEPS else -1
        scores = {
            name: value[:, None] - _occlusion(question, name, axis, base)
            for name, base in baselines.items()
            if question.inputs[name].ndim > 2 or (axis == 1 and question.inputs[name].ndim > 1)
        }
        if not scores:
            raise InvalidArgumentError("method: no input has such an axis", field="method")
    return Attribution(value, scores, np.zeros_like(value), np.zeros(0))


def training_mean(network: Network) -> dict[str, Array]:
    """The means of the training data, for inputs that go into a Normalization. Raises InvalidArgumentError if none."""
    found = {}
    for spec, place in network.graph.inputs:
        for node in network.graph.nodes:
            layer = network.graph.layers[node.layer].layer
            if node.inputs == (place,) and isinstance(layer, Normalization):
                mean, _ = layer.prepare(network.layer_weights(node.layer))
                found[spec.name] = np.asarray(mean)
    if not found:
        raise InvalidArgumentError(
            "baseline: no input goes into a Normalization, which would hold the mean of the training data",
            field="baseline",
        )
    return found


def ablated(network: Network) -> list[tuple[str, int]]:
    """The states whose units ablation silences: those that are outputs of cells, by full name, with their units."""
    return [
        (f"{node.name}/{state.name}", state.units)
        for node in network.graph.nodes
        if isinstance(network.graph.layers[node.layer].layer, Recurrent)
        for state in node.states
        if state.name.endswith("hidden_state")
    ]


def several(patch: Patch, copies: int) -> Patch:
    """A patch for a batch in which each sequence stands so many times."""
    start, stop = patch.sequences
    value = np.repeat(patch.value, copies, 0) if patch.value.ndim == 3 and len(patch.value) > 1 else patch.value
    return replace(patch, sequences=(start * copies, stop * copies), value=value)


def many(target: Target, copies: int) -> Target:
    """A target for such a batch; its direction is one for each sequence."""

    def repeated(array: Array | None) -> Array | None:
        return None if array is None else np.repeat(array, copies, 0)

    return replace(target, expected=repeated(target.expected), direction=repeated(target.direction))


def _by_gradient(question: Question, method: Method, baselines: Mapping[str, Array], points: int) -> Attribution:
    """Σ_k w_k ∂F/∂x at b + α_k·(x - b), times x - b; for gradient times input at x alone, with b = 0."""
    network, plain = question.network, method is Method.GRADIENT_INPUT
    if plain:
        places, shares = np.ones(1), np.ones(1)
        baselines = {name: np.zeros_like(base) for name, base in baselines.items()}
    else:
        places, shares = _gauss_legendre(points)
    first = Tape(network, question.inputs, question.initial_state, question.patches)
    question = question.settled(first.outputs)
    sources = {place for _, place in network.graph.inputs}
    embedded = {
        call.node.name: call.outputs[0]
        for call in first.calls
        if isinstance(call.layer, Embedding) and call.node.inputs[0] in sources
    }
    parts = {name: x for name, x in question.inputs.items() if x.dtype.kind == "f"} | embedded
    ends = {name: baselines.get(name, np.zeros((), x.dtype)) for name, x in parts.items()}
    scores = {name: np.zeros(x.shape) for name, x in parts.items()}
    batch = len(next(iter(question.inputs.values())))
    one = network.cost(tuple(question.inputs[spec.name].shape[1:] for spec in network.inputs), traced=True)
    at_once = max(1, max(TOGETHER, FEW_ELEMENTS // max(1, one)) // max(1, batch))
    for i in range(0, len(places), at_once):
        given = None if plain else {name: between(x, ends[name], places[i : i + at_once]) for name, x in parts.items()}
        for name, slopes in _slopes(question, parts, given, len(places[i : i + at_once])).items():
            scores[name] += np.einsum("k,bk...->b...", shares[i : i + at_once], slopes)
    for name, x in parts.items():
        scores[name] *= (x - ends[name]).astype(np.float64)
    floats = {name: x for name, x in parts.items() if name not in embedded}
    silent = [Patch(name, "output", PatchKind.SET, np.zeros((), table.dtype)) for name, table in embedded.items()]
    _, value, _ = seed(first.outputs, question.target)
    start = {name: np.broadcast_to(baselines[name], x.shape).astype(x.dtype) for name, x in floats.items()}
    base = question.values({**question.inputs, **start}, 1, silent)
    change = value.astype(np.float64) - base
    total = np.sum([s.reshape(len(s), -1).sum(axis=1) for s in scores.values()], axis=0)
    with np.errstate(all="ignore"):
        residual = np.where(total == change, 0.0, np.abs(total - change) / np.abs(change))
    return Attribution(value, scores, base, residual)


@lru_cache(16)
def _gauss_legendre(points: int) -> tuple[Array, Array]:
    """Places between 0 and 1 and their shares. To compute them takes longer than a small network."""
    nodes, shares = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, shares / 2


def between(x: Array, base: Array, places: Array) -> Array:
    """base + α·(x - base) for each α, each sequence so many times."""
    spread = np.tile(places, len(x)).reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
    return (base + spread * (np.repeat(x, len(places), 0) - base)).astype(x.dtype)


def _slopes(
    question: Question, parts: Mapping[str, Array], given: Mapping[str, Array] | None, copies: int
) -> dict[str, Array]:
    """∂F/∂x of inputs and embeddings, (batch, copies, …), where `given` stands in their place; None: as they are."""
    inputs = question.repeated(copies)
    patches = [several(patch, copies) for patch in question.patches]
    if given is not None:
        patches += [Patch(n, "output", PatchKind.SET, x) for n, x in given.items() if n not in inputs]
        inputs |= {name: x for name, x in given.items() if name in inputs}
    state = {name: np.repeat(array, copies, 0) for name, array in question.initial_state.items()}
    tape = Tape(question.network, inputs, state, patches)
    output, _, by_output = seed(tape.outputs, many(question.target, copies))
    found = tape.backward({output: by_output}, weights=False)
    slopes = {}
    for name, x in parts.items():
        by = found.inputs[name] if name in inputs else found.inside.get(name, {}).get("output")
        if by is None:
            by = np.zeros((len(x) * copies, *x.shape[1:]), x.dtype)
        slopes[name] = by.reshape(len(x), copies, *by.shape[1:]).astype(np.float64)
    return slopes


def _occlusion(question: Question, name: str, axis: int, base: Array) -> Array:
    """F with one timestep or feature after the other at the baseline, (batch, timesteps or features)."""
    x = question.inputs[name]
    axis %= x.ndim
    count = x.shape[axis]
    inputs = question.repeated(count)
    covered = inputs[name].reshape(len(x), count, *x.shape[1:])
    covered = np.moveaxis(covered, axis + 1, 2)  # (batch, copies, the axis, …)
    along = np.moveaxis(np.broadcast_to(base, x.shape), axis, 1)
    places = np.arange(count)
    covered[:, places, places] = along[:, places]
    return question.values(inputs, count).reshape(len(x), count)


def _ablation(question: Question, state: str, units: int) -> Array:
    """F with one unit after the other at zero at every timestep, (batch, units)."""
    node = next(n.name for n in question.network.graph.nodes if state.startswith(f"{n.name}/"))
    batch = len(next(iter(question.inputs.values())))
    inputs = {name: np.tile(array, (units, *[1] * (array.ndim - 1))) for name, array in question.inputs.items()}
    silent = [
        Patch(node, state.removeprefix(f"{node}/"), PatchKind.SET, np.zeros(()), (i * batch, (i + 1) * batch), (0, 0),
              (i, i + 1))
        for i in range(units)
    ]  # fmt: skip
    if units == 1 or batch * units == 0:
        silent = [replace(patch, sequences=(0, 0)) for patch in silent]
    tiled = replace(
        question,
        initial_state={n: np.tile(a, (units, *[1] * (a.ndim - 1))) for n, a in question.initial_state.items()},
        patches=[p for i in range(units) for p in (_moved(patch, i, batch) for patch in question.patches)],
        target=_tiled(question.target, units),
    )
    return tiled.values(inputs, 1, silent).reshape(units, batch).T


def _moved(patch: Patch, copy: int, batch: int) -> Patch:
    start, stop = patch.sequences if patch.sequences != (0, 0) else (0, batch)
    return replace(patch, sequences=(start + copy * batch, stop + copy * batch))


def _tiled(target: Target, copies: int) -> Target:
    def tiled(array: Array | None) -> Array | None:
        return None if array is None else np.concatenate([array] * copies)

    return replace(target, expected=tiled(target.expected), direction=tiled(target.direction))


def _baselines(question: Question, given: Mapping[str, Array]) -> dict[str, Array]:
    for name in given:
        if name not in question.inputs:
            raise InvalidArgumentError(f"baseline: no input named {name!r}", field="baseline")
    found = {}
    for name, x in question.inputs.items():
        base = np.asarray(given.get(name, np.zeros(())), x.dtype)
        try:
            fits = np.broadcast_shapes(base.shape, x.shape[1:]) == x.shape[1:]
        except ValueError:
            fits = False
        if not fits:
            raise InvalidArgumentError(
                f"baseline: a value of shape {list(base.shape)} does not broadcast to {list(x.shape[1:])}, "
                f"one sequence of {name}",
                field="baseline",
            )
        found[name] = base
    return found
