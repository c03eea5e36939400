"""The ONNX Runtime engine, for heavy networks: the network as an ONNX graph with native RNN, GRU and LSTM.

Covers graphs of the layers in `onnx_layers`, in float32. The states are inputs and outputs of the graph.
Neither TensorFlow nor an exporter takes part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.model.engines import onnx_masks
from service.model.engines.onnx_builder import Builder, Value
from service.model.engines.onnx_format import TENSOR_TYPES, Model
from service.model.engines.onnx_layers import layer_values
from service.model.graph import Graph, Node
from service.model.layers.base import Layer
from service.model.layers.embedding import Embedding, check_ids
from service.model.layers.operations import Operation
from service.model.network import Network
from service.model.results import Result
from service.model.tensors import Array

FLOAT = np.dtype(np.float32)


class OnnxRuntimeEngine:
    """A network in ONNX Runtime, one thread."""

    name = "onnxruntime"

    def __init__(self, network: Network, session: Any) -> None:
        self._run = session.run
        self._network = network
        self._fetched = [value.name for value in session.get_outputs()]
        self._inputs = [spec.name for spec in network.inputs]
        self._outputs = [spec.name for spec in network.outputs]
        self._states = [
            (spec.name, tuple(extent or 0 for extent in spec.shape[1:]), spec.dtype) for spec in network.states
        ]
        self._ids = [(name, layer.where, layer.options["input_dim"]) for name, layer in network.tables]

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`, within the bound of the proof."""
        feed = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        for name, where, count in self._ids:
            check_ids(where, feed[name].astype(np.int64), count)
        given = initial_state or {}
        batch = len(feed[self._inputs[0]])
        for name, shape, dtype in self._states:
            feed[name] = given[name] if name in given else np.zeros((batch, *shape), dtype)
        try:
            found = iter(self._run(self._fetched, feed))
        except Exception:
            self._network.forward(inputs, initial_state)  # which says what does not fit, and where
            raise
        outputs = {name: next(found) for name in self._outputs}
        return Result(outputs, {name: next(found) for name, _, _ in self._states})


def make(network: Network) -> OnnxRuntimeEngine | None:
    """The engine; None where the network has what it does not cover, or onnxruntime is not installed."""
    model = build(network)
    if model is None:
        return None
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.log_severity_level = 4  # inputs that do not fit are reported to the caller
    session = onnxruntime.InferenceSession(model.serialized(), options, providers=["CPUExecutionProvider"])
    return OnnxRuntimeEngine(network, session)


def build(network: Network) -> Model | None:
    """The network as an ONNX graph; None where it has what is not covered."""
    graph = network.graph
    if any(array.dtype != FLOAT for array in network.weights.values()):
        return None
    if any(graph.values[place].dtype != FLOAT for _, place in graph.outputs):
        return None
    builder = Builder(network)
    values: dict[int, Value] = {}
    for spec, (_, place) in zip(network.inputs, graph.inputs, strict=True):
        if spec.dtype != FLOAT and (spec.name not in network.vocabulary or spec.dtype not in TENSOR_TYPES):
            return None
        builder.model.input(spec.name, spec.dtype, spec.shape)
        values[place] = Value(spec.name, spec.shape)
    ids = {place for spec, place in graph.inputs if spec.name in network.vocabulary}
    for node in graph.nodes:
        made = _called(builder, graph, node, values, ids)
        if made is None:
            return None
        for place, value in zip(node.outputs, made, strict=True):
            values[place] = value._replace(shape=graph.values[place].shape)
    # A value may not have the name of an input, and states go in and come out: what comes out is known by its place.
    for spec, (_, place) in zip(network.outputs, graph.outputs, strict=True):
        _output(builder.model, builder.batch_major(values[place]), f"output {spec.name}", spec.shape)
    for spec in network.states:
        _output(builder.model, builder.finals[spec.name], f"final {spec.name}", spec.shape)
    return builder.model


def _called(b: Builder, graph: Graph, node: Node, values: Mapping[int, Value], ids: set[int]) -> Sequence[Value] | None:
    """The outputs of one call of a layer; None where it is not covered. `ids`: the inputs that go into tables."""
    layer, given = graph.layers[node.layer].layer, [values[place] for place in node.inputs]
    kinds = [graph.values[place].dtype for place in node.inputs]
    if isinstance(layer, Operation) and graph.values[node.outputs[0]].dtype == bool:
        truths = onnx_masks.operation(b, layer, given[0], kinds[0])
        return truths and [truths]
    if bool in kinds or any(graph.values[place].dtype != FLOAT for place in node.outputs):
        return None
    if isinstance(layer, Embedding) == ids.isdisjoint(node.inputs):  # ids go into tables, nothing else does
        return None
    mask = _mask(graph, node, values)
    if mask is None:
        return None
    # Keras does not pass on the mask that a tensor carries where the graph names the states.
    goes_by = "" if node.initial and node.mask is None else mask
    made = layer_values(
        b, node.name, layer, [x._replace(mask=goes_by) for x in given], [values[place] for place in node.initial]
    )
    return made if made is None or layer.makes_mask() else _masked(layer, made, mask)


def _mask(graph: Graph, node: Node, values: Mapping[int, Value]) -> str | None:
    """The mask of the inputs of a call, empty if none has one; None where they differ, or it is of another rank."""
    if node.mask is not None:
        return values[node.mask].name if graph.values[node.mask].rank == 2 else None
    masks = {"" if place in node.bare else values[place].mask for place in node.inputs}
    return masks.pop() if len(masks) == 1 else None


def _masked(layer: Layer, made: Sequence[Value], mask: str) -> list[Value]:
    """What a layer gives, with the masks that it passes on."""
    hand_on: Any = layer.mask  # which only hands on what it is given, where it makes none
    passed = hand_on([], [mask]) if mask and layer.PASSES_MASK else None
    masks = passed if isinstance(passed, tuple) else (passed, *[None] * (len(made) - 1))
    return [value._replace(mask=found or "") for value, found in zip(made, masks, strict=True)]


def _output(model: Model, value: str, name: str, shape: tuple[int | None, ...]) -> None:
    model.rename(value, name)
    model.output(name, FLOAT, shape)
