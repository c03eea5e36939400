"""Dense: an affine map of the last axis, and an activation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from service.model.activations import ACTIVATIONS
from service.model.layers.base import Built, Layer, Record, Weights
from service.model.layers.options import Option, activation, choice, flag, size
from service.model.numerics import prepare, product
from service.model.tensors import Array, Tensor


class Dense(Layer):
    """y = f(x·W + b); x (batch, …, n), W (n, units), b (units), y (batch, …, units)."""

    CLASS = "Dense"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "units": size(),
        "activation": activation("linear"),
        "use_bias": flag(True),
        "lora_rank": choice(None, default=None),
        "lora_alpha": choice(None, default=None),
        "quantization_config": choice(None, default=None),
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Kernel and bias."""
        (x,) = inputs
        units, width = self.options["units"], self.width(x)
        weights = [self.weight("kernel", (width, units), "vars/0")]
        if self.options["use_bias"]:
            weights.append(self.weight("bias", (units,), "vars/1"))
        wide = units
        if self.options["activation"] == "glu":
            if units % 2:
                raise self.unsupported("glu halves the last axis, whose extent is odd")
            wide = units // 2
        return Built((self.output((*x.shape[:-1], wide), x.time),), tuple(weights))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """A trace keeps `pre_activation`."""
        (x,) = inputs
        return x.elements // self.width(x) * self.options["units"] if traced else 0

    def prepare(self, weights: Weights) -> Any:
        """Kernel for `product`, bias, activation."""
        kernel = self.cast(weights, "kernel")
        assert kernel is not None
        return (
            prepare(kernel),
            self.cast(weights, "bias"),
            ACTIVATIONS[self.options["activation"]],
        )

    def call(
        self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None
    ) -> Array:
        """The output; keeps `pre_activation`."""
        kernel, bias, function = weights
        y = product(inputs[0], kernel)
        if bias is not None:
            y += bias
        if record is not None:
            record["pre_activation"] = y
        result: Array = function(y)
        return result
