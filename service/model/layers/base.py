"""The interface of a layer: options and shapes at load, and a pure function of inputs and weights."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from service.errors import CorruptModelError, UnsupportedModelError
from service.model.layers.options import Option, in_equations
from service.model.tensors import Array, DType, Policy, Shape, Tensor, Time, type_name

Weights = Mapping[str, Array]  # by the name within the layer, such as `kernel`
Record = dict[str, Array]  # what a trace keeps of one call of one layer


@dataclass(frozen=True)
class WeightSpec:
    """A weight that a layer asks for."""

    name: str  # within the layer: kernel, forward/kernel
    shape: tuple[int, ...]
    dtype: DType
    path: str  # in the H5 file, below the layer's folder: vars/0, cell/vars/0


@dataclass(frozen=True)
class StateSpec:
    """A state that a layer carries from one timestep to the next.

    A cell computes with vectors, and a trace shows them: a state of several axes has as many units as elements, in
    row-major order.
    """

    name: str  # within the layer: hidden_state, forward/hidden_state
    shape: tuple[int, ...]  # without the batch
    dtype: DType

    @property
    def units(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Built:
    """What becomes of a layer once the shapes of its inputs are known."""

    outputs: tuple[Tensor, ...]
    weights: tuple[WeightSpec, ...] = ()
    states: tuple[StateSpec, ...] = ()


class Layer:
    """A layer: its name and its checked options, never its weights.

    Networks share layers (`with_weights`), and threads share networks, so `call` changes nothing in a layer.
    The gradient of a layer stands in service/model/gradients, in the file of the same name.

    Subclasses list their options, say in `build` which shapes, weights and states follow, and compute in `call`.
    """

    CLASS: str  # as Keras names it
    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    NOTE: ClassVar[str] = ""  # for the list of supported layers
    # Keras's `supports_masking`: whether a mask that comes in goes out; a layer that does not destroys it.
    PASSES_MASK: ClassVar[bool] = True
    # What is cast to the layer's type before `call`: floats always (Keras's `autocast`) unless AUTOCAST is off;
    # integers where the layer computes with them, not where it only moves them.
    AUTOCAST: ClassVar[bool] = True
    KEEPS_INTEGERS: ClassVar[bool] = False
    TYPES: ClassVar[str] = (
        "fi"  # kinds of NumPy types that inputs may have; others Keras refuses, or computes otherwise
    )
    MANY_INPUTS: ClassVar[bool] = False  # a list of tensors, rather than one
    # What a call may say: options, and tensors by name, in the order of the arguments of Keras's `call`.
    CALL: ClassVar[Mapping[str, Option]] = {}
    ROLES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def dtype_of(cls, given: Any) -> Any:
        """The dtype of a config, for layers that write there what they do not compute in."""
        return given

    def __init__(self, name: str, policy: Policy, options: Mapping[str, Any]) -> None:
        self.name = name
        self.policy = policy
        self.options = options

    @property
    def where(self) -> str:
        """The layer as errors name it."""
        return f"layer {self.name} ({self.CLASS})"

    def called(self, roles: tuple[str, ...], given: Mapping[str, Any]) -> "Layer":
        """The layer with the options of a call of it, whose inputs have these roles."""
        layer = copy.copy(self)
        layer.options = {**self.options, **given, "roles": roles}
        return layer

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Shapes, weights and states that follow from the inputs. Raises ModelError for inputs that do not fit."""
        raise NotImplementedError

    def prepare(self, weights: Weights) -> Any:
        """The weights as `call` wants them, made once for each network: cast, split, laid out."""
        return weights

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output (or a tuple of outputs); with `record`, also keeps there what a trace shows."""
        raise NotImplementedError

    def in_equations(self) -> dict[str, str]:
        """The options that its equation depends on, by Keras's name; of a direction or a cell with that before it."""
        return in_equations(self.options)

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """The mask of the output (or a tuple of them); called only where the layer makes or passes masks."""
        return masks[0]

    def makes_mask(self) -> bool:
        """Whether the output has a mask though no input has one."""
        return False

    def not_streamable(self) -> str:
        """Why a sequence cannot arrive in pieces, where it makes a value of all timesteps."""
        return "looks at all timesteps at once"

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """Elements that it lays out for each sequence besides its outputs, or that a trace keeps; extents are known."""
        return 0

    def unsupported(self, message: str) -> UnsupportedModelError:
        """An error about this layer."""
        return UnsupportedModelError(f"{self.where}: {message}", layer=self.name, layer_class=self.CLASS)

    def corrupt(self, message: str) -> CorruptModelError:
        """An error about a file that contradicts itself in this layer."""
        return CorruptModelError(f"{self.where}: {message}", layer=self.name, layer_class=self.CLASS)

    def check_types(self, inputs: Sequence[Tensor]) -> None:
        """Whether the inputs are of types that the layer computes as Keras does. Raises UnsupportedModelError."""
        for x in inputs:
            if x.dtype.kind not in self.TYPES:
                raise self.unsupported(f"an input of type {type_name(x.dtype)} is not supported")

    def cast_kinds(self) -> str:
        """The kinds of NumPy types among the inputs that are cast to the layer's type before `call`."""
        return ("f" if self.AUTOCAST else "") + ("" if self.KEEPS_INTEGERS else "iu")

    def output(self, shape: Shape, time: Time) -> Tensor:
        """A tensor of the type that the layer computes in."""
        return Tensor(shape, self.policy.compute, time)

    def moved(self, tensor: Tensor, shape: Shape, time: Time) -> Tensor:
        """A tensor of another shape with the elements of an input; integers stay what they are where they are kept."""
        return Tensor(shape, self.policy.compute if tensor.dtype.kind in self.cast_kinds() else tensor.dtype, time)

    def width(self, tensor: Tensor, rank: int = 2) -> int:
        """The extent of the last axis, which must be known, of a tensor of at least that rank."""
        if tensor.rank < rank or tensor.shape[-1] is None:
            raise self.unsupported(f"an input of shape {show(tensor.shape)} does not fit")
        return tensor.shape[-1]

    def weight(self, name: str, shape: Sequence[int], path: str) -> WeightSpec:
        """A weight of the type that the layer stores."""
        return WeightSpec(name, tuple(shape), self.policy.variable, path)

    def cast(self, weights: Weights, name: str) -> Array | None:
        """A weight in the type that the layer computes in; None if the layer has none of that name."""
        weight = weights.get(name)
        return None if weight is None else weight.astype(self.policy.compute, copy=False)


class ElementwiseLayer(Layer):
    """A layer whose output has the shape of its input and knows nothing of time."""

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape."""
        return Built((self.moved(inputs[0], inputs[0].shape, inputs[0].time),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """`function` of the one input."""
        return self.function(inputs[0])

    def function(self, x: Array) -> Array:
        """The output; x (batch, …)."""
        raise NotImplementedError


def show(shape: Shape) -> str:
    """A shape as errors show it."""
    return "(" + ", ".join("any" if extent is None else str(extent) for extent in shape) + ")"
