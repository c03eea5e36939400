"""The network that our own layers compute: a graph of layers with their weights, and the forward pass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from service.errors import InvalidArgumentError
from service.model import cost
from service.model.graph import Graph, Node
from service.model.layers.base import Layer, Record
from service.model.layers.cells import States
from service.model.layers.patch import Hook, Patch
from service.model.layers.recurrent import Recurrent
from service.model.network import LayerCall, LayerInfo, Network
from service.model.patches import hooks
from service.model.results import LayerTrace, Result, Trace
from service.model.tensors import Array, DType, TensorSpec, Time


@dataclass(frozen=True)
class _Step:
    """A node, ready to compute."""

    node: Node
    layer: Layer
    weights: Any  # as the layer's `prepare` made them
    named: Mapping[str, Array]  # by the name in the layer
    casts: tuple[tuple[int, DType], ...]  # which inputs are cast to which type
    no_masks: tuple[None, ...]  # of the inputs, where none can have one
    states: tuple[str, ...]  # full names
    recurrent: bool


COSTS = 1_024  # shapes of which a network remembers what they ask of it
_NO_STATE: Mapping[str, Array] = MappingProxyType({})
_NO_HOOKS: Mapping[str, Hook] = MappingProxyType({})


class GraphNetwork(Network):
    """A network that our own layers compute, in NumPy."""

    computed_by = "numpy"

    def __init__(self, graph: Graph, weights: Mapping[str, Array], base: "GraphNetwork | None" = None) -> None:
        """`weights` are those that the graph asks for; they are taken as they are and must not change afterwards.

        `base` is a network of the same graph, of which what is the same is taken over.
        """
        self.graph = graph
        self.name = graph.name
        for array in weights.values():
            array.setflags(write=False)
        self.weights: Mapping[str, Array] = MappingProxyType(dict(weights))
        self.parameter_count = sum(array.size for array in weights.values())
        self.layers: tuple[LayerInfo, ...] = (
            tuple(self._describe(name) for name in graph.layers) if base is None else base.layers
        )
        self.not_streamable_reason: str = _not_streamable(graph) if base is None else base.not_streamable_reason
        self.streamable = not self.not_streamable_reason
        self.notes = tuple(graph.notes)
        self.declared = tuple(spec for spec, _ in graph.inputs)
        self.inputs = tuple(self._relaxed(spec, place) for spec, place in graph.inputs)
        self.outputs = tuple(
            self._relaxed(TensorSpec(name, graph.values[i].dtype, graph.values[i].shape), i)
            for name, i in graph.outputs
        )
        self.states = tuple(
            TensorSpec(f"{node.name}/{state.name}", state.dtype, (None, *state.shape))
            for node in graph.nodes
            if not node.initial
            for state in node.states
        )
        self._costs: dict[tuple[Any, ...], int] = {} if base is None else base._costs
        self._inputs = {spec.name: spec for spec in self.inputs}
        self._states = {spec.name: spec for spec in self.states}
        self._prepared: dict[str, Any] = {info.name: self._prepare(info, base) for info in self.layers}
        self._steps = tuple(self._step(node, self._prepared[node.layer]) for node in graph.nodes)

    def cost(self, shapes: tuple[tuple[int, ...], ...], *, traced: bool = False) -> int:
        """As `Network.cost`."""
        key = (traced, *shapes)
        found = self._costs.get(key)
        if found is None:
            named = {spec.name: shape for spec, shape in zip(self.inputs, shapes, strict=True)}
            found = cost.elements(self.graph, named, traced=traced)
            if len(self._costs) >= COSTS:
                self._costs.clear()
            self._costs[key] = found
        return found

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`."""
        return self._evaluate(inputs, initial_state or _NO_STATE, None)

    def patched(
        self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None, patches: Sequence[Patch]
    ) -> Result:
        """As `Network.patched`."""
        return self._evaluate(inputs, initial_state or _NO_STATE, None, None, self._hooks(inputs, patches))

    def record(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        patches: Sequence[Patch] = (),
        check: Callable[[], None] | None = None,
    ) -> tuple[Result, list[LayerCall]]:
        """As `Network.record`."""
        calls: list[LayerCall] = []
        records: dict[str, Record] = {step.node.name: {} for step in self._steps}
        hooks = self._hooks(inputs, patches)
        return self._evaluate(inputs, initial_state or _NO_STATE, records, check, hooks, calls), calls

    def trace(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        layers: Collection[str] | None = None,
        check: Callable[[], None] | None = None,
        patches: Sequence[Patch] = (),
    ) -> Trace:
        """As `Network.trace`."""
        known = {step.node.layer for step in self._steps}
        for name in layers or ():
            if name not in known:
                raise InvalidArgumentError(
                    f"layers: no layer named {name!r}; there are: {', '.join(known)}", field="layers"
                )
        records: dict[str, Record] = {
            step.node.name: {} for step in self._steps if not layers or step.node.layer in layers
        }
        result = self._evaluate(inputs, initial_state or _NO_STATE, records, check, self._hooks(inputs, patches))
        classes = {step.node.name: step.layer.CLASS for step in self._steps}
        return Trace(
            tuple(LayerTrace(name, classes[name], record) for name, record in records.items()),
            result.outputs,
            result.final_state,
        )

    def with_weights(self, changes: Mapping[str, Array]) -> "GraphNetwork":
        """As `Network.with_weights`."""
        weights = dict(self.weights)
        for name, value in changes.items():
            old = weights.get(name)
            if old is None:
                raise InvalidArgumentError(
                    f"no weight {name!r}; there are {', '.join(weights)}", field=f"weights[{name}]"
                )
            if value.shape != old.shape or value.dtype != old.dtype:
                raise InvalidArgumentError(
                    f"{name} is {old.dtype.name} of shape {list(old.shape)}, "
                    f"got {value.dtype.name} of {list(value.shape)}",
                    field=f"weights[{name}]",
                )
            if not np.isfinite(value).all():
                raise InvalidArgumentError(f"{name} would hold values that are not finite", field=f"weights[{name}]")
            weights[name] = np.array(value, order="C")
        return GraphNetwork(self.graph, weights, base=self)

    def _hooks(self, inputs: Mapping[str, Array], patches: Sequence[Patch]) -> Mapping[str, Hook]:
        if not patches:
            return _NO_HOOKS
        shapes = {spec.name: inputs[spec.name].shape[1:] for spec in self.inputs}
        return hooks(self.graph, patches, shapes, len(next(iter(inputs.values()))))

    def _evaluate(
        self,
        inputs: Mapping[str, Array],
        initial: Mapping[str, Array],
        records: Mapping[str, Record] | None,
        check: Callable[[], None] | None = None,
        hooks: Mapping[str, Hook] = _NO_HOOKS,
        calls: list[LayerCall] | None = None,
    ) -> Result:
        graph = self.graph
        values: list[Any] = [None] * len(graph.values)
        masks: list[Array | None] = [None] * len(graph.values)
        final: dict[str, Array] = {}
        for spec, place in graph.inputs:
            values[place] = inputs[spec.name]
        with np.errstate(all="ignore"):  # Keras's overflow and NaN are the result here too
            for step in self._steps:
                if check is not None:
                    check()
                node = step.node
                arguments = [values[i] for i in node.inputs]
                for i, dtype in step.casts:
                    arguments[i] = arguments[i].astype(dtype)
                record = None if records is None else records.get(node.name)
                hook = hooks.get(node.name) if hooks else None
                start: States | None = None
                before = _masks(node, values, masks) if node.masked else step.no_masks
                outputs: Any
                seen = before
                try:
                    if step.recurrent:
                        # Keras does not pass on the mask that a tensor carries where states are given in the graph.
                        mask = None if node.initial and node.mask is None else before[0]
                        seen = [mask]
                        start = self._start(step, arguments[0], values, initial)
                        outputs = self._recur(step, arguments[0], mask, start, record, hook, final)
                    else:
                        outputs = step.layer.call(step.weights, arguments, before, record)
                except ValueError as error:
                    raise InvalidArgumentError(
                        f"{step.layer.where}: the inputs do not fit it: {error}", field="inputs"
                    ) from error
                if hook is not None:
                    outputs = _with_output(hook, outputs)
                if type(outputs) is tuple:
                    for place, value in zip(node.outputs, outputs, strict=True):
                        values[place] = value
                else:
                    values[node.outputs[0]] = outputs
                if node.masked and step.layer.PASSES_MASK:
                    after = step.layer.mask(arguments, before)
                    for place, mask in zip(node.outputs, after if type(after) is tuple else (after,), strict=True):
                        masks[place] = mask
                if record is not None:
                    record["output"] = values[node.outputs[0]]
                    if calls is not None:
                        calls.append(
                            LayerCall(
                                node, step.layer, step.named, arguments, seen,
                                [values[place] for place in node.outputs], record, start, hook,
                            )
                        )  # fmt: skip
        return Result({name: values[place] for name, place in graph.outputs}, final)

    def _start(
        self, step: _Step, x: Array, values: Sequence[Array], initial: Mapping[str, Array]
    ) -> tuple[Array, ...] | None:
        """The states that a recurrent layer starts from; None: zeros."""
        node = step.node
        if node.initial:
            return tuple(values[i].astype(s.dtype) for i, s in zip(node.initial, node.states, strict=True))
        if initial and any(name in initial for name in step.states):
            return tuple(
                initial[name] if name in initial else np.zeros((x.shape[0], *spec.shape), spec.dtype)
                for name, spec in zip(step.states, node.states, strict=True)
            )
        return None

    def _recur(
        self,
        step: _Step,
        x: Array,
        mask: Array | None,
        start: States | None,
        record: Record | None,
        hook: Hook | None,
        final: dict[str, Array],
    ) -> tuple[Array, ...]:
        layer, node = step.layer, step.node
        assert isinstance(layer, Recurrent)
        outputs, after = layer.run(step.weights, x, mask, start, record, resumed=not node.initial, hook=hook)
        if not node.initial:
            final.update(zip(step.states, after, strict=True))
        return outputs

    def _step(self, node: Node, weights: Any) -> _Step:
        layer = self.graph.layers[node.layer].layer
        kinds, dtype = layer.cast_kinds(), layer.policy.compute
        types = [self.graph.values[i].dtype for i in node.inputs]
        return _Step(
            node,
            layer,
            weights,
            self.layer_weights(node.layer),
            tuple((i, dtype) for i, kind in enumerate(types) if kind.kind in kinds and kind != dtype),
            (None,) * len(node.inputs),
            () if node.initial else tuple(f"{node.name}/{state.name}" for state in node.states),
            isinstance(layer, Recurrent),
        )

    def _prepare(self, info: LayerInfo, base: "GraphNetwork | None") -> Any:
        """The weights of a layer as it wants them: those of `base`, where they are the same."""
        if base is not None and all(self.weights[name] is base.weights[name] for name in info.weights):
            return base._prepared[info.name]
        return self.graph.layers[info.name].layer.prepare(self.layer_weights(info.name))

    def _describe(self, name: str) -> LayerInfo:
        entry = self.graph.layers[name]
        names = tuple(f"{name}/{spec.name}" for spec in entry.weights)
        return LayerInfo(
            name,
            entry.layer.CLASS,
            entry.output,
            sum(self.weights[n].size for n in names),
            names,
            entry.layer.in_equations(),
        )

    def _relaxed(self, spec: TensorSpec, place: int) -> TensorSpec:
        """An input or output as it is served: where timesteps may come in pieces, their number is free."""
        if self.streamable and self.graph.values[place].time is Time.SEQUENCE:
            return TensorSpec(spec.name, spec.dtype, (None, None, *spec.shape[2:]))
        return spec


def _with_output(hook: Hook, outputs: Any) -> Any:
    """What a layer gives, its first output patched."""
    if type(outputs) is tuple:
        return (hook.output(outputs[0]), *outputs[1:])
    return hook.output(outputs)


def _masks(node: Node, values: Sequence[Any], masks: Sequence[Array | None]) -> Sequence[Array | None]:
    if node.mask is not None:
        return (values[node.mask],) * len(node.inputs)
    return [None if i in node.bare else masks[i] for i in node.inputs]


def _not_streamable(graph: Graph) -> str:
    """Why timesteps cannot be fed in pieces; empty if they can."""
    if not any(graph.values[place].time is Time.SEQUENCE for _, place in graph.inputs):
        return "it has no input of timesteps"
    needed = {place for _, place in graph.outputs}
    reason = ""
    for node in reversed(graph.nodes):  # from the outputs back; the last found is the first to look at all timesteps
        if needed.isdisjoint(node.outputs):
            continue
        needed.update(node.inputs, node.initial)
        if any(graph.values[i].time is Time.WHOLE for i in node.outputs):
            layer = graph.layers[node.layer].layer
            why = "starts from states that the graph gives it" if node.initial else layer.not_streamable()
            reason = f"{layer.where} {why}"
    return reason
