"""Gradients of the operations between layers. Comparisons have none."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.model.gradients.array_operations import GRADIENTS, gradients
from service.model.gradients.base import Back, Seen, backward, first, summed_to
from service.model.layers.array_operations import Operand
from service.model.layers.operations import COMPARISONS, LIKE, Operation
from service.model.tensors import Array

# By the operand: of the operand x and the result y.
UNARY: dict[str, Callable[[Array, Array], Array]] = {
    "Negative": lambda x, _: -np.ones_like(x),
    "Absolute": lambda x, _: np.sign(x),
    "Square": lambda x, _: 2 * x,
    "Sqrt": lambda _, y: 1 / (2 * y),
    "Exp": lambda _, y: y,
    "Log": lambda x, _: 1 / x,
    "Tanh": lambda _, y: 1 - y * y,
    "Sigmoid": lambda _, y: y * (1 - y),
    "Relu": lambda x, _: (x > 0).astype(x.dtype),
}
# By both operands: of the operands and the gradient by the result.
BINARY: dict[str, Callable[[Any, Any, Array], tuple[Array, Array]]] = {
    "Add": lambda _a, _b, g: (g, g),
    "Subtract": lambda _a, _b, g: (g, -g),
    "Multiply": lambda a, b, g: (g * b, g * a),
    "Divide": lambda a, b, g: (g / b, -g * a / (b * b)),
    "TrueDivide": lambda a, b, g: (g / b, -g * a / (b * b)),
    "Maximum": lambda a, b, g: (np.where(a >= b, g, 0), np.where(a >= b, 0, g)),
    "Minimum": lambda a, b, g: (np.where(a <= b, g, 0), np.where(a <= b, 0, g)),
}


@backward.register
def _operation(layer: Operation, seen: Seen, above: Sequence[Array | None]) -> Back:
    kind, gradient = layer.kind, first(above, seen.y)
    if seen.y.dtype.kind != "f" or kind in COMPARISONS or kind in LIKE or kind == "Any":
        return Back([None] * len(seen.inputs))
    if kind in GRADIENTS:
        return Back(gradients(layer, seen, above))
    if kind in UNARY:
        return Back([gradient * UNARY[kind](seen.x, seen.y)])
    if kind in BINARY:
        a, b = (seen.inputs[part.place] if isinstance(part, Operand) else part for part in layer.arguments)
        found: list[Array | None] = [None] * len(seen.inputs)
        for part, by in zip(layer.arguments, BINARY[kind](a, b, gradient), strict=True):
            if isinstance(part, Operand):
                own = summed_to(np.broadcast_to(by, seen.y.shape), seen.inputs[part.place].shape)
                known = found[part.place]
                found[part.place] = own if known is None else known + own
        return Back(found)
    if kind == "Concatenate":
        axis = layer.options["axis"]
        ends = np.cumsum([x.shape[axis] for x in seen.inputs])
        return Back(np.split(gradient, ends[:-1], axis=axis))
    if kind == "GetItem":
        by_x = np.zeros_like(seen.x)
        by_x[layer.key(seen.x.ndim)] = gradient
        return Back([by_x])
    return Back([gradient.reshape(seen.x.shape)])  # ExpandDims, Squeeze
