"""Compares a converted network with PyTorch itself, where that is installed."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from service.convert.torch_modules import FINAL, LAST, RECURRENT, Module
from service.errors import ProofError
from service.model.engines.choice import chance
from service.model.network import Network
from service.model.proof import Tolerance
from service.model.tensors import Array

BATCH = 3


def installed() -> bool:
    """Whether there is a PyTorch to compare with."""
    return find_spec("torch") is not None


def compare(network: Network, modules: list[Module], tensors: Mapping[str, Array]) -> float:
    """The largest difference of a network from PyTorch, over random inputs, in units of what is allowed: at most 1.

    Raises ProofError where it is larger.
    """
    inputs = chance(network, BATCH)
    ((name, found),) = network.forward(inputs).outputs.items()
    expected = forward(modules, tensors, next(iter(inputs.values())))
    error = Tolerance(network, inputs).error(name, found, expected.astype(found.dtype))
    if not error <= 1:
        raise ProofError(f"output {name} differs from PyTorch's by {error:.3g} times what is allowed")
    return error


def forward(modules: list[Module], tensors: Mapping[str, Array], x: Array) -> Array:
    """What PyTorch computes: each module on the output of the one before, batch first."""
    torch: Any = import_module("torch")
    weights = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    precise = any(array.dtype == np.float64 for array in tensors.values())
    kind = torch.float64 if precise else torch.float32
    state = None
    with torch.no_grad():
        y = torch.from_numpy(np.array(x)).long() if x.dtype.kind == "i" else torch.from_numpy(np.array(x)).to(kind)
        for module in modules:
            own = {n.removeprefix(f"{module.name}."): w for n, w in weights.items() if n.startswith(f"{module.name}.")}
            if module.kind == LAST:
                y = y[:, -1]
            elif module.kind == FINAL:
                y = state
            else:
                made = _made(torch, module, own).to(kind).eval()
                made.load_state_dict({name: weight.to(kind) for name, weight in own.items()} if module.name else {})
                y = made(y)
                if module.kind in RECURRENT:
                    y, hidden = y
                    hidden = hidden[0] if module.kind == "LSTM" else hidden
                    directions = 2 if made.bidirectional else 1
                    state = torch.cat(list(hidden[-directions:]), dim=-1)
    result: Array = y.numpy()
    return result


def _made(torch: Any, module: Module, own: Mapping[str, Any]) -> Any:
    """A module of PyTorch of the sizes that its weights have."""
    nn = torch.nn
    if module.kind in RECURRENT:
        layers = sum(1 for name in own if name.startswith("weight_ih_l") and not name.endswith("_reverse"))
        options: dict[str, Any] = {"nonlinearity": module.nonlinearity} if module.kind == "RNN" else {}
        return getattr(nn, module.kind)(
            own["weight_ih_l0"].shape[1],
            own["weight_hh_l0"].shape[1],
            num_layers=layers,
            bias="bias_ih_l0" in own,
            batch_first=True,
            bidirectional="weight_ih_l0_reverse" in own,
            **options,
        )
    if module.kind == "Linear":
        return nn.Linear(own["weight"].shape[1], own["weight"].shape[0], bias="bias" in own)
    if module.kind == "Embedding":
        return nn.Embedding(*own["weight"].shape)
    options = {"dim": -1} if module.kind in ("Softmax", "LogSoftmax") else {}
    return getattr(nn, module.kind)(**options)
