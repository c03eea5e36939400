"""The cost of a forward pass, computed from the shapes of its inputs. A server bounds it before it begins."""

from collections.abc import Mapping
from dataclasses import replace

from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model.graph import Graph
from service.model.tensors import Tensor


def elements(graph: Graph, shapes: Mapping[str, tuple[int, ...]], *, traced: bool) -> int:
    """Elements of all tensors that layers make of one sequence; of a batch it is so many times as many.

    shapes: of each input of the graph, without the batch. traced: whether all is kept that a trace shows.

    Raises InvalidArgumentError for shapes that a layer cannot take.
    """
    values = known(graph, shapes)
    total = 0
    for node in graph.nodes:
        layer = graph.layers[node.layer].layer
        inputs, outputs = ([values[i] for i in places] for places in (node.inputs, node.outputs))
        total += sum(y.elements for y in outputs) + layer.workspace(inputs, outputs, traced=traced)
    return total


def known(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """The values of a graph with the extents that they have for such inputs. Arguments and errors as `elements`."""
    values = list(graph.values)
    for spec, place in graph.inputs:
        values[place] = replace(values[place], shape=(None, *shapes[spec.name]))
    for node in graph.nodes:
        try:
            built = graph.layers[node.layer].layer.build([values[i] for i in node.inputs])
        except UnsupportedModelError as error:
            raise InvalidArgumentError(f"inputs: {error.message}", field="inputs") from error
        for place, tensor in zip(node.outputs, built.outputs, strict=True):
            values[place] = tensor
    return values
