"""What a network is to its callers, whichever library computes it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from service.errors import InvalidArgumentError
from service.model.graph import Graph, Node
from service.model.layers.base import Layer, Record, show
from service.model.layers.categories import Lookup
from service.model.layers.cells import States
from service.model.layers.embedding import Embedding
from service.model.layers.patch import Hook, Patch
from service.model.results import Result, Trace
from service.model.tensors import Array, Shape, TensorSpec, type_name

SOME = 20  # words: of a vocabulary, and of a text


@dataclass(frozen=True)
class LayerInfo:
    """What is known of a layer without computing."""

    name: str
    class_name: str
    output_shape: Shape  # of the first output at the first call; None where the extent depends on the call
    parameter_count: int
    weights: tuple[str, ...]  # full names
    options: Mapping[str, str] = field(default_factory=dict)  # that its equation depends on


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer, with all that its gradient needs."""

    node: Node
    layer: Layer
    weights: Mapping[str, Array]  # by the name in the layer
    inputs: Sequence[Array]  # of the types that the layer computes with
    masks: Sequence[Array | None]  # for recurrent layers the one that they go by
    outputs: Sequence[Array]
    record: Record
    start: States | None  # the states that a recurrent layer starts from; None: zeros
    hook: Hook | None


class Network(ABC):
    """A network. What it computes never changes. Its weights are read-only arrays.

    A network that another library computes raises NotSupportedError for what that library does not show: weights,
    graph, traces, patches and changes of weights.

    inputs, outputs, states: what goes in and comes out, by name; the batch axis is None.
    declared: the inputs as the file has them, with the number of timesteps that it was made for.
    weights: by full name, `LAYER/kernel`, in Keras's order and orientation; not writeable.
    layers: in the order of computation, inputs left out.
    streamable: whether timesteps may be fed in pieces, states carried between; else `not_streamable_reason` says why.
    notes: what a user should know of how it is served.
    computed_by: the engine that its own forward pass is.
    graph: the wiring, for engines.
    """

    computed_by: str
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]
    declared: tuple[TensorSpec, ...]
    weights: Mapping[str, Array]
    layers: tuple[LayerInfo, ...]
    parameter_count: int
    streamable: bool
    not_streamable_reason: str
    notes: tuple[str, ...]
    graph: Graph
    _inputs: Mapping[str, TensorSpec]
    _states: Mapping[str, TensorSpec]

    @cached_property
    def precision(self) -> str:
        """The least precise of the floating-point types that it computes in: what its results can be held to."""
        kinds = [self.graph.values[i].dtype for node in self.graph.nodes for i in node.outputs]
        kinds += [state.dtype for node in self.graph.nodes for state in node.states]
        floats = [kind for kind in kinds if kind.kind == "f"]
        return min(floats, key=lambda kind: kind.itemsize).name if floats else "float64"

    @cached_property
    def tables(self) -> tuple[tuple[str, Embedding], ...]:
        """Each input that goes straight into an Embedding, whatever its type, with each Embedding that it goes into."""
        calls = [(self.graph.layers[node.layer].layer, node.inputs) for node in self.graph.nodes]
        return tuple(
            (spec.name, layer)
            for spec, place in self.graph.inputs
            for layer, inputs in calls
            if isinstance(layer, Embedding) and place in inputs
        )

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Of each input in `tables`: how many ids there are in all of its tables."""
        found: dict[str, int] = {}
        for name, layer in self.tables:
            found[name] = min(layer.options["input_dim"], found.get(name, layer.options["input_dim"]))
        return found

    @cached_property
    def words(self) -> Mapping[str, tuple[Sequence[str], int]]:
        """Of each input of texts: some words that it may be made of, and how many make one."""
        found: dict[str, tuple[Sequence[str], int]] = {}
        for spec, place in self.graph.inputs:
            layers = [self.graph.layers[node.layer].layer for node in self.graph.nodes if place in node.inputs]
            lookups = [layer for layer in layers if isinstance(layer, Lookup)]
            words = [word for layer in lookups for word in layer.tokens()[:SOME] if word]
            split = any(layer.options.get("split") for layer in lookups)
            found[spec.name] = words or ["word"], SOME if split else 1
        return found

    def layer_weights(self, name: str) -> dict[str, Array]:
        """The weights of a layer by their names in it."""
        return {spec.name: self.weights[f"{name}/{spec.name}"] for spec in self.graph.layers[name].weights}

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what computes: options, wiring, types, and every byte of the weights."""
        graph = self.graph
        architecture = {
            "layers": {
                name: [entry.layer.CLASS, entry.layer.policy.name, dict(entry.layer.options)]
                for name, entry in graph.layers.items()
            },
            "calls": [[n.layer, n.inputs, n.outputs, n.mask, n.initial, *n.bare] for n in graph.nodes],
            "inputs": [[spec.name, spec.dtype.name, spec.shape, place] for spec, place in graph.inputs],
            "outputs": graph.outputs,
            "weights": {name: [array.dtype.name, array.shape] for name, array in self.weights.items()},
        }
        digest = hashlib.sha256(json.dumps(architecture, sort_keys=True, default=str).encode())
        for array in self.weights.values():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def row(self) -> tuple[Layer, ...] | None:
        """The layers, where they stand in a row from the one input to the one output, without masks.

        For engines; None for any other graph.
        """
        graph = self.graph
        place = graph.inputs[0][1]
        for node in graph.nodes:
            if node.inputs != (place,) or len(node.outputs) != 1 or node.masked or node.initial:
                return None
            (place,) = node.outputs
        ends = len(graph.inputs) == 1 and [end for _, end in graph.outputs] == [place]
        return tuple(graph.layers[node.layer].layer for node in graph.nodes) if ends else None

    @abstractmethod
    def cost(self, shapes: tuple[tuple[int, ...], ...], *, traced: bool = False) -> int:
        """Elements of all tensors that a forward pass (or a trace) makes of one sequence, known before it begins.

        shapes: as `shapes` gives them; a batch makes so many times as many elements. 0 where nobody can know.

        Raises InvalidArgumentError for shapes that a layer cannot take.
        """

    @abstractmethod
    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """Outputs and final states for inputs that `check` accepted; states not given start at zero.

        Where `streamable`, a sequence fed in pieces, with the states carried, gives bit for bit what one call gives.

        Raises InvalidArgumentError for numbers that a layer cannot take: an id outside an Embedding, sequences of
        different lengths where they meet, fewer timesteps than a convolution needs.
        """

    @abstractmethod
    def patched(
        self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None, patches: Sequence[Patch]
    ) -> Result:
        """As `forward`, with values inside changed on the way.

        Raises InvalidArgumentError for a patch that does not fit.
        """

    @abstractmethod
    def record(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        patches: Sequence[Patch] = (),
        check: Callable[[], None] | None = None,
    ) -> tuple[Result, list[LayerCall]]:
        """As `patched`, with every call of a layer as a gradient needs it, in the order of computation.

        `check` as of `trace`.
        """

    @abstractmethod
    def trace(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        layers: Collection[str] | None = None,
        check: Callable[[], None] | None = None,
        patches: Sequence[Patch] = (),
    ) -> Trace:
        """What happens in each layer (or only in `layers`) for inputs that `check` accepted.

        `check` is called before each layer computes; what it raises ends the trace.

        Raises InvalidArgumentError for a layer that does not exist, a patch that does not fit, and as `forward`.
        """

    @abstractmethod
    def with_weights(self, changes: Mapping[str, Array]) -> "Network":
        """A network of the same architecture with some weights changed; this one stays as it is.

        Raises InvalidArgumentError for an unknown name, another shape or type, and values that are not finite.
        """

    def check(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> None:
        """Whether a call fits: names, types, shapes; one batch size in all; at least one sequence and one timestep.

        Whether the numbers are finite is checked where they are decoded.

        Raises InvalidArgumentError with `field` `inputs[NAME]` or `initial_state[NAME]`.
        """
        batch: int | None = None
        for name, spec in self._inputs.items():
            array = inputs.get(name)
            if array is None:
                raise InvalidArgumentError(f"inputs: {name} is missing", field="inputs")
            _check(array, spec, f"inputs[{name}]", batch)
            batch = array.shape[0]
        if len(inputs) > len(self._inputs):
            unknown = next(name for name in inputs if name not in self._inputs)
            raise InvalidArgumentError(
                f"inputs: no input named {unknown!r}; there are: {', '.join(self._inputs)}", field=f"inputs[{unknown}]"
            )
        if initial_state:
            for name, array in initial_state.items():
                state = self._states.get(name)
                if state is None:
                    raise InvalidArgumentError(
                        f"initial_state: no state named {name!r}; there are: {', '.join(self._states) or 'none'}",
                        field=f"initial_state[{name}]",
                    )
                _check(array, state, f"initial_state[{name}]", batch)

    def shapes(self, inputs: Mapping[str, Array]) -> tuple[tuple[int, ...], ...]:
        """The shapes of inputs, in their order, without the batch."""
        return tuple([inputs[spec.name].shape[1:] for spec in self.inputs])


def _check(array: Array, spec: TensorSpec, field: str, batch: int | None) -> None:
    if array.dtype != spec.dtype:
        raise InvalidArgumentError(
            f"{field}: expected {type_name(spec.dtype)}, got {type_name(array.dtype)}", field=field
        )
    shape = array.shape
    fits = len(shape) == len(spec.shape) and all(
        got == wanted or (wanted is None and got > 0) for got, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        names = ("batch", "timesteps") if len(spec.shape) > 2 else ("batch",)
        wanted = [
            names[i] if i < len(names) and e is None else "any" if e is None else e for i, e in enumerate(spec.shape)
        ]
        raise InvalidArgumentError(
            f"{field}: expected shape [{', '.join(map(str, wanted))}] with nothing empty, got {list(shape)}",
            field=field,
            expected=show(spec.shape),
            actual=show(shape),
        )
    if batch is not None and shape[0] != batch:
        raise InvalidArgumentError(f"{field}: expected a batch of {batch} as before, got {shape[0]}", field=field)
