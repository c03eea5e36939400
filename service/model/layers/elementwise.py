"""Elementwise layers: activations, and layers that do nothing at prediction."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model import activations
from service.model.layers.base import Built, ElementwiseLayer, Layer, Record, Weights
from service.model.layers.options import ANY, Option, activation, axes, number, optional
from service.model.tensors import Array, Tensor, Time


class Half(ElementwiseLayer):
    """An elementwise layer that in half precision computes in single, and rounds once."""

    def function(self, x: Array) -> Array:
        """`wide`, in at least single precision."""
        if x.dtype == np.float16:
            return self.wide(x.astype(np.float32)).astype(np.float16)
        return self.wide(x)

    def wide(self, x: Array) -> Array:
        """The output; x (batch, …)."""
        raise NotImplementedError


class Activation(Half):
    """An activation by name."""

    CLASS = "Activation"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"activation": activation()}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape, but for glu; over the last axis, but for none."""
        built = super().build(inputs)
        if self.options["activation"] == "glu":
            raise self.unsupported("Keras itself mistakes the shape of activation=glu as a layer; use it within Dense")
        return built

    def wide(self, x: Array) -> Array:
        """f(x)."""
        return activations.ACTIVATIONS[self.options["activation"]](x)


class ReLU(Half):
    """max(x, 0), with an upper bound, a slope below the threshold, and a threshold."""

    CLASS = "ReLU"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "max_value": optional(number()),
        "negative_slope": number(0.0),
        "threshold": number(0.0),
    }

    def wide(self, x: Array) -> Array:
        """relu(x)."""
        return activations.relu(x, **self.options)


class LeakyReLU(Half):
    """x where positive, else slope · x."""

    CLASS = "LeakyReLU"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"negative_slope": number(0.3)}

    def wide(self, x: Array) -> Array:
        """leaky_relu(x)."""
        return activations.leaky_relu(x, self.options["negative_slope"])


class ELU(Half):
    """x where positive, else alpha · (exp(x) - 1)."""

    CLASS = "ELU"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"alpha": number(1.0)}

    def wide(self, x: Array) -> Array:
        """elu(x)."""
        return activations.elu(x, self.options["alpha"])


class PReLU(Layer):
    """max(x, 0) - alpha · max(-x, 0), alpha learned for each element or shared along axes."""

    CLASS = "PReLU"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"shared_axes": optional(axes())}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Alpha has the shape of one element of the batch, 1 along shared axes."""
        (x,) = inputs
        shape: list[int] = []
        for axis, extent in enumerate(x.shape[1:], start=1):
            if axis in (self.options["shared_axes"] or ()):
                shape.append(1)
            elif extent is None:
                raise self.unsupported("an axis of unknown extent must be among shared_axes")
            else:
                shape.append(extent)
        over_time = x.time is Time.SEQUENCE and shape[0] != 1
        return Built(
            (self.output(x.shape, Time.WHOLE if over_time else x.time),), (self.weight("alpha", shape, "vars/0"),)
        )

    def prepare(self, weights: Weights) -> Any:
        """Alpha."""
        return self.cast(weights, "alpha")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        (x,) = inputs
        return np.maximum(x, 0) + -weights * np.maximum(-x, 0)


class Softmax(Layer):
    """exp(x) / Σ exp(x) over an axis or several; masked elements take no part."""

    CLASS = "Softmax"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"axis": axes((-1,))}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape."""
        (x,) = inputs
        return Built((self.output(x.shape, along(self, x, self.options["axis"])),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        x, mask = inputs[0], masks[0]
        if x.dtype == np.float16:
            return self.call(weights, [x.astype(np.float32)], masks, record).astype(np.float16)
        if mask is not None:
            if mask.ndim > x.ndim or np.broadcast_shapes(mask.shape, x.shape) != x.shape:
                raise ValueError("the mask does not have the shape of the input")
            x = np.where(mask, x, x.dtype.type(-3e4 if self.policy.compute == np.float16 else -1e9))
        y = activations.softmax(x, self.options["axis"])
        return y if mask is None else np.where(mask, y, x.dtype.type(0))


class Identity(ElementwiseLayer):
    """x: what acts in training only."""

    CLASS = "Identity"
    KEEPS_INTEGERS = True

    def function(self, x: Array) -> Array:
        """x."""
        return x


class Dropout(Identity):
    """x."""

    CLASS = "Dropout"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"rate": ANY, "noise_shape": ANY}
    NOTE = "does nothing to a prediction"


class SpatialDropout1D(Dropout):
    """x."""

    CLASS = "SpatialDropout1D"


class AlphaDropout(Dropout):
    """x."""

    CLASS = "AlphaDropout"


class GaussianDropout(Dropout):
    """x."""

    CLASS = "GaussianDropout"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"rate": ANY}


class GaussianNoise(Dropout):
    """x."""

    CLASS = "GaussianNoise"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"stddev": ANY}


class ActivityRegularization(Dropout):
    """x."""

    CLASS = "ActivityRegularization"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"l1": ANY, "l2": ANY}


def along(layer: Layer, x: Tensor, over: Sequence[int]) -> Time:
    """How a computation along some axes relates to time. Raises UnsupportedModelError for an axis that is not there."""
    places = {axis % x.rank for axis in over if -x.rank <= axis < x.rank}
    if len(places) < len(over) or 0 in places:
        raise layer.unsupported(f"axis={list(over)} does not fit an input of {x.rank} axes")
    return Time.WHOLE if x.time is Time.SEQUENCE and 1 in places else x.time
