"""Layers as Python source, for the scalar engine: numbers have names, and each sum is written out as one expression.

That is three times quicker than loops over lists. The text that is compiled holds names made here and finite floats as
`repr` writes them, nothing else: readers of files and of changes refuse other weights.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count
from operator import mul
from typing import Any

import numpy as np

from service.model.composed import KERAS2_HARD_SIGMOID, MIDDLE, SLOPE
from service.model.tensors import Array

MAX_WRITTEN_OUT = 512  # weights of a product that is written out as an expression
Row = Sequence[float]  # the numbers of one timestep
Names = Sequence[str]  # of these numbers
Expressions = list[str]
Weights = Mapping[str, Array]  # float64, so that they are written with all their digits
Point = Callable[["Source", Names], Expressions]  # a layer that looks at one timestep
Cell = Callable[..., Expressions]  # from the source, and names of inputs and states, to those of states; output first
Run = Callable[[Iterable[Row], Iterable[Row]], tuple[Row, Iterable[Row]]]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    KERAS2_HARD_SIGMOID: lambda x: min(1.0, max(0.0, SLOPE * x + MIDDLE)),
    "relu": lambda x: x if x > 0 else 0.0,
    "softsign": lambda x: x / (1 + abs(x)),
}


class Source:
    """A forward pass as the source of one function, to which layers are added in their order."""

    def __init__(self, features: int) -> None:
        self._numbers = count()
        self._scope: dict[str, Any] = {}  # objects, by their names
        self._row = self._names(features)
        self._states: list[Names] = []
        self._each: list[str] = []  # what is done for each timestep
        self._last: list[str] = []  # and after the last
        self.outputs: Names = self._row  # of the layers so far
        self.every = True  # whether these are numbers of each timestep

    def write(self, layer: Point) -> None:
        """Adds a layer that looks at one timestep."""
        self.outputs = self.put(layer(self, self.outputs))

    def carry(self, cell: Cell, units: int, states: int, every: bool) -> None:
        """Adds a cell with so many states. every: whether its outputs are of each timestep, or of the last."""
        before = [self._names(units) for _ in range(states)]
        after = cell(self, self.outputs, *before)
        rounding = struct.Struct(f"{len(after)}f")  # to single precision
        unpack, pack = self.bind(rounding.unpack), self.bind(rounding.pack)
        self._line(f"{_listed(chain(*before))} = {unpack}({pack}({_listed(after)}))")
        self._states += before
        self.outputs, self.every = before[0], every

    def put(self, expressions: Iterable[str]) -> Names:
        """Computes numbers, and gives them names."""
        names = []
        for expression in expressions:
            names += self._names(1)
            self._line(f"{names[-1]} = {expression}")
        return names

    def bind(self, thing: Any) -> str:
        """A name for an object."""
        (name,) = self._names(1)
        self._scope[name] = thing
        return name

    def affine(self, x: Names, kernel: Array, bias: Array | None = None, function: str = "linear") -> Expressions:
        """f(x·W + b), summed in the order of rows."""
        biases = np.zeros(kernel.shape[1]) if bias is None else bias
        columns = list(zip(biases.tolist(), kernel.T.tolist(), strict=True))
        if kernel.size <= MAX_WRITTEN_OUT:
            sums = [
                " + ".join([repr(b), *(f"{name} * {w!r}" for name, w in zip(x, column, strict=True))])
                for b, column in columns
            ]
        else:
            product = self.bind(lambda *row: [sum(map(mul, column, row), b) for b, column in columns])
            sums = self._names(len(columns))
            self._line(f"{_listed(sums)} = {product}({_listed(x)})")
        return self.apply(function, sums)

    def apply(self, function: str, sums: Iterable[str]) -> Expressions:
        """An activation of each."""
        if function == "linear":
            return list(sums)
        name = self.bind(ACTIVATIONS[function])
        return [f"{name}({total})" for total in sums]

    def compiled(self) -> Run:
        """From rows and the states before them to outputs, all in one row, and the states after them."""
        states = _listed(f"({_listed(names)})" for names in self._states)
        outputs = f"({_listed(self.outputs)})"
        lines = [
            "def run(rows, states):",
            f" {states} = states" if states else "",
            " found = []" if self.every else "",
            f" for {_listed(self._row)} in rows:",
            *(f"  {line}" for line in self._each),
            f"  found += {outputs}" if self.every else "",
            *(f" {line}" for line in self._last),
            f" return {'found' if self.every else outputs}, ({states})",
        ]
        exec("\n".join(lines), self._scope)  # noqa: S102  # see above
        return self._scope["run"]

    def _line(self, text: str) -> None:
        (self._each if self.every else self._last).append(text)

    def _names(self, number: int) -> list[str]:
        return [f"v{next(self._numbers)}" for _ in range(number)]


def _listed(names: Iterable[str]) -> str:
    return "".join(f"{name}, " for name in names)


# Layers that look at one timestep.


def dense(weights: Weights, activation: str) -> Point:
    """f(x·W + b)."""
    if activation == "softmax":
        sums = dense(weights, "linear")
        return lambda source, x: softmax(source, source.put(sums(source, x)))
    return lambda source, x: source.affine(x, weights["kernel"], weights.get("bias"), activation)


def softmax(source: Source, x: Names) -> Expressions:
    """exp(x - max) / Σ exp(x - max)."""
    (top,) = source.put([f"max(({_listed(x)}))"])
    exp = source.bind(math.exp)
    powers = source.put(f"{exp}({name} - {top})" for name in x)
    (total,) = source.put([" + ".join(powers)])
    return [f"{power} / {total}" for power in powers]


def scaled(scale: Any, offset: Any) -> Point:
    """x · scale + offset, each a number or one for each feature."""

    def write(_source: Source, x: Names) -> Expressions:
        scales, offsets = (np.broadcast_to(value, len(x)).tolist() for value in (scale, offset))
        return [f"{name} * {a!r} + {b!r}" for name, a, b in zip(x, scales, offsets, strict=True)]

    return write


# Cells.


def simple(options: Mapping[str, Any], weights: Weights) -> Cell:
    """h = f(x·W + b + h·U)."""
    kernel = np.concatenate((weights["kernel"], weights["recurrent_kernel"]))
    return lambda source, x, h: source.affine([*x, *h], kernel, weights.get("bias"), options["activation"])


def lstm(options: Mapping[str, Any], weights: Weights) -> Cell:
    """Gates i, f, g, o from x·W + b + h·U; c = f · c + i · g, h = o · tanh(c)."""
    kernel = np.concatenate((weights["kernel"], weights["recurrent_kernel"]))
    units, gate, function = options["units"], options["recurrent_activation"], options["activation"]

    def write(source: Source, x: Names, h: Names, c: Names) -> Expressions:
        sums = source.affine([*x, *h], kernel, weights.get("bias"))
        parts = enumerate((gate, gate, function, gate))
        i, f, g, o = (source.put(source.apply(name, sums[n * units : (n + 1) * units])) for n, name in parts)
        new = source.put(f"{f1} * {c1} + {i1} * {g1}" for f1, c1, i1, g1 in zip(f, c, i, g, strict=True))
        return [*(f"{o1} * {out}" for o1, out in zip(o, source.apply(function, new), strict=True)), *new]

    return write


def gru(options: Mapping[str, Any], weights: Weights) -> Cell:
    """Gates z, r from x·W + b + h·U; h = z · h + (1 - z) · f(x·W + b + …), as Keras resets before or after."""
    units, after = options["units"], options["reset_after"]
    kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
    bias = weights.get("bias", np.zeros(3 * units))
    outer, inner = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros(3 * units))
    both = 2 * units
    gates, gate = np.concatenate((kernel[:, :both], recurrent[:, :both])), options["recurrent_activation"]

    def write(source: Source, x: Names, h: Names) -> Expressions:
        zr = source.put(source.affine([*x, *h], gates, (outer + inner)[:both], gate))
        z, r = zr[:units], zr[units:]
        if after:
            backs = source.affine(h, recurrent[:, both:], inner[both:])
            back = source.put(f"{r1} * ({total})" for r1, total in zip(r, backs, strict=True))
        else:
            reset = source.put(f"{r1} * {h1}" for r1, h1 in zip(r, h, strict=True))
            back = source.put(source.affine(reset, recurrent[:, both:]))
        sums = source.affine(x, kernel[:, both:], outer[both:])
        totals = [f"{total} + {b}" for b, total in zip(back, sums, strict=True)]
        new = source.put(source.apply(options["activation"], totals))
        return [f"{z1} * {h1} + (1.0 - {z1}) * {n1}" for z1, h1, n1 in zip(z, h, new, strict=True)]

    return write
