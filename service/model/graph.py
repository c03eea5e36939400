"""From Keras's config to a graph: which layer is called on which values, with nested models written out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.layers import LAYERS
from service.model.layers.base import Built, Layer, StateSpec, WeightSpec
from service.model.layers.options import MAX_EXTENT, parse, shown
from service.model.layers.recurrent import Recurrent
from service.model.limits import ReadLimits
from service.model.naming import Counter
from service.model.tensors import INPUT_DTYPES, POLICIES, Policy, Shape, Tensor, TensorSpec, Time

# What stands beside a layer's own options in its config.
COMMON = {"name", "trainable", "dtype", "batch_input_shape", "input_shape"}
MODELS = {"Sequential", "Functional", "Model"}


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
        # (batch, time, …); a matrix of integers is a sequence of ids, a matrix of floats has no time.
        time = Time.SEQUENCE if len(shape) > 2 or (len(shape) == 2 and kind.kind == "i") else Time.LATEST
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
    ) -> tuple[int, ...]:
        """A call of a layer on values; gives the places of its outputs."""
        if len(self.nodes) >= self.limits.calls:
            raise LimitExceededError(
                f"more than {self.limits.calls} calls of layers", limit=self.limits.calls, actual=len(self.nodes) + 1
            )
        if not layer.MANY_INPUTS and len(inputs) != 1:
            raise layer.unsupported(f"expected one input, got {len(inputs)}")
        built = layer.build([self.values[i] for i in inputs])
        calls = sum(node.layer == layer.name for node in self.nodes)
        known = self.layers.get(layer.name)
        if known is None:
            self._new_layer(layer, folder, built)
        elif known.weights != built.weights:
            raise layer.corrupt("two calls of it need weights of different shapes")
        if initial and (
            not isinstance(layer, Recurrent)
            or [self.values[i].shape[1:] for i in initial] != [(state.units,) for state in built.states]
        ):
            raise layer.unsupported("its initial states do not fit")
        masked = layer.makes_mask() or mask is not None or any(self.may_mask[i] for i in inputs)
        passes = masked and layer.PASSES_MASK
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
            )
        )
        return outputs

    def _new_layer(self, layer: Layer, folder: str, built: Built) -> None:
        if len(self.layers) >= self.limits.layers:
            raise LimitExceededError(
                f"more than {self.limits.layers} layers", limit=self.limits.layers, actual=len(self.layers) + 1
            )
        self.layers[layer.name] = Entry(layer, built.weights, folder, built.outputs[0].shape)
        if layer.options.get("stateful"):
            self.notes.append(f"{layer.where}: stateful=True is served statelessly; pass states with the call instead")


def build(document: Any, limits: ReadLimits) -> Graph:
    """The graph of a config.json.

    Raises UnsupportedModelError for what is not supported, CorruptModelError for what contradicts itself,
    LimitExceededError for what is too large.
    """
    name, class_name, config = unwrap(document, "the model")
    if class_name not in MODELS:
        raise UnsupportedModelError(
            f"the model is a {shown(class_name)}; expected Sequential or Functional", layer_class=shown(class_name)
        )
    graph = Graph(name, limits)
    if class_name == "Sequential":
        _sequential_root(graph, config, document)
    else:
        _functional_root(graph, config)
    if not graph.outputs:
        raise CorruptModelError("the model has no output")
    if not graph.inputs:
        raise CorruptModelError("the model has no input")
    names = [spec.name for spec, _ in graph.inputs]
    if len(set(names)) < len(names):
        raise CorruptModelError("two inputs have one name")
    return graph


def unwrap(document: Any, what: str) -> tuple[str, str, Mapping[str, Any]]:
    """Name, class and config out of {"class_name": …, "config": {"name": …, …}}.

    Raises CorruptModelError where it is not that, UnsupportedModelError where the class is not Keras's own.
    """
    if not isinstance(document, dict):
        raise CorruptModelError(f"{what}: expected an object, got {shown(document)}")
    class_name, config = document.get("class_name"), document.get("config")
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise CorruptModelError(f"{what}: expected an object with class_name and config")
    name = config.get("name", document.get("name"))
    if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
        raise CorruptModelError(f"{what}: the name {shown(name)} is not one")
    module, registered = document.get("module"), document.get("registered_name")
    foreign = module is not None and not (
        isinstance(module, str) and (module == "keras" or module.startswith("keras."))
    )
    if foreign or (registered is not None and registered not in {class_name, "Functional", "Sequential"}):
        raise UnsupportedModelError(
            f"layer {name} ({shown(class_name)}): a class of {shown(module)} cannot be loaded: "
            "custom layers are code, and nothing from a file is executed",
            layer=name,
            layer_class=shown(class_name),
        )
    return name, class_name, config


@dataclass
class Template:
    """A model inside the model (or the model itself), whose layers are made once and called any number of times."""

    name: str
    members: "dict[str, Member]"

    def call(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """The model on values; gives the places of its outputs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Member:
    """A layer of a model, or a model in it, with its folder in the H5 file."""

    part: Layer | Template
    folder: str


class Sequential(Template):
    """Layers in a row."""

    def call(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """Each on the output of the one before."""
        places = list(inputs)
        for member in self.members.values():
            if len(places) != 1:
                raise UnsupportedModelError(f"model {self.name}: a layer in a row has {len(places)} outputs")
            places = list(call(graph, member, places))
        return places


def call(
    graph: Graph, member: Member, inputs: Sequence[int], mask: int | None = None, initial: Sequence[int] = ()
) -> Sequence[int]:
    """A layer, or a model written out, on values."""
    if isinstance(member.part, Layer):
        return graph.call(member.part, member.folder, inputs, mask, initial)
    if mask is not None or initial:
        raise UnsupportedModelError(f"model {member.part.name}: is called with a mask or a state of its own")
    return member.part.call(graph, inputs)


def _sequential_root(graph: Graph, config: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    documents = list(_documents(config, f"model {graph.name}"))
    first = documents[0] if documents else None
    if first is not None and isinstance(first, dict) and first.get("class_name") == "InputLayer":
        name, shape, dtype = input_layer(first)
        place = graph.input(name, shape, dtype)
    else:  # built by its first call: the shape stands beside the layers
        build_config = document.get("build_config")
        given = config.get("build_input_shape") or (
            build_config.get("input_shape") if isinstance(build_config, dict) else None
        )
        if given is None:
            raise UnsupportedModelError(
                f"model {graph.name} was saved before it was built: its input shape is not known"
            )
        place = graph.input("input", parse_shape(given, "the model's input"), "float32")
    outputs = sequential(graph, config, "", "layers", graph.name, 0).call(graph, [place])
    graph.outputs = output_names(graph, outputs)


def sequential(graph: Graph, config: Mapping[str, Any], prefix: str, folder: str, name: str, depth: int) -> Sequential:
    """The layers of a Sequential; a leading InputLayer has no folder in the H5 file."""
    members: dict[str, Member] = {}
    count = Counter()
    for i, document in enumerate(_documents(config, f"model {name}")):
        layer_name, class_name, _ = unwrap(document, f"layer {i} of model {name}")
        if class_name == "InputLayer":
            if i:
                raise CorruptModelError(f"model {name}: an InputLayer stands at place {i}, not first")
            continue
        if layer_name in members:
            raise CorruptModelError(f"model {name}: two layers are named {layer_name}")
        members[layer_name] = member(graph, document, prefix, f"{folder}/{count(class_name)}", depth)
    return Sequential(name, members)


def member(graph: Graph, document: Any, prefix: str, folder: str, depth: int) -> Member:
    """A layer or a model from its config."""
    name, class_name, config = unwrap(document, "a layer")
    if depth >= graph.limits.depth:
        raise LimitExceededError(
            f"models inside each other, deeper than {graph.limits.depth}", limit=graph.limits.depth, actual=depth + 1
        )
    if class_name == "Sequential":
        return Member(
            sequential(graph, config, f"{prefix}{name}/", f"{folder}/layers", f"{prefix}{name}", depth + 1), folder
        )
    return Member(make_layer(document, prefix), folder)


def make_layer(document: Any, prefix: str) -> Layer:
    """A layer from its config, its options checked. Raises UnsupportedModelError naming layer, class and option."""
    name, class_name, config = unwrap(document, "a layer")
    kind = LAYERS.get(class_name)
    where = f"layer {prefix}{name} ({shown(class_name)})"
    if kind is None:
        raise UnsupportedModelError(
            f"{where}: the class is not supported; `unroll check` lists what is",
            layer=name,
            layer_class=shown(class_name),
        )
    options = parse(config, kind.OPTIONS, where, COMMON)
    return kind(f"{prefix}{name}", layer_policy(config.get("dtype"), where), options)


def output_names(graph: Graph, places: Sequence[int]) -> list[tuple[str, int]]:
    """Outputs by the name of the layer that makes them; further outputs of one layer are numbered."""
    makers = {place: (node.name, i) for node in graph.nodes for i, place in enumerate(node.outputs)}
    makers |= {place: (spec.name, 0) for spec, place in graph.inputs}
    named: dict[str, int] = {}
    for place in places:
        name, i = makers[place]
        name = name if i == 0 else f"{name}/{i}"
        if name in named:
            raise UnsupportedModelError(f"the output of layer {name} is given out twice")
        named[name] = place
    return list(named.items())


def input_layer(document: Any) -> tuple[str, Shape, str]:
    """Name, shape and type of an InputLayer."""
    name, _, config = unwrap(document, "an input")
    where = f"layer {name} (InputLayer)"
    for key in ("sparse", "ragged", "optional"):
        if config.get(key):
            raise UnsupportedModelError(f"{where}: {key}=True is not supported", layer=name, option=key)
    dtype = config.get("dtype", "float32")
    if isinstance(dtype, dict):
        dtype = layer_policy(dtype, where).compute.name
    if not isinstance(dtype, str) or dtype not in INPUT_DTYPES:
        raise UnsupportedModelError(
            f"{where}: dtype={shown(dtype)} is not supported; expected one of {', '.join(INPUT_DTYPES)}",
            layer=name,
            option="dtype",
        )
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    return name, parse_shape(shape, where), dtype


def parse_shape(value: Any, where: str) -> Shape:
    """A shape out of a config, its batch axis set free."""
    if not isinstance(value, list) or not value or len(value) > 32:
        raise CorruptModelError(f"{where}: {shown(value)} is not a shape")
    for extent in value:
        if extent is not None and (
            isinstance(extent, bool) or not isinstance(extent, int) or not 0 < extent <= MAX_EXTENT
        ):
            raise CorruptModelError(f"{where}: {shown(value)} is not a shape")
    return (None, *value[1:])


def layer_policy(value: Any, where: str) -> Policy:
    """Keras's dtype policy out of a config: a name, or an object around one."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else None
    if value is None:
        value = "float32"
    if not isinstance(value, str) or value not in POLICIES:
        raise UnsupportedModelError(
            f"{where}: dtype={shown(value)} is not supported; expected one of {', '.join(POLICIES)}", option="dtype"
        )
    return POLICIES[value]


def _documents(config: Mapping[str, Any], where: str) -> Iterator[Any]:
    layers = config.get("layers")
    if not isinstance(layers, list):
        raise CorruptModelError(f"{where}: has no list of layers")
    yield from layers


def _functional_root(graph: Graph, config: Mapping[str, Any]) -> None:
    raise UnsupportedModelError("functional models are not supported yet")
