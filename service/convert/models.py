"""Whole models of Keras 2 written for Keras 3: the layers by the rules, the wires between them, and their names."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from service.convert.rules import Old, apply, opened
from service.convert.source import Source
from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.keras_config import MODELS
from service.model.layers.options import shown
from service.model.limits import ReadLimits

MODULES = {"Sequential": "keras", "Functional": "keras.src.models.functional"}
WRAPPED = ("layer", "backward_layer", "cell")  # what holds another layer in its config
STATEFUL = {"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"}  # called with several tensors, the others are states
LEVELS = 4  # of lists inside each other, in an argument of a call


class AsItIs:
    """A config of Keras 3, which is written as it is read; fields as `Rewritten`."""

    notes: tuple[str, ...] = ()

    def __init__(self, document: Any) -> None:
        self.document = document
        self.stored: dict[str, str] = {}
        self.names: dict[str, str] = {}


class Rewritten:
    """A config for Keras 3, and what was done to get there.

    document: the config.
    notes: what was rewritten, with the number of layers, for people.
    stored: how the weights of layers are stored, by full name (with /forward and /backward inside Bidirectional), where
    that differs from Keras 3.
    names: the layers of the outermost model by the name that the source has, in order: what each is called now.
    """

    def __init__(self, source: Source, limits: ReadLimits) -> None:
        self._source, self._limits = source, limits
        self._layers = 0
        self._counted: Counter[str] = Counter()
        self.stored: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.document = self._model(source.document, "", 0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was rewritten, each with the number of layers."""
        return tuple(f"{note} ({count} {'layers' if count > 1 else 'layer'})" for note, count in self._counted.items())

    def _model(self, document: Any, prefix: str, depth: int) -> dict[str, Any]:
        class_name, config, name = opened(document, f"model {prefix.rstrip('/') or 'in the file'}")
        if depth > self._limits.depth:
            raise LimitExceededError(
                f"models inside each other, deeper than {self._limits.depth}", limit=self._limits.depth, actual=depth
            )
        if class_name not in MODELS:
            raise UnsupportedModelError(f"the model is a {shown(class_name)}; expected Sequential or Functional")
        layers = config.get("layers")
        if not isinstance(layers, list):
            raise CorruptModelError(f"model {shown(name)} has no list of layers")
        if class_name == "Sequential":
            return self._sequential(config, layers, name or "sequential", prefix, depth)
        return self._functional(config, layers, name or "model", prefix, depth)

    def _sequential(
        self, config: Mapping[str, Any], layers: list[Any], name: str, prefix: str, depth: int
    ) -> dict[str, Any]:
        made = [self._member(layer, prefix, depth)[0] for layer in layers]
        if not made or made[0]["class_name"] != "InputLayer":
            given = [shape for layer in layers[:1] for shape in _input_shapes(layer)]
            given += [config["build_input_shape"]] if isinstance(config.get("build_input_shape"), list) else []
            if given:
                self._counted["the shape of the input becomes an InputLayer"] += 1
                taken = {layer["config"]["name"] for layer in made}
                own = next(own for own in ("input", *(f"input_{i}" for i in range(len(made)))) if own not in taken)
                made.insert(0, _written("InputLayer", {"batch_shape": given[0], "dtype": "float32", "name": own}))
            elif not depth:
                raise UnsupportedModelError(
                    "the file does not say the shape of its input: it was saved before the network was built; load it, "
                    "call it once, and save it again"
                )
        return _written("Sequential", {"name": _name(name), "layers": made})

    def _functional(
        self, config: Mapping[str, Any], layers: list[Any], name: str, prefix: str, depth: int
    ) -> dict[str, Any]:
        first = _first_calls(config, layers)
        made = []
        for layer in layers:
            document, kind = self._member(layer, prefix, depth)
            nodes = layer.get("inbound_nodes", [])
            if not isinstance(nodes, list):
                raise CorruptModelError(f"layer {shown(document['config'].get('name'))}: inbound_nodes is not a list")
            states = kind in STATEFUL
            document |= {
                "name": document["config"]["name"],
                "inbound_nodes": [_call(node, first, states=states) for node in nodes],
            }
            made.append(document)
        ends = {key: _ends(config.get(key), first, made) for key in ("input_layers", "output_layers")}
        return _written("Functional", {"name": _name(name), "layers": made, **ends})

    def _member(self, document: Any, prefix: str, depth: int) -> tuple[dict[str, Any], str]:
        """A layer of a model, or a model in it, and its class; keeps the name for the weights of the outermost."""
        self._layers += 1
        if self._layers > self._limits.layers:
            raise LimitExceededError(
                f"more than {self._limits.layers} layers", limit=self._limits.layers, actual=self._layers
            )
        class_name, _, name = opened(document, f"a layer of model {prefix.rstrip('/') or 'in the file'}")
        if isinstance(document.get("name"), str):  # what wires go by, if the two differ
            name = document["name"]
        if not name:
            raise CorruptModelError(f"a layer ({shown(class_name)}) has no name")
        new = _name(name)
        if new != name:
            self._counted["slashes in names are underscores"] += 1
        if not depth:
            self.names[name] = new
        if class_name in MODELS:
            made = self._model({**document, "name": new}, f"{prefix}{new}/", depth + 1)
        else:
            top = (
                name
                if not depth
                else next((old for old, now in self.names.items() if prefix.startswith(f"{now}/")), "")
            )
            made = self._layer(document, f"{prefix}{new}", top, 0)
        made["config"]["name"] = new
        return made, made["class_name"]

    def _layer(self, document: Any, full: str, top: str, depth: int) -> dict[str, Any]:
        """A layer by the rules, with the layers inside it."""
        if depth > self._limits.depth:
            raise LimitExceededError(
                f"layers inside each other, deeper than {self._limits.depth}", limit=self._limits.depth
            )
        class_name, config, name = opened(document, f"layer {shown(full)}")
        old = Old(class_name, config, full, lambda: self._source.bias(top, name))
        apply(old)
        self._counted.update(old.notes)
        if old.weights:
            self.stored[full] = old.weights
        for key in WRAPPED:
            inner = old.config.get(key)
            if inner is not None:
                parts = {"layer": "forward", "backward_layer": "backward"} if old.class_name == "Bidirectional" else {}
                part = f"{full}/{parts[key]}" if key in parts else full
                old.config[key] = self._inner(inner, part, top, depth + 1)
        if old.class_name == "Bidirectional" and f"{full}/forward" in self.stored:
            self.stored.setdefault(f"{full}/backward", self.stored[f"{full}/forward"])
        if old.class_name == "StackedRNNCells":
            cells = old.config.get("cells")
            if not isinstance(cells, list) or len(cells) > self._limits.layers:
                raise CorruptModelError(f"{old.where}: cells is not a list of cells")
            old.config["cells"] = [self._inner(cell, full, top, depth + 1) for cell in cells]
        return _written(old.class_name, old.config)

    def _inner(self, document: Any, full: str, top: str, depth: int) -> dict[str, Any]:
        if isinstance(document, list):  # cells on top of each other, before StackedRNNCells
            if len(document) > self._limits.layers:
                raise CorruptModelError(f"layer {shown(full)}: too many cells")
            cells = [self._layer(cell, full, top, depth) for cell in document]
            return _written("StackedRNNCells", {"name": "cells", "cells": cells})
        made = self._layer(document, full, top, depth)
        made["config"].setdefault("name", full.rpartition("/")[2])
        return made


def _written(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A layer or a model in the form that Keras 3 has."""
    return {
        "module": MODULES.get(class_name, "keras.layers"),
        "class_name": class_name,
        "config": config,
        "registered_name": "Functional" if class_name == "Functional" else None,
    }


def _name(name: str) -> str:
    """A name as Keras 3 allows it: without slashes."""
    return name.replace("/", "_").replace("\\", "_")


def _input_shapes(document: Any, depth: int = 0) -> Iterator[Any]:
    """The shape of the input in the config of the first layer, or of what is first inside it."""
    if depth > LEVELS:
        return
    class_name, config, _ = opened(document, "the first layer")
    for key in ("batch_input_shape", "batch_shape"):
        if isinstance(config.get(key), list):
            shape = config[key]
            # Keras counts the ids of an Embedding without an axis of their own: [batch] means [batch, any].
            yield [*shape, None] if class_name == "Embedding" and len(shape) == 1 else shape
    inner = config.get("layer") if isinstance(config.get("layer"), dict) else None
    if class_name in MODELS:
        layers = config.get("layers")
        inner = layers[0] if isinstance(layers, list) and layers and isinstance(layers[0], dict) else None
    if inner is not None:
        yield from _input_shapes(inner, depth + 1)
    if class_name == "Embedding":
        yield [None, None]


def _first_calls(config: Mapping[str, Any], layers: list[Any]) -> dict[str, int]:
    """The number that the first call of each layer has. TensorFlow's Keras counts from 1 for models in a model."""
    calls: dict[str, int] = {}
    for layer in layers:
        _, _, name = opened(layer, "a layer")
        name = layer["name"] if isinstance(layer.get("name"), str) else name
        nodes = layer.get("inbound_nodes", [])
        calls[name] = len(nodes) if isinstance(nodes, list) else 0
    used: dict[str, set[int]] = {}
    wires = [config.get("output_layers"), *(layer.get("inbound_nodes") for layer in layers)]
    for name, call, _ in _all_wires(wires, 0):
        used.setdefault(name, set()).add(call)
    return {name: int(max(used.get(name, {0})) == count > 0) for name, count in calls.items()}


def _all_wires(value: Any, depth: int) -> Iterator[tuple[str, int, int]]:
    """All [layer, call, tensor, …] in nested lists and objects."""
    if _is_wire(value):
        yield value[0], value[1], value[2]
        value = value[3:]
    if depth > 2 * LEVELS:
        raise CorruptModelError("the wires between layers are nested too deeply")
    if isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _all_wires(part, depth + 1)


def _is_wire(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(part, int) and not isinstance(part, bool) for part in value[1:3])
    )


def _call(node: Any, first: Mapping[str, int], *, states: bool) -> dict[str, Any]:
    """A call of a layer: [[layer, call, tensor, arguments], …] becomes {"args": [tensors], "kwargs": arguments}."""
    if isinstance(node, dict) and "args" in node:
        return node  # as Keras 3 writes it
    inputs = [node] if _is_wire(node) else list(node.values()) if isinstance(node, dict) else node
    if not isinstance(inputs, list) or not inputs or not all(map(_is_wire, inputs)):
        raise CorruptModelError(f"{shown(node)} is not a call of a layer")
    tensors = [_tensor(wire, first) for wire in inputs]
    arguments: dict[str, Any] = {}
    for wire in inputs:
        given = wire[3] if len(wire) > 3 else {}
        if not isinstance(given, dict):
            raise CorruptModelError(f"{shown(wire)} is not an input of a layer")
        arguments |= {key: _argument(value, first, 0) for key, value in given.items() if value is not None}
    arguments.pop("training", None)
    if states and len(tensors) > 1:
        tensors, arguments["initial_state"] = tensors[:1], tensors[1:]
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": arguments}


def _argument(value: Any, first: Mapping[str, int], depth: int) -> Any:
    """An argument, with tensors in the form of Keras 3."""
    if _is_wire(value) and value[0] in first:
        return _tensor(value, first)
    if isinstance(value, list):
        if depth > LEVELS:
            raise CorruptModelError("an argument of a call is nested too deeply")
        return [_argument(part, first, depth + 1) for part in value]
    return value


def _tensor(wire: list[Any], first: Mapping[str, int]) -> dict[str, Any]:
    history = [_name(wire[0]), wire[1] - first.get(wire[0], 0), wire[2]]
    # Keras goes by the history alone; the shape has to be one.
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None], "dtype": "float32", "keras_history": history},
    }


def _ends(value: Any, first: Mapping[str, int], layers: list[Any], depth: int = 0) -> Any:
    """Inputs or outputs. Keras 3 counts the calls of a functional model from 1 here, and those of others from 0."""
    if _is_wire(value):
        functional = any(layer["name"] == _name(value[0]) and layer["class_name"] == "Functional" for layer in layers)
        return [_name(value[0]), value[1] - first.get(value[0], 0) + functional, value[2]]
    if depth > LEVELS or not isinstance(value, list | dict):
        raise CorruptModelError(f"{shown(value)} does not name inputs or outputs")
    if isinstance(value, dict):
        return {key: _ends(part, first, layers, depth + 1) for key, part in value.items()}
    if not depth and len(value) == 1:  # then Keras 3 takes, and gives, a tensor and no list
        return _ends(value[0], first, layers, depth + 1)
    return [_ends(part, first, layers, depth + 1) for part in value]
