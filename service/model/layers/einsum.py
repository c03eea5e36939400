"""EinsumDense: a product with a kernel along any axes, by an equation, with bias and activation."""

import string
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.activations import ACTIVATIONS
from service.model.layers.base import Built, Layer, Record, Weights
from service.model.layers.options import MAX_EXTENT, Option, activation, choice
from service.model.tensors import Array, Shape, Tensor, Time


class EinsumDense(Layer):
    """y = f(einsum(equation, x, W) + b), such as `abc,cd->abd` or `...x,xy->...y`."""

    CLASS = "EinsumDense"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "equation": Option(lambda v: _equation(v), "an equation such as abc,cd->abd or ...x,xy->...y"),
        "output_shape": Option(lambda v: _extents(v), "an integer, or a list of integers and none"),
        "activation": activation("linear"),
        "bias_axes": Option(lambda v: _letters(v), "letters of the output, or none", None),
        "lora_rank": choice(None, default=None),
        "lora_alpha": choice(None, default=None),
        "gptq_unpacked_column_size": choice(None, default=None),
        "quantization_config": choice(None, default=None),
    }

    def letters(self, rank: int) -> tuple[str, str, str]:
        """Of an input of that rank, of the kernel and of the output, dots written out."""
        given, kernel, made = self.options["equation"]
        if given.startswith("..."):
            free = [letter for letter in string.ascii_letters if letter not in given + kernel + made]
            dots = "".join(free[: rank - len(given) + 3])
            given, made = dots + given[3:], dots + made[3:]
        return given, kernel, made

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        (x,) = inputs
        if self.options["activation"] == "glu":
            raise self.unsupported("activation=glu is not supported here")
        given, kernel, made = self.letters(x.rank)
        if len(given) != x.rank or given[0] != made[0] or given[0] in kernel or not set(made) <= set(given + kernel):
            raise self.unsupported(f"its equation does not fit an input of {x.rank} axes, the first the batch")
        extents = dict(zip(given, x.shape, strict=True))
        shape = self.options["output_shape"]
        if len(shape) > len(made) - 1:
            raise self.unsupported("output_shape has more extents than the equation has axes")
        for letter, extent in zip(reversed(made), reversed(shape), strict=False):
            known = extents.get(letter)
            if letter in given and extent is not None and known is not None and extent != known:
                raise self.unsupported("output_shape does not fit the input")
            if letter not in given:
                extents[letter] = extent
        missing = [letter for letter in kernel if extents.get(letter) is None]
        if missing:
            raise self.unsupported(f"the extent of axis {missing[0]} must be known")
        output: Shape = tuple(extents[letter] for letter in made)
        weights = [self.weight("kernel", [extents[letter] or 0 for letter in kernel], "vars/0")]
        if self.options["bias_axes"]:
            weights.append(self.weight("bias", self.bias_shape(made, output), "vars/1"))
        return Built((self.output(output, self.time(x, given, kernel, made)),), tuple(weights))

    def bias_shape(self, made: str, output: Shape) -> tuple[int, ...]:
        """Extents along the axes of the bias, 1 along those between and behind."""
        wanted = self.options["bias_axes"]
        if not set(wanted) <= set(made[1:]) or any(output[made.index(letter)] is None for letter in wanted):
            raise self.unsupported("bias_axes are not axes of the output with a known extent")
        begin = min(made.index(letter) for letter in wanted)
        return tuple((output[i] or 0) if letter in wanted else 1 for i, letter in enumerate(made) if i >= begin)

    @staticmethod
    def time(x: Tensor, given: str, kernel: str, made: str) -> Time:
        """Whether each timestep is mapped by itself."""
        apart = len(made) > 1 and len(given) > 1 and made[1] == given[1] and given[1] not in kernel
        return x.time if apart or x.time is not Time.SEQUENCE else Time.WHOLE

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """The input laid out as a matrix; a trace keeps `pre_activation`."""
        return inputs[0].elements + outputs[0].elements * (2 if traced else 1)

    def prepare(self, weights: Weights) -> Any:
        """Cast."""
        return self.cast(weights, "kernel"), self.cast(weights, "bias")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; keeps `pre_activation`."""
        kernel, bias = weights
        (x,) = inputs
        y = self.product(x, kernel)
        if bias is not None:
            y = y + bias
        if record is not None:
            record["pre_activation"] = y
        return ACTIVATIONS[self.options["activation"]](y)

    def product(self, x: Array, kernel: Array) -> Array:
        """Half precision in single, rounded once; timestep by timestep where these are mapped apart.

        So the order of additions does not depend on their number, as in `service.model.numerics.product`.
        """
        if x.dtype == np.float16:
            return self.product(x.astype(np.float32), kernel.astype(np.float32)).astype(np.float16)
        given, own, made = self.letters(x.ndim)
        if len(made) > 2 and len(given) > 2 and made[1] == given[1] and given[1] not in own:
            each = f"{given[0]}{given[2:]},{own}->{made[0]}{made[2:]}"
            return np.stack([np.einsum(each, x[:, t], kernel, optimize=True) for t in range(x.shape[1])], axis=1)
        return np.asarray(np.einsum(f"{given},{own}->{made}", x, kernel, optimize=True))


def _equation(value: Any) -> tuple[str, str, str]:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError
    sources, arrow, made = value.replace(" ", "").partition("->")
    given, comma, kernel = sources.partition(",")
    dots = given.startswith("...")
    if not arrow or not comma or dots != made.startswith("..."):
        raise ValueError
    for part in (given[3:] if dots else given, kernel, made[3:] if dots else made):
        if not part.isascii() or not part.isalpha() or len(set(part)) < len(part) or len(part) > 8:
            raise ValueError
    return given, kernel, made


def _extents(value: Any) -> tuple[int | None, ...]:
    values = value if isinstance(value, list) else [value]
    for extent in values:
        if extent is not None and (isinstance(extent, bool) or not isinstance(extent, int)):
            raise ValueError
        if extent is not None and not 0 < extent <= MAX_EXTENT:
            raise ValueError
    return tuple(values)


def _letters(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isalpha() or len(set(value)) < len(value):
        raise ValueError
    return value
