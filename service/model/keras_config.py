"""Builds a graph from a Keras config."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model import taken_masks
from service.model.graph import Graph
from service.model.layers import make_layer
from service.model.layers.base import Layer
from service.model.layers.categories import Lookup
from service.model.layers.config import layer_policy, parse_shape, unwrap
from service.model.layers.options import parse, shown
from service.model.limits import ReadLimits
from service.model.naming import Counter
from service.model.templates import (
    CallKey,
    CallTemplate,
    Functional,
    Member,
    Said,
    Sequential,
    Source,
    Template,
    sources_in,
)
from service.model.tensors import INPUT_DTYPES, Shape

FUNCTIONAL = {"Functional", "Model"}
MODELS = {"Sequential", *FUNCTIONAL}


def build(document: Any, limits: ReadLimits, asset: Callable[[str], bytes | None] | None = None) -> Graph:
    """The graph of a config.json; `asset` gives the bytes of a file beside it.

    Raises UnsupportedModelError for what is not supported, CorruptModelError for what contradicts itself,
    LimitExceededError for what is too large.
    """
    check_class(document)
    name, class_name, config = unwrap(document, "the model")
    graph = Graph(name, limits)
    if asset is not None:
        graph.asset = asset
    if class_name == "Sequential":
        template: Template = sequential(graph, config, "", "layers", 0)
        places = [graph.input(*_sequential_input(name, config, document))]
    else:
        functional_template = functional(graph, config, "", "layers", 0)
        template = functional_template
        places = [graph.input(*functional_template.inputs[key]) for key in functional_template.input_order]
    names = [spec.name for spec, _ in graph.inputs]
    if not names or len(set(names)) < len(names):
        raise CorruptModelError("the model has no inputs, or two of one name")
    graph.outputs = _named(graph, template.call(graph, places))
    return graph


def check_class(document: Any) -> None:
    """Whether a config is of a model that is read; what else it holds may be anything where people made the class."""
    class_name = document.get("class_name") if isinstance(document, dict) else None
    if isinstance(class_name, str) and class_name not in MODELS:
        raise UnsupportedModelError(
            f"the model is a {shown(class_name)}; expected Sequential or Functional", layer_class=shown(class_name)
        )


def sequential(graph: Graph, config: Mapping[str, Any], prefix: str, folder: str, depth: int) -> Sequential:
    """The layers of a Sequential; a leading InputLayer has no folder in the H5 file."""
    name = f"model {prefix or graph.name}"
    members: dict[str, Member] = {}
    count = Counter()
    for i, document in enumerate(_documents(graph, config, name)):
        layer_name, class_name, _ = unwrap(document, f"layer {i} of {name}")
        if class_name == "InputLayer":
            if i:
                raise CorruptModelError(f"{name}: an InputLayer stands at place {i}, not first")
            continue
        if layer_name in members:
            raise CorruptModelError(f"{name}: two layers are named {layer_name}")
        members[layer_name] = make_member(graph, document, prefix, f"{folder}/{count(class_name)}", depth)
    return Sequential(prefix.rstrip("/") or graph.name, tuple(members.values()))


def functional(graph: Graph, config: Mapping[str, Any], prefix: str, folder: str, depth: int) -> Functional:
    """The layers, operations and wires of a functional model."""
    name = f"model {prefix or graph.name}"
    inputs: dict[str, tuple[str, Shape, str]] = {}
    members: dict[str, Member | None] = {}
    calls: dict[CallKey, CallTemplate] = {}
    models: set[str] = set()
    count = Counter()
    for document in _documents(graph, config, name):
        layer_name, class_name, own = unwrap(document, f"a layer of {name}")
        if layer_name in members:
            raise CorruptModelError(f"{name}: two layers are named {layer_name}")
        nodes = document.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise CorruptModelError(f"layer {layer_name}: inbound_nodes is not a list")
        if class_name == "InputLayer":
            inputs[layer_name] = input_layer(document)
            members[layer_name] = None
            count(class_name)
            continue
        if str(document.get("module", "")).startswith("keras.src.ops"):
            members[layer_name] = None
        else:
            members[layer_name] = make_member(graph, document, prefix, f"{folder}/{count(class_name)}", depth)
        if class_name in FUNCTIONAL:
            models.add(layer_name)
        if len(calls) + len(nodes) > graph.limits.calls:
            raise LimitExceededError(f"more than {graph.limits.calls} calls of layers", limit=graph.limits.calls)
        options = {key: value for key, value in own.items() if key != "name"}
        for i, node in enumerate(nodes):
            calls[layer_name, i] = _call(node, (layer_name, i), members[layer_name], class_name, options)
    order = tuple(input_name for (input_name, _), _ in _wires(config.get("input_layers"), name))
    if sorted(order) != sorted(inputs):
        raise CorruptModelError(f"{name}: its inputs are not its input layers")
    # Keras counts a model's own graph as its first call, when it names the outputs of the outer model.
    outputs = tuple(
        Source((layer, call - (layer in models)), tensor)
        for (layer, call), tensor in _wires(config.get("output_layers"), name)
    )
    for source in [*outputs, *(source for call in calls.values() for source in call.sources())]:
        if source.key not in calls and not (source.key[1] == 0 and source.key[0] in inputs):
            raise CorruptModelError(f"{name}: call {source.key[1]} of layer {shown(source.key[0])} does not exist")
    ordered = _ordered(calls, outputs, name)
    return Functional(
        prefix.rstrip("/") or graph.name, prefix, inputs, order, ordered, outputs, taken_masks.earlier(ordered)
    )


def make_member(graph: Graph, document: Any, prefix: str, folder: str, depth: int) -> Member:
    """A layer or a model from its config."""
    name, class_name, config = unwrap(document, "a layer")
    if class_name not in MODELS:
        layer = make_layer(document, prefix=prefix)
        if isinstance(layer, Lookup) and layer.needs_asset():
            layer.load(_words(layer, graph.asset(f"{folder}/{Lookup.TABLE}")))
        return Member(layer, folder)
    if depth >= graph.limits.depth:
        raise LimitExceededError(
            f"models inside each other, deeper than {graph.limits.depth}", limit=graph.limits.depth, actual=depth + 1
        )
    make = sequential if class_name == "Sequential" else functional
    return Member(make(graph, config, f"{prefix}{name}/", f"{folder}/layers", depth + 1), folder)


def _words(layer: Lookup, data: bytes | None) -> list[Any]:
    """The lines of a vocabulary, as Keras reads them."""
    if data is None:
        raise layer.corrupt(f"its vocabulary is neither in the config nor in the file ({Lookup.TABLE})")
    try:
        lines = data.decode("utf-8").splitlines()
        while lines and not lines[-1]:
            lines.pop()
        return layer.parse_words(lines)
    except ValueError as error:  # UnicodeDecodeError is one
        raise layer.corrupt("its vocabulary cannot be read") from error


def input_layer(document: Any) -> tuple[str, Shape, str]:
    """Name, shape and type of an InputLayer."""
    name, _, config = unwrap(document, "an input")
    where = f"layer {name} (InputLayer)"
    for key in ("sparse", "ragged", "optional"):
        if config.get(key):
            advice = "pad its sequences, and mask the padding" if key == "ragged" else "give it dense arrays"
            raise UnsupportedModelError(
                f"{where}: {key}=True is not supported" + (f"; {advice}" if key != "optional" else ""),
                layer=name,
                option=key,
                code=True,
            )
    dtype = config.get("dtype", "float32")
    if isinstance(dtype, dict):
        dtype = layer_policy(dtype, where).compute.name
    if not isinstance(dtype, str) or dtype not in INPUT_DTYPES:
        raise UnsupportedModelError(
            f"{where}: dtype={shown(dtype)} is not supported; expected one of {', '.join(INPUT_DTYPES)}",
            layer=name,
            option="dtype",
        )
    return name, parse_shape(config.get("batch_shape", config.get("batch_input_shape")), where), dtype


def _sequential_input(name: str, config: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[str, Shape, str]:
    """The input of a Sequential: its InputLayer, or (built by its first call) the shape next to the layers."""
    layers = config["layers"]
    if layers and unwrap(layers[0], f"the first layer of model {name}")[1] == "InputLayer":
        return input_layer(layers[0])
    built = document.get("build_config")
    shape = config.get("build_input_shape") or (built.get("input_shape") if isinstance(built, dict) else None)
    if shape is None:
        raise UnsupportedModelError(f"model {name} was saved before it was built: its input shape is not known")
    return "input", parse_shape(shape, "the model's input"), "float32"


def _documents(graph: Graph, config: Mapping[str, Any], where: str) -> Iterator[Any]:
    layers = config.get("layers")
    if not isinstance(layers, list):
        raise CorruptModelError(f"{where} has no list of layers")
    if len(layers) > graph.limits.layers:
        raise LimitExceededError(
            f"{where} has {len(layers)} layers, the limit is {graph.limits.layers}",
            limit=graph.limits.layers,
            actual=len(layers),
        )
    yield from layers


def _call(node: Any, key: CallKey, member: Member | None, kind: str, options: Mapping[str, Any]) -> CallTemplate:
    """A call of a layer, a model or an operation: its tensors, mask, initial states, and what else it says."""
    layer = key[0]
    if (
        not isinstance(node, dict)
        or not isinstance(node.get("args"), list)
        or not isinstance(node.get("kwargs", {}), dict)
    ):
        raise UnsupportedModelError(f"layer {layer}: a call of it is written in a form that Keras 3 does not use")
    arguments = [_argument(value, layer, 0) for value in node["args"]]
    named = {name: _argument(value, layer, 0) for name, value in node.get("kwargs", {}).items() if value is not None}
    named.pop("training", None)
    said = None
    if member is not None and isinstance(member.part, Layer) and member.part.ROLES:
        arguments, said = _said(member.part, arguments, named)
    mask, initial = named.pop("mask", None), named.pop("initial_state", None)
    if named:
        raise UnsupportedModelError(
            f"layer {layer}: a call of it has the argument {shown(min(named))}, which is not supported"
        )
    if mask is not None and not isinstance(mask, Source):
        found = list(sources_in([mask]))  # a list of masks, one for each input, or none
        if found:
            raise UnsupportedModelError(f"layer {layer}: a call of it has several masks")
        mask = None
    return CallTemplate(key, member, kind, options, arguments, mask, tuple(sources_in([initial])), said)


def _said(layer: Layer, arguments: Sequence[Any], named: dict[str, Any]) -> tuple[list[Source], Said]:
    """The tensors of a call with their roles, and its options; takes them out of `named`.

    Keras calls such a layer on tensors one by one, or on one list of them with a list of masks.
    """
    listed = len(arguments) == 1 and isinstance(arguments[0], list)
    tensors = dict(zip(layer.ROLES, arguments[0] if listed else arguments, strict=False))
    if isinstance(named.get("mask"), list):
        tensors |= {f"{role}_mask": mask for role, mask in zip(layer.ROLES, named.pop("mask"), strict=False)}
    tensors |= {role: named.pop(role) for role in layer.ROLES if role in named}
    roles = {role: tensor for role, tensor in tensors.items() if tensor is not None}
    if (
        not all(isinstance(tensor, Source) for tensor in roles.values())
        or not roles.keys() <= set(layer.ROLES)
        or len(arguments[0] if listed else arguments) > len(layer.ROLES)
    ):
        raise layer.unsupported("a call of it has arguments that are not supported")
    given = {name: named.pop(name) for name in layer.CALL if name in named}
    return list(roles.values()), Said(tuple(roles), parse(given, layer.CALL, layer.where, ()))


def _argument(value: Any, layer: str, depth: int) -> Any:
    """An argument of a call with `Source`s in place of tensors."""
    if depth > 4:
        raise UnsupportedModelError(f"layer {layer}: an argument of a call is nested too deeply")
    if isinstance(value, list):
        return [_argument(part, layer, depth + 1) for part in value]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        return _source(config.get("keras_history") if isinstance(config, dict) else None, f"layer {layer}")
    if isinstance(value, dict) and "class_name" not in value:  # tensors by name; Keras flattens them by sorted keys
        return [_argument(value[key], layer, depth + 1) for key in sorted(value)]
    return value


def _source(history: Any, where: str) -> Source:
    if (
        not isinstance(history, list)
        or len(history) != 3
        or not isinstance(history[0], str)
        or not all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in history[1:])
    ):
        raise CorruptModelError(f"{where}: {shown(history)} does not name a tensor")
    return Source((history[0], history[1]), history[2])


def _wires(value: Any, where: str, depth: int = 0) -> list[tuple[CallKey, int]]:
    """The inputs or outputs of a model: [layer, call, tensor], or a list or object of these."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        source = _source(value, where)
        return [(source.key, source.tensor)]
    if depth > 4 or not isinstance(value, list | dict):
        raise CorruptModelError(f"{where}: {shown(value)} does not name inputs or outputs")
    parts = value if isinstance(value, list) else [value[key] for key in sorted(value)]
    return [wire for part in parts for wire in _wires(part, where, depth + 1)]


def _ordered(calls: Mapping[CallKey, CallTemplate], outputs: Sequence[Source], where: str) -> tuple[CallTemplate, ...]:
    """The calls that the outputs need, each after what it needs, else in the order of the config. Refuses cycles."""
    needed: set[CallKey] = set()
    left = [source.key for source in outputs]
    while left:
        key = left.pop()
        if key in calls and key not in needed:
            needed.add(key)
            left += [source.key for source in calls[key].sources()]
    rank = {key: i for i, key in enumerate(calls)}
    waiting = {key: {s.key for s in calls[key].sources() if s.key in calls} for key in needed}
    users: dict[CallKey, list[CallKey]] = {}
    for key, sources in waiting.items():
        for source in sources:
            users.setdefault(source, []).append(key)
    ready = [rank[key] for key, sources in waiting.items() if not sources]
    heapq.heapify(ready)
    keys, order = list(calls), []
    while ready:
        key = keys[heapq.heappop(ready)]
        order.append(calls[key])
        for user in users.get(key, []):
            waiting[user].discard(key)
            if not waiting[user]:
                heapq.heappush(ready, rank[user])
    if len(order) < len(needed):
        raise CorruptModelError(f"{where}: its layers form a cycle")
    return tuple(order)


def _named(graph: Graph, places: Sequence[int]) -> list[tuple[str, int]]:
    """Outputs by the name of the layer that makes them; further outputs of one layer are numbered."""
    makers = {place: (node.name, i) for node in graph.nodes for i, place in enumerate(node.outputs)}
    makers |= {place: (spec.name, 0) for spec, place in graph.inputs}
    named: dict[str, int] = {}
    for place in places:
        name, i = makers[place]
        name = f"{name}/{i}" if i else name
        if name in named:
            raise UnsupportedModelError(f"the output of layer {name} is an output twice")
        named[name] = place
    if not named:
        raise CorruptModelError("the model has no output")
    return list(named.items())
