"""The ONNX Runtime engine, for heavy networks: the network as an ONNX graph with native RNN, GRU and LSTM.

Covers graphs of the layers in `onnx_layers`, in float32, without masks. The states are inputs and outputs of the graph.
Neither TensorFlow nor an exporter takes part.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.model.engines.onnx_builder import Builder, Value
from service.model.engines.onnx_format import TENSOR_TYPES, Model
from service.model.engines.onnx_layers import layer_values
from service.model.layers.embedding import Embedding, check_ids
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
        self._states = [(spec.name, spec.shape[1] or 0, spec.dtype) for spec in network.states]
        self._ids = [(name, layer.where, layer.options["input_dim"]) for name, layer in network.tables]

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`, within the bound of the proof."""
        feed = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        for name, where, count in self._ids:
            check_ids(where, feed[name].astype(np.int64), count)
        given = initial_state or {}
        batch = len(feed[self._inputs[0]])
        for name, units, dtype in self._states:
            feed[name] = given[name] if name in given else np.zeros((batch, units), dtype)
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
    builder = Builder(network)
    values: dict[int, Value] = {}
    for spec, (_, place) in zip(network.inputs, graph.inputs, strict=True):
        if spec.dtype != FLOAT and (spec.name not in network.vocabulary or spec.dtype not in TENSOR_TYPES):
            return None
        builder.model.input(spec.name, spec.dtype, spec.shape)
        values[place] = Value(spec.name, spec.shape)
    ids = {place for spec, place in graph.inputs if spec.name in network.vocabulary}
    for node in graph.nodes:
        layer = graph.layers[node.layer].layer
        looked_up = isinstance(layer, Embedding)
        if node.masked or any(graph.values[place].dtype != FLOAT for place in node.outputs):
            return None
        if looked_up != bool(ids & {*node.inputs}):  # ids go into tables, nothing else does
            return None
        given, initial = ([values[place] for place in places] for places in (node.inputs, node.initial))
        made = layer_values(builder, node.name, layer, given, initial)
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


def _output(model: Model, value: str, name: str, shape: tuple[int | None, ...]) -> None:
    model.rename(value, name)
    model.output(name, FLOAT, shape)
