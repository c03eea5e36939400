"""A tape: a recorded forward pass, and backpropagation through the whole graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidArgumentError
from service.model.gradients.base import Seen, backward
from service.model.layers.embedding import Embedding
from service.model.layers.patch import Patch
from service.model.network import LayerCall, Network
from service.model.results import Result
from service.model.tensors import Array


@dataclass(frozen=True)
class Gradients:
    """dL/d of everything: arrays of the shape of what they are by, in at least single precision."""

    inputs: Mapping[str, Array]  # by name; integers have none
    embedded: Mapping[str, Array]  # by what an Embedding makes of an input of ids, by the name of its call
    initial_state: Mapping[str, Array]  # by full name
    weights: Mapping[str, Array]  # by full name; those that training leaves alone have none
    inside: Mapping[str, Mapping[str, Array]]  # by call of a layer: `output`, states, `pre_activation`


class Tape:
    """A forward pass of a network with all that the way back needs."""

    def __init__(
        self,
        network: Network,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        patches: Sequence[Patch] = (),
        check: Callable[[], None] | None = None,
    ) -> None:
        """Computes forward. Arguments and errors as `Network.record`; `check` is called on the way back too."""
        self.network = network
        self._inputs, self._check = inputs, check
        self.result: Result
        self.result, self.calls = network.record(inputs, initial_state, patches, check)

    @property
    def outputs(self) -> Mapping[str, Array]:
        """The outputs of the network."""
        return self.result.outputs

    def record(self, call: str) -> Mapping[str, Array]:
        """What a trace shows of one call of a layer."""
        return next(c.record for c in self.calls if c.node.name == call)

    def call(self, name: str) -> LayerCall:
        """One call of a layer."""
        return next(c for c in self.calls if c.node.name == name)

    def backward(self, seeds: Mapping[str, Array], *, weights: bool = True) -> Gradients:
        """The gradients of L = Σ seed ∘ output over the outputs that have a seed.

        Raises NotSupportedError where a layer on the way has no gradient, InvalidArgumentError for an output of
        integers.
        """
        graph = self.network.graph
        above: list[Array | None] = [None] * len(graph.values)

        def add(place: int, gradient: Array | None) -> None:
            if gradient is not None:
                known = above[place]
                gradient = gradient.astype(KINDS.get(graph.values[place].dtype, gradient.dtype), copy=False)
                above[place] = gradient if known is None else known + gradient

        for name, place in graph.outputs:
            if name in seeds:
                if graph.values[place].dtype.kind != "f":
                    raise InvalidArgumentError(f"output {name} has integers, which have no gradient")
                add(place, wide(seeds[name]))
        by_weights: dict[str, Array] = {}
        by_start: dict[str, Array] = {}
        inside: dict[str, dict[str, Array]] = {}
        embedded: dict[str, Array] = {}
        sources = {place for _, place in graph.inputs}
        with np.errstate(all="ignore"):
            for call in reversed(self.calls):
                if self._check is not None:
                    self._check()
                node, layer = call.node, call.layer
                gradients = [above[place] for place in node.outputs]
                if all(gradient is None for gradient in gradients):
                    continue
                own = {} if gradients[0] is None else {"output": gradients[0]}
                if call.hook is not None and gradients[0] is not None:
                    gradients[0] = call.hook.output_back(gradients[0])
                back = backward(layer, seen_by(call, by_weights=weights), gradients)
                for place, gradient in zip(node.inputs, back.inputs, strict=True):
                    add(place, gradient)
                if node.initial:
                    for place, gradient in zip(node.initial, back.start, strict=True):
                        add(place, gradient)
                else:
                    names = [f"{node.name}/{state.name}" for state in node.states]
                    by_start |= dict(zip(names, back.start, strict=True))
                if weights:
                    for short, gradient in back.weights.items():
                        full = f"{node.layer}/{short}"
                        by_weights[full] = by_weights[full] + gradient if full in by_weights else gradient
                inside[node.name] = own | dict(back.inside)
                if isinstance(layer, Embedding) and node.inputs[0] in sources and gradients[0] is not None:
                    embedded[node.name] = gradients[0]
        by_inputs = {}
        for spec, place in graph.inputs:
            found = above[place]
            if spec.dtype.kind == "f":
                by_inputs[spec.name] = np.zeros_like(wide(self._inputs[spec.name])) if found is None else found
        return Gradients(by_inputs, embedded, by_start, by_weights, inside)


# The type of a gradient, by that of what it is by.
KINDS = {np.dtype(np.float16): np.dtype(np.float32)} | {np.dtype(k): np.dtype(k) for k in (np.float32, np.float64)}


def wide(array: Array) -> Array:
    """An array in at least single precision: half precision is enough for a network, not for its gradients."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def seen_by(call: LayerCall, *, by_weights: bool = True) -> Seen:
    """A call as the gradient of its layer wants it; `by_weights`: whether gradients by weights are wanted."""
    kind = np.result_type(call.layer.policy.compute, np.float32)
    return Seen(
        {name: w.astype(kind, copy=False) for name, w in call.weights.items()},
        [wide(x) for x in call.inputs],
        call.masks,
        [wide(y) for y in call.outputs],
        {name: wide(array) for name, array in call.record.items()},
        None if call.start is None else tuple(wide(state) for state in call.start),
        not call.node.initial,
        call.hook,
        by_weights,
    )
