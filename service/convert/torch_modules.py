"""Recurrent networks of PyTorch, described by a short YAML file, as models of Keras with the same numbers.

PyTorch's files hold weights alone. The description lists the modules in the order in which `forward` applies them:

    modules:
      - lstm: LSTM          # self.lstm = torch.nn.LSTM(…, batch_first=True)
      - last timestep       # output[:, -1]
      - head: Linear
      - ReLU

Sizes, layers, directions and biases follow from the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from service.convert.h5_file import contents
from service.errors import CorruptModelError, InvalidArgumentError, UnsupportedModelError
from service.model.layers.options import shown
from service.model.tensors import Array

LONGEST = 1 << 16  # bytes of a description
MOST = 200  # modules in it
RECURRENT = {"RNN": 1, "GRU": 3, "LSTM": 4}  # gates
LAST, FINAL = "last timestep", "final state"
# Modules without weights: what Keras calls the activation; None where it does nothing in a prediction.
PLAIN = {
    "ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "SiLU": "silu", "GELU": "gelu", "ELU": "elu", "SELU": "selu",
    "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish", "LogSigmoid": "log_sigmoid", "ReLU6": "relu6",
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Dropout": None, "Identity": None,
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A module of the description."""

    kind: str  # LSTM, Linear, ReLU, last timestep
    name: str = ""  # that its weights begin with; empty where it has none
    nonlinearity: str = "tanh"  # of an RNN


@dataclass
class Model:
    """The model so far: Keras's layers, each called on the one before, and their weights by Keras's names."""

    dtype: str
    layers: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def add(self, class_name: str, name: str, *more: Any, module: str = "keras.layers", **config: Any) -> None:
        """A layer, called on the output of the last one."""
        below = self.layers[-1]["name"]
        history = {"shape": [None], "dtype": self.dtype, "keras_history": [below, 0, 0]}
        tensor = {"class_name": "__keras_tensor__", "config": history}
        own = {"name": name, **config} if module != "keras.layers" else {"name": name, "dtype": self.dtype, **config}
        self.layers.append(
            {
                "module": module,
                "class_name": class_name,
                "config": own,
                "registered_name": None if module == "keras.layers" else class_name,
                "name": name,
                "inbound_nodes": [{"args": [tensor, *more], "kwargs": {}}],
            }
        )

    def free(self, name: str) -> str:
        """A name that no layer has: the one given, or with a number."""
        name = name.replace(".", "_")
        taken = {layer["name"] for layer in self.layers}
        return next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)

    @property
    def document(self) -> dict[str, Any]:
        """The config."""
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": {
                "name": "model",
                "layers": self.layers,
                "input_layers": [self.layers[0]["name"], 0, 0],
                "output_layers": [self.layers[-1]["name"], 0, 0],
            },
            "registered_name": "Functional",
        }


def description(path: Path) -> list[Module]:
    """The modules that a YAML file lists. Raises InvalidArgumentError where it is not such a file."""
    try:
        said = yaml.safe_load(contents(path, LONGEST))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{path.name} is not YAML", field="like") from error
    modules = said.get("modules") if isinstance(said, dict) else None
    if not isinstance(modules, list) or not 0 < len(modules) <= MOST:
        raise InvalidArgumentError(f"{path.name}: expected `modules:` with a list of modules", field="like")
    return [_module(module, f"{path.name}: modules[{i}]") for i, module in enumerate(modules)]


def _module(said: Any, where: str) -> Module:
    if isinstance(said, str) and said in (*PLAIN, LAST, FINAL):
        return Module(said)
    if isinstance(said, dict):
        named = [(str(name), kind) for name, kind in said.items() if name != "nonlinearity"]
        if len(named) == 1 and named[0][1] in (*RECURRENT, "Linear", "Embedding", *PLAIN):
            (name, kind), function = named[0], said.get("nonlinearity", "tanh")
            if function in ("tanh", "relu") and (kind == "RNN" or "nonlinearity" not in said):
                return Module(kind, name, function)
    known = ", ".join((*RECURRENT, "Linear", "Embedding", *PLAIN))
    raise InvalidArgumentError(
        f"{where}: {shown(said)} is not a module; expected NAME: KIND, with one of {known}; `{LAST}` or `{FINAL}`",
        field="like",
    )


def build(modules: list[Module], tensors: Mapping[str, Array]) -> Model:
    """The model that the modules are, with these weights.

    Raises UnsupportedModelError for what is not supported, CorruptModelError where description and weights differ.
    """
    left = dict(tensors)
    precise = any(array.dtype == np.float64 for array in tensors.values())
    model = Model("float64" if precise else "float32")
    first = next((module for module in modules if module.kind in (*RECURRENT, "Linear", "Embedding")), None)
    if first is None:
        raise UnsupportedModelError("the description has no module with weights")
    ids = first.kind == "Embedding"
    leading = f"{first.name}.weight_ih_l0" if first.kind in RECURRENT else f"{first.name}.weight"
    features = _take(dict(left), leading, 2).shape[1]
    shape = [None, None] if ids else [None, None, features]
    config = {"name": "x", "batch_shape": shape, "dtype": "int32" if ids else model.dtype}
    inputs = {"module": "keras.layers", "class_name": "InputLayer", "config": config, "registered_name": None}
    model.layers.append({**inputs, "name": "x", "inbound_nodes": []})
    for i, module in enumerate(modules):
        following = modules[i + 1].kind if i + 1 < len(modules) else ""
        _add(model, module, following, left)
    if left:
        raise CorruptModelError(f"the file has {shown(min(left))}, which the description does not name")
    return model


def _add(model: Model, module: Module, following: str, left: dict[str, Array]) -> None:
    if module.kind in RECURRENT:
        _recurrent(model, module, following, left)
    elif module.kind == "Linear":
        kernel, bias = _take(left, f"{module.name}.weight", 2), left.pop(f"{module.name}.bias", None)
        name = model.free(module.name)
        model.add("Dense", name, units=len(kernel), use_bias=bias is not None)
        model.weights |= {f"{name}/kernel": kernel.T} | ({} if bias is None else {f"{name}/bias": bias})
    elif module.kind == "Embedding":
        table, name = _take(left, f"{module.name}.weight", 2), model.free(module.name)
        model.add("Embedding", name, input_dim=table.shape[0], output_dim=table.shape[1])
        model.weights[f"{name}/embeddings"] = table
    elif module.kind == LAST:
        if not _sequences(model):  # a recurrent layer that gives the last one alone
            return
        every = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
        model.add("GetItem", model.free("last"), [every, -1], module="keras.src.ops.numpy")
    elif module.kind == FINAL:
        if _sequences(model):
            raise UnsupportedModelError(f"`{FINAL}` stands behind a recurrent module; here it does not")
    elif (function := PLAIN[module.kind]) is not None:
        model.add("Activation", model.free(module.name or module.kind.lower()), activation=function)


def _sequences(model: Model) -> bool:
    """Whether the last layer is none that gives one timestep."""
    config = model.layers[-1]["config"]
    inner = config.get("layer", model.layers[-1])["config"]
    return inner.get("return_sequences", True) is not False


def _recurrent(model: Model, module: Module, following: str, left: dict[str, Array]) -> None:
    """A module as one layer of Keras for each of its layers; both have the bias of a GRU twice, an LSTM's once."""
    gates, count = RECURRENT[module.kind], 0
    while f"{module.name}.weight_ih_l{count}" in left:
        count += 1
    if not count:
        raise CorruptModelError(f"the file has no {module.name}.weight_ih_l0, which the description names")
    for number in range(count):
        if f"{module.name}.weight_hr_l{number}" in left:
            raise UnsupportedModelError(f"{module.name}: projections (proj_size) are not supported; Keras has none")
        directions = ["", "_reverse"] if f"{module.name}.weight_ih_l{number}_reverse" in left else [""]
        parts = [_cell(module, f"l{number}{direction}", gates, left) for direction in directions]
        units = parts[0]["recurrent_kernel"].shape[0]
        last = number == count - 1
        ends = following == FINAL or (following == LAST and len(directions) == 1)
        config: dict[str, Any] = {
            "units": units,
            "activation": module.nonlinearity if module.kind == "RNN" else "tanh",
            "use_bias": "bias" in parts[0],
            "return_sequences": not (last and ends),
        }
        if module.kind != "RNN":
            config["recurrent_activation"] = "sigmoid"
        if module.kind == "GRU":
            config["reset_after"] = True
        class_name = "SimpleRNN" if module.kind == "RNN" else module.kind
        name = model.free(module.name if count == 1 else f"{module.name}_l{number}")
        if len(directions) == 1:
            model.add(class_name, name, **config)
            model.weights |= {f"{name}/{part}": array for part, array in parts[0].items()}
            continue
        inner = [
            {
                "module": "keras.layers",
                "class_name": class_name,
                "config": {
                    **config,
                    "name": f"{side}_{name}",
                    "dtype": model.dtype,
                    "go_backwards": side == "backward",
                },
                "registered_name": None,
            }
            for side in ("forward", "backward")
        ]
        model.add("Bidirectional", name, layer=inner[0], backward_layer=inner[1], merge_mode="concat")
        for side, part in zip(("forward", "backward"), parts, strict=True):
            model.weights |= {f"{name}/{side}/{own}": array for own, array in part.items()}


def _cell(module: Module, suffix: str, gates: int, left: dict[str, Array]) -> dict[str, Array]:
    """The weights of one layer and direction, in Keras's form.

    PyTorch has (gates · units, features) where Keras has it the other way round. Both order an LSTM's gates i, f, g, o.
    A GRU's are r, z, n there and z, r, h in Keras, with a bias for the input and one for the state: `reset_after`.
    """
    kernel = _take(left, f"{module.name}.weight_ih_{suffix}", 2)
    recurrent = _take(left, f"{module.name}.weight_hh_{suffix}", 2)
    biases = [left.pop(f"{module.name}.bias_{side}_{suffix}", None) for side in ("ih", "hh")]
    if kernel.shape[0] != recurrent.shape[0] or recurrent.shape[0] != gates * recurrent.shape[1]:
        raise CorruptModelError(f"{module.name}: its weights are not those of a {module.kind}")
    order = (1, 0, 2) if module.kind == "GRU" else range(gates)

    def turned(array: Array) -> Array:
        split = np.split(array, gates)
        return np.concatenate([split[gate] for gate in order])

    found = {"kernel": turned(kernel).T, "recurrent_kernel": turned(recurrent).T}
    if biases[0] is not None and biases[1] is not None:
        if any(bias is None or bias.shape != (len(kernel),) for bias in biases):
            raise CorruptModelError(f"{module.name}: its biases do not fit")
        one, two = turned(biases[0]), turned(biases[1])
        found["bias"] = np.stack([one, two]) if module.kind == "GRU" else one + two
    return found


def _take(left: dict[str, Array], name: str, rank: int) -> Array:
    if name not in left:
        raise CorruptModelError(f"the file has no {shown(name)}, which the description names")
    array = left.pop(name)
    if array.ndim != rank or not array.size:
        raise CorruptModelError(f"{shown(name)} has shape {list(array.shape)}; expected {rank} axes")
    return array
