"""Layers that shift and scale, by learned values, given values, or the moments of each element."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.layers.base import Built, ElementwiseLayer, Layer, Record, Weights, WeightSpec
from service.model.layers.elementwise import along
from service.model.layers.options import ANY, MAX_EXTENT, Option, axes, choice, flag, integer, number, size
from service.model.tensors import Array, DType, Tensor, Time

# keras.config.epsilon(): what Normalization keeps standard deviations above. Keras does not store it in files.
KERAS_EPSILON = 1e-7


def array(default: Any) -> Option:
    """A number or nested lists of numbers, as Keras stores NumPy arrays too.

    Keras makes tensors of plain numbers in single precision, whatever the layer computes in; arrays keep their type.
    """

    def parse(value: Any) -> Any:
        dtype = "float32"
        if isinstance(value, dict):
            if value.get("class_name") not in ("__numpy__", "__tensor__") or not isinstance(value.get("config"), dict):
                raise ValueError
            value, given = value["config"].get("value"), value["config"].get("dtype")
            dtype = given if given in ("float16", "float32") else "float64"
        if value is None:
            return None
        with np.errstate(over="ignore"):
            found = np.array(value, np.float64).astype(dtype).astype(np.float64)
        if found.ndim > 4 or found.size > MAX_EXTENT or not np.isfinite(found).all():
            raise ValueError
        return found.tolist()

    return Option(parse, "a number or nested lists of numbers", default)


class Rescaling(ElementwiseLayer):
    """x · scale + offset."""

    CLASS = "Rescaling"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"scale": array(1.0), "offset": array(0.0)}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape; scale and offset must fit the last axis."""
        (x,) = inputs
        for name in ("scale", "offset"):
            shape = np.shape(self.options[name])
            if shape not in {(), (1,), x.shape[-1:]}:
                raise self.unsupported(f"{name} of shape {shape} does not fit the last axis")
        return super().build(inputs)

    def function(self, x: Array) -> Array:
        """The output."""
        kind = self.policy.compute
        return x.astype(kind, copy=False) * np.array(self.options["scale"], kind) + np.array(
            self.options["offset"], kind
        )


class Normalization(Layer):
    """(x - mean) / max(√variance, ε), or back with `invert`; adapted to data (stored as weights) or given."""

    CLASS = "Normalization"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "axis": Option(lambda v: None if v is None else axes().parse(v), "an axis, a list of axes or none", (-1,)),
        "mean": array(None),
        "variance": array(None),
        "invert": flag(False),
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Mean and variance, unless they are given."""
        (x,) = inputs
        kept = self._kept(x.rank)
        extents = [x.shape[axis] for axis in kept]
        if 0 in kept or None in extents:
            raise self.unsupported("the axes to normalize must have known extents, and not be the batch")
        shape = [extent for extent in extents if extent is not None]
        time = Time.WHOLE if x.time is Time.SEQUENCE and 1 in kept else x.time
        built = Built((self.output(x.shape, time),))
        if (self.options["mean"] is None) != (self.options["variance"] is None):
            raise self.unsupported("mean and variance must be given both or neither")
        if self.options["mean"] is None:
            return Built(
                built.outputs, (self.weight("mean", shape, "vars/0"), self.weight("variance", shape, "vars/1"))
            )
        for name in ("mean", "variance"):
            given = np.shape(self.options[name])
            ends = shape[len(shape) - len(given) :]
            if len(given) > len(shape) or any(g not in {1, extent} for g, extent in zip(given, ends, strict=True)):
                raise self.unsupported(f"{name} of shape {given} does not fit")
        return built

    def prepare(self, weights: Weights) -> Any:
        """Mean and deviation, over the kept axes."""
        kind = self.policy.compute
        if self.options["mean"] is None:
            mean, variance = weights["mean"].astype(kind, copy=False), weights["variance"].astype(kind, copy=False)
        else:
            mean, variance = np.array(self.options["mean"], kind), np.array(self.options["variance"], kind)
        with np.errstate(invalid="ignore"):
            return mean, np.maximum(np.sqrt(variance), kind.type(KERAS_EPSILON))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        (x,) = inputs
        mean, deviation = (self.spread(v, x) for v in weights)
        return mean + x * deviation if self.options["invert"] else (x - mean) / deviation

    def _kept(self, rank: int) -> list[int]:
        return sorted({axis % rank for axis in self.options["axis"] or ()})

    def spread(self, value: Array, x: Array) -> Array:
        """Mean or deviation in the shape that broadcasts over x."""
        kept = self._kept(x.ndim)
        value = np.broadcast_to(value, tuple(x.shape[axis] for axis in kept))
        return value.reshape([x.shape[axis] if axis in kept else 1 for axis in range(x.ndim)])


class BatchNormalization(Layer):
    """γ · (x - μ) / √(σ² + ε) + β, with the moving mean and variance of training, in at least single precision."""

    CLASS = "BatchNormalization"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "axis": integer(-32, 32, -1),
        "epsilon": number(1e-3),
        "center": flag(True),
        "scale": flag(True),
        "renorm": choice(False, default=False),
        "momentum": ANY,
        "renorm_clipping": ANY,
        "renorm_momentum": ANY,
        "synchronized": ANY,
    }

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Four vectors along the axis."""
        (x,) = inputs
        if x.dtype.kind == "i" and self.policy.compute == np.float64:  # Keras computes in single precision then
            raise self.unsupported(f"an input of type {x.dtype.name} for float64 is not supported")
        time = along(self, x, [self.options["axis"]])
        extent = x.shape[self.options["axis"]]
        if extent is None:
            raise self.unsupported("the axis to normalize must have a known extent")
        names = [n for n, on in (("gamma", "scale"), ("beta", "center")) if self.options[on]]
        names += ["moving_mean", "moving_variance"]
        return Built(
            (self.output(x.shape, time),),
            tuple(stored(self, name, (extent,), i) for i, name in enumerate(names)),
        )

    def prepare(self, weights: Weights) -> Any:
        """Factor and offset, in the order of operations of tf.nn.batch_normalization."""
        kind = np.result_type(self.policy.compute, np.float32)
        w = {name: weight.astype(kind) for name, weight in weights.items()}
        with np.errstate(all="ignore"):
            factor = 1 / np.sqrt(w["moving_variance"] + kind.type(self.options["epsilon"]))
            if "gamma" in w:
                factor = factor * w["gamma"]
            offset = -w["moving_mean"] * factor
        return factor, w["beta"] + offset if "beta" in w else offset

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        (x,) = inputs
        shape = [1] * x.ndim
        shape[self.options["axis"]] = -1
        factor, offset = (v.reshape(shape) for v in weights)
        return (x.astype(factor.dtype, copy=False) * factor + offset).astype(self.policy.compute, copy=False)


class LayerNormalization(Layer):
    """γ · (x - mean x) / √(var x + ε) + β over axes of each element, in at least single precision."""

    CLASS = "LayerNormalization"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "axis": axes((-1,)),
        "epsilon": number(1e-3),
        "center": flag(True),
        "scale": flag(True),
        "rms_scaling": choice(False, default=False),
    }
    AUTOCAST = False

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Gamma and beta over the axes."""
        (x,) = inputs
        if x.dtype.itemsize < self.policy.compute.itemsize:  # Keras computes in the type of its input then
            raise self.unsupported(f"an input of type {x.dtype.name} for {self.policy.compute.name} is not supported")
        time, shape = extents(self, x)
        names = [n for n, on in (("gamma", "scale"), ("beta", "center")) if self.options[on]]
        return Built((self.output(x.shape, time),), tuple(stored(self, name, shape, i) for i, name in enumerate(names)))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output, in the order of operations of keras.ops.layer_normalization."""
        kind = np.result_type(inputs[0].dtype, np.float32)
        x = inputs[0].astype(kind, copy=False)
        over = tuple(self.options["axis"])
        mean = x.mean(axis=over, keepdims=True)
        variance = np.square(x - mean).mean(axis=over, keepdims=True)
        factor = 1 / np.sqrt(variance + kind.type(self.options["epsilon"]))
        if "gamma" in weights:
            factor = factor * spread(weights["gamma"].astype(kind), x, over)
        offset = -mean * factor
        if "beta" in weights:
            offset = offset + spread(weights["beta"].astype(kind), x, over)
        return (x * factor + offset).astype(self.policy.compute, copy=False)


class RMSNormalization(Layer):
    """Scale · x / √(mean x² + ε) over axes of each element, in at least single precision."""

    CLASS = "RMSNormalization"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"axis": axes((-1,)), "epsilon": number(1e-6)}
    PASSES_MASK = False

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Scale over the axes."""
        (x,) = inputs
        time, shape = extents(self, x)
        return Built((self.output(x.shape, time),), (self.weight("scale", shape, "vars/0"),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        kind = np.result_type(inputs[0].dtype, np.float32)
        x = inputs[0].astype(kind, copy=False)
        over = tuple(self.options["axis"])
        factor = 1 / np.sqrt(np.square(x).mean(axis=over, keepdims=True) + kind.type(self.options["epsilon"]))
        return (x * factor * spread(weights["scale"].astype(kind), x, over)).astype(self.policy.compute, copy=False)


class UnitNormalization(Layer):
    """x / |x| over axes of each element."""

    CLASS = "UnitNormalization"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"axis": axes((-1,))}

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape."""
        (x,) = inputs
        return Built((self.output(x.shape, along(self, x, self.options["axis"])),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output, as keras.ops.normalize has it: x · min(1 / √Σx², 1 / ε), ε = 1e-12.

        In half precision 1 / ε is infinite, and nothing but zeros becomes NaN, there and here.
        """
        (x,) = inputs
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        squares = np.square(wide).sum(axis=tuple(self.options["axis"]), keepdims=True)
        with np.errstate(over="ignore"):
            largest = wide.dtype.type(x.dtype.type(1e12))
        return (wide * np.minimum(1 / np.sqrt(squares), largest)).astype(x.dtype, copy=False)


class GroupNormalization(Layer):
    """γ · (x - mean x) / √(var x + ε) + β, with the moments of groups of channels, over all other axes together."""

    CLASS = "GroupNormalization"
    TYPES = "f"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "groups": Option(lambda v: -1 if v == -1 and not isinstance(v, bool) else size().parse(v), "-1 or from 1", 32),
        "axis": integer(-32, 32, -1),
        "epsilon": number(1e-3),
        "center": flag(True),
        "scale": flag(True),
    }
    AUTOCAST = False

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Gamma and beta along the axis."""
        (x,) = inputs
        axis = self.options["axis"]
        along(self, x, [axis])
        extent = x.shape[axis]
        if extent is None or extent % self.groups(extent):
            raise self.unsupported("the axis must have a known extent, which the number of groups divides")
        names = [n for n, on in (("gamma", "scale"), ("beta", "center")) if self.options[on]]
        time = Time.WHOLE if x.time is Time.SEQUENCE else x.time
        return Built(
            (self.output(x.shape, time),), tuple(stored(self, name, (extent,), i) for i, name in enumerate(names))
        )

    def groups(self, extent: int) -> int:
        """Their number; -1 is one for each channel."""
        count = self.options["groups"]
        return extent if count == -1 else int(count)

    def grouped(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """X with an axis for the groups before that of their channels, and the axes that moments are taken over."""
        axis = self.options["axis"] % x.ndim
        count = self.groups(x.shape[axis])
        y = x.reshape(*x.shape[:axis], count, x.shape[axis] // count, *x.shape[axis + 1 :])
        return y, tuple(i for i in range(1, y.ndim) if i != axis)

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output; moments are added up in double precision, since there may be many timesteps."""
        (x,) = inputs
        kind = np.result_type(x.dtype, np.float32)
        y, over = self.grouped(x.astype(kind, copy=False))
        mean = y.mean(axis=over, keepdims=True, dtype=np.float64)
        variance = np.square(y - mean).mean(axis=over, keepdims=True, dtype=np.float64).astype(kind)
        factor = 1 / np.sqrt(variance + kind.type(self.options["epsilon"]))
        z = ((y - mean.astype(kind)) * factor).reshape(x.shape)
        at = [1] * x.ndim
        at[self.options["axis"]] = -1
        if "gamma" in weights:
            z = z * weights["gamma"].astype(kind).reshape(at)
        if "beta" in weights:
            z = z + weights["beta"].astype(kind).reshape(at)
        return z.astype(x.dtype, copy=False).astype(self.policy.compute, copy=False)


def stored(layer: Layer, name: str, shape: tuple[int, ...], number: int) -> WeightSpec:
    """A weight that Keras makes with autocast off: of the layer's variable type."""
    dtype: DType = layer.policy.variable
    return WeightSpec(name, shape, dtype, f"vars/{number}")


def extents(layer: Layer, x: Tensor) -> tuple[Time, tuple[int, ...]]:
    """The relation to time, and the extents, of the axes that a layer normalizes over. Keras wants them sorted."""
    over = layer.options["axis"]
    time = along(layer, x, over)
    found = [x.shape[axis] for axis in sorted(over)]
    known = tuple(extent for extent in found if extent is not None)
    if len(known) < len(found) or sorted(a % x.rank for a in over) != [a % x.rank for a in sorted(over)]:
        raise layer.unsupported(f"axis={list(over)} must be of known extents, and all counted from one end")
    if math.prod(known) > MAX_EXTENT:
        raise layer.unsupported("the axes to normalize over are too large")
    return time, known


def spread(value: Array, x: Array, over: Sequence[int]) -> Array:
    """A weight over some axes, in the shape that broadcasts over x."""
    places = {axis % x.ndim for axis in over}
    return value.reshape([extent if axis in places else 1 for axis, extent in enumerate(x.shape)])
