"""The graph of a network: which layer is called on which values, with nested models expanded."""

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from service.errors import LimitExceededError
from service.model.layers.base import Built, Layer, StateSpec, WeightSpec
from service.model.layers.categories import IntegerLookup, StringLookup
from service.model.layers.embedding import Embedding
from service.model.layers.operations import Operation
from service.model.layers.recurrent import Recurrent
from service.model.limits import ReadLimits
from service.model.tensors import INPUT_DTYPES, Shape, Tensor, TensorSpec, Time


@dataclass(frozen=True)
class Node:
    """One call of one layer. Numbers are places of values in the graph."""

    name: str  # of the layer, with the number of the call from the second on
    layer: str  # name of the layer, whose weights it takes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    masked: bool  # whether an input may carry a mask, or the layer makes one
    mask: int | None = None  # the value that is the mask, where the graph names one
    initial: tuple[int, ...] = ()  # the values that are the initial states, where the graph names them
    states: tuple[StateSpec, ...] = ()
    bare: tuple[int, ...] = ()  # the inputs whose masks another call has taken away


@dataclass(frozen=True)
class Entry:
    """A layer, once for all its calls."""

    layer: Layer
    weights: tuple[WeightSpec, ...]
    folder: str  # of the layer in the H5 file
    output: Shape  # of its first call


@dataclass
class Graph:
    """A network without its weights. Grown by the builder, not changed afterwards."""

    name: str
    limits: ReadLimits
    values: list[Tensor] = field(default_factory=list)
    may_mask: list[bool] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    layers: dict[str, Entry] = field(default_factory=dict)
    inputs: list[tuple[TensorSpec, int]] = field(default_factory=list)
    outputs: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calls: Tally[str] = field(default_factory=Tally)  # of each layer
    asset: Callable[[str], bytes | None] = lambda _name: None  # a file beside the config, by its path under `assets`
    operations: set[str] = field(default_factory=set)  # nodes that are no layers: their names may be those of layers

    def add(self, tensor: Tensor, *, masked: bool = False) -> int:
        """A new value."""
        if tensor.rank > self.limits.rank:
            raise LimitExceededError(
                f"a tensor of {tensor.rank} axes, the limit is {self.limits.rank}",
                limit=self.limits.rank,
                actual=tensor.rank,
            )
        self.values.append(tensor)
        self.may_mask.append(masked)
        return len(self.values) - 1

    def input(self, name: str, shape: Shape, dtype: str) -> int:
        """A new input of the network."""
        kind = INPUT_DTYPES[dtype]
        # (batch, time, …); a matrix has no time, unless an Embedding takes it, or the ids of its words, for a sequence.
        time = Time.SEQUENCE if len(shape) > 2 else Time.LATEST
        place = self.add(Tensor(shape, kind, time))
        self.inputs.append((TensorSpec(name, kind, shape), place))
        return place

    def call(
        self,
        layer: Layer,
        folder: str,
        inputs: Sequence[int],
        mask: int | None = None,
        initial: Sequence[int] = (),
        bare: Sequence[int] = (),
    ) -> tuple[int, ...]:
        """A call of a layer on values; gives the places of its outputs."""
        if len(self.nodes) >= self.limits.calls:
            raise LimitExceededError(
                f"more than {self.limits.calls} calls of layers", limit=self.limits.calls, actual=len(self.nodes) + 1
            )
        if not layer.MANY_INPUTS and len(inputs) != 1:
            raise layer.unsupported(f"expected one input, got {len(inputs)}")
        layer.check_types([self.values[i] for i in inputs])
        if isinstance(layer, Embedding):
            self._take_for_sequence(inputs[0])
        built = layer.build([self.values[i] for i in inputs])
        calls = self.calls[layer.name]
        self.calls[layer.name] += 1
        known = self.layers.get(layer.name)
        if known is None:
            self._new_layer(layer, folder, built)
        elif known.weights != built.weights:
            raise layer.corrupt("two calls of it need weights of different shapes")
        elif known.layer.options != layer.options:
            raise layer.unsupported("two calls of it with different arguments are not supported")
        if initial and (
            not isinstance(layer, Recurrent)
            or [self.values[i].shape[1:] for i in initial] != [state.shape for state in built.states]
            or any(self.values[i].dtype.kind != "f" for i in initial)
        ):
            raise layer.unsupported("its initial states do not fit")
        masked = layer.makes_mask() or mask is not None or any(self.may_mask[i] for i in inputs if i not in bare)
        passes = masked and layer.PASSES_MASK
        if initial:  # each piece of a sequence would start from them anew
            built = replace(built, outputs=tuple(replace(tensor, time=Time.WHOLE) for tensor in built.outputs))
        outputs = tuple(self.add(tensor, masked=passes) for tensor in built.outputs)
        self.nodes.append(
            Node(
                name=layer.name if not calls else f"{layer.name}/call_{calls}",
                layer=layer.name,
                inputs=tuple(inputs),
                outputs=outputs,
                masked=masked,
                mask=mask,
                initial=tuple(initial),
                states=built.states,
                bare=tuple(bare),
            )
        )
        return outputs

    def _take_for_sequence(self, ids: int) -> None:
        """Ids (batch, timesteps) that are an input, or that each word of an input is looked up as, have a time axis.

        One word for each element of a batch is no sequence.
        """
        given = {place for _, place in self.inputs}
        places = [ids]
        if ids not in given:
            looked_up = (node for node in self.nodes if node.outputs == (ids,))
            places = [node.inputs[0] for node in looked_up if self._looks_each_up(node)] + [ids]
        if places[0] in given and self.values[places[0]].rank == 2:
            for place in places:
                self.values[place] = replace(self.values[place], time=Time.SEQUENCE)

    def _looks_each_up(self, node: Node) -> bool:
        """Whether a node gives an id for each word of a sequence."""
        layer = self.layers[node.layer].layer
        words = self.values[node.inputs[0]].shape
        return (
            isinstance(layer, StringLookup | IntegerLookup)
            and layer.options["output_mode"] == "int"
            and words[1:] != (1,)
        )

    def operate(self, operation: Operation, inputs: Sequence[int]) -> tuple[int, ...]:
        """An operation on values. Each stands once in a graph; called again, it is another one."""
        again = self.calls[f"operation {operation.name}"]
        self.calls[f"operation {operation.name}"] += 1
        if again or operation.name in self.layers:
            operation.name = f"{operation.name}/operation_{again}"
        self.operations.add(operation.name)
        return self.call(operation, "", inputs)

    def _new_layer(self, layer: Layer, folder: str, built: Built) -> None:
        if len(self.layers) >= self.limits.layers:
            raise LimitExceededError(
                f"more than {self.limits.layers} layers", limit=self.limits.layers, actual=len(self.layers) + 1
            )
        self.layers[layer.name] = Entry(layer, built.weights, folder, built.outputs[0].shape)
        if layer.options.get("stateful"):
            self.notes.append(f"{layer.where}: stateful=True is served statelessly; pass states with the call instead")
