"""Wrappers: TimeDistributed, and Bidirectional around recurrent layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.layers.base import Built, Layer, Record, StateSpec, Weights, WeightSpec
from service.model.layers.cells import States
from service.model.layers.dense import Dense
from service.model.layers.options import ANY, Option, choice
from service.model.layers.patch import Hook
from service.model.layers.recurrent import CellLayer, Recurrent
from service.model.tensors import Array, Policy, Tensor, Time

# A layer from its config, with the name it is to have; `service.model.layers` hands it in, since it knows all layers.
Make = Callable[[Any, str], Layer]
INNER = Option(lambda value: value, "a layer")


class TimeDistributed(Layer):
    """The same layer at each timestep."""

    CLASS = "TimeDistributed"
    NOTE = "around any layer of one input and no state"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"layer": INNER}
    KEEPS_INTEGERS = True

    def __init__(self, name: str, policy: Policy, options: Mapping[str, Any], make: Make) -> None:
        super().__init__(name, policy, options)
        self.inner = _inner(self, make)
        own, outer = self.inner.policy.compute, policy.compute
        if own != outer and not (isinstance(self.inner, Dense) and own.itemsize > outer.itemsize):
            # Keras casts to the outer type only; a product is made in the wider type of the two.
            raise self.unsupported(f"around a {self.inner.CLASS} of type {own.name}, itself of type {outer.name}")

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The inner shapes, with the axis of time."""
        (x,) = inputs
        if x.rank < 3:
            raise self.unsupported(f"expected an input of at least 3 axes, got {x.rank}")
        at = self._at(x)
        self.inner.check_types(at)
        built = self.inner.build(at)
        (y,) = built.outputs
        return Built(
            (Tensor((y.shape[0], x.shape[1], *y.shape[1:]), y.dtype, x.time),),
            tuple(WeightSpec(w.name, w.shape, w.dtype, f"layer/{w.path}") for w in built.weights),
        )

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """That of the inner layer at one timestep after the other; a trace keeps all."""
        (x,) = inputs
        at = self._at(x)
        once = self.inner.workspace(at, self.inner.build(at).outputs, traced=traced)
        return once * ((x.shape[1] or 1) if traced else 1)

    def prepare(self, weights: Weights) -> Any:
        """As the inner layer."""
        return self.inner.prepare(weights)

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The inner layer at each timestep."""
        (x,) = inputs
        steps, kept = [], []
        for t in range(x.shape[1]):
            seen: Record | None = None if record is None else {}
            at = x[:, t]
            if at.dtype.kind in self.inner.cast_kinds() and at.dtype != self.inner.policy.compute:
                at = at.astype(self.inner.policy.compute)  # Keras calls `call`, which casts nothing, but multiplies so
            steps.append(self.inner.call(weights, [at], [None], seen))
            kept.append(seen or {})
        if record is not None:
            for name in kept[0]:
                record[name] = np.stack([seen[name] for seen in kept], axis=1)
        return np.stack(steps, axis=1)

    def in_equations(self) -> dict[str, str]:
        """Those of the inner layer."""
        return self.inner.in_equations()

    def _at(self, x: Tensor) -> list[Tensor]:
        """The input of the inner layer: one timestep."""
        return [Tensor((x.shape[0], *x.shape[2:]), x.dtype)]


class SpectralNormalization(Layer):
    """A layer whose kernel training has divided by its largest singular value; the file holds it divided."""

    CLASS = "SpectralNormalization"
    NOTE = "around a layer with a kernel or a table"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"layer": INNER, "power_iterations": ANY}
    PASSES_MASK = False
    AUTOCAST = False
    KEEPS_INTEGERS = True

    def __init__(self, name: str, policy: Policy, options: Mapping[str, Any], make: Make) -> None:
        super().__init__(name, policy, options)
        self.inner = _inner(self, make)
        if self.inner.policy != policy or policy.compute != policy.variable:
            raise self.unsupported("of another type than its layer, or of mixed types")

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The layer, and the vector that training keeps."""
        self.inner.check_types(inputs)
        built = self.inner.build(inputs)
        kernel = next((w for w in built.weights if w.name in {"kernel", "embeddings"}), None)
        if kernel is None:
            raise self.unsupported(f"around a {self.inner.CLASS}, which has no kernel")
        if any(x.dtype != self.policy.compute for x in inputs):  # Keras gives out the type of what comes in
            types = f"{inputs[0].dtype.name} for {self.policy.compute.name}"
            raise self.unsupported(f"an input of type {types} is not supported")
        weights = [WeightSpec(w.name, w.shape, w.dtype, f"layer/{w.path}") for w in built.weights]
        # Keras counts the kernel among the variables of the wrapper too.
        vector = WeightSpec("vector_u", (1, kernel.shape[-1]), self.policy.variable, "vars/1")
        return Built(built.outputs, (*weights, vector))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """That of the layer."""
        return self.inner.workspace(inputs, outputs, traced=traced)

    def prepare(self, weights: Weights) -> Any:
        """As the layer."""
        return self.inner.prepare({name: weight for name, weight in weights.items() if name != "vector_u"})

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The layer."""
        return self.inner.call(weights, inputs, masks, record)


class Bidirectional(Recurrent):
    """A recurrent layer over the timesteps from both ends, and the two outputs merged."""

    CLASS = "Bidirectional"
    NOTE = "around `SimpleRNN`, `GRU`, `LSTM`, `RNN`, `ConvLSTM1D`"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "layer": INNER,
        "backward_layer": Option(INNER.parse, INNER.text, None),
        "merge_mode": choice("concat", "sum", "ave", "mul", None, default="concat"),
    }
    DIRECTIONS = ("forward", "backward")

    def __init__(self, name: str, policy: Policy, options: Mapping[str, Any], make: Make) -> None:
        super().__init__(name, policy, options)
        made = [
            make(document, f"{name}/{direction}")
            for document, direction in zip(
                (options["layer"], options["backward_layer"] or _reversed(options["layer"])),
                self.DIRECTIONS,
                strict=True,
            )
        ]
        self.parts: list[CellLayer] = []
        for layer in made:
            if not isinstance(layer, CellLayer):
                raise self.unsupported(f"around a {layer.CLASS}")
            # Keras forces it here, whatever the inner config says.
            layer.zero_masked = layer.return_sequences
            self.parts.append(layer)
        one, two = self.parts
        if one.backwards == two.backwards:
            raise self.corrupt("both layers go in the same direction")
        for option in ("return_sequences", "return_state"):
            if one.options[option] != two.options[option]:
                raise self.corrupt(f"the two layers differ in {option}")
        if one.cell.shape != two.cell.shape and options["merge_mode"] not in {"concat", None}:
            raise self.corrupt("the two layers differ in units")

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Both layers; the outputs merged."""
        for part in self.parts:
            part.check_types(inputs)
        built = [part.build(inputs) for part in self.parts]
        one, two = (b.outputs[0] for b in built)
        if self.options["merge_mode"] is not None and one.shape[:-1] != two.shape[:-1]:
            raise self.corrupt("the two layers give outputs of different shapes")
        width = self.width(one) + (self.width(two) if self.options["merge_mode"] == "concat" else 0)
        merged = [self.output((*one.shape[:-1], width), Time.WHOLE)]
        if self.options["merge_mode"] is None:
            merged.append(self.output(two.shape, Time.WHOLE))
        states = [self.output(t.shape, Time.WHOLE) for b in built for t in b.outputs[1:]]
        return Built(
            (*merged, *states),
            tuple(
                WeightSpec(f"{direction}/{w.name}", w.shape, w.dtype, f"{direction}_layer/{w.path}")
                for direction, b in zip(self.DIRECTIONS, built, strict=True)
                for w in b.weights
            ),
            tuple(
                StateSpec(f"{direction}/{s.name}", s.shape, s.dtype)
                for direction, b in zip(self.DIRECTIONS, built, strict=True)
                for s in b.states
            ),
        )

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """Of each layer, and what each gives out before the two are merged."""
        given = [part.build(inputs).outputs for part in self.parts]
        return sum(
            part.workspace(inputs, made, traced=traced) + sum(y.elements for y in made)
            for part, made in zip(self.parts, given, strict=True)
        )

    def inner_tensors(self) -> Mapping[str, int]:
        """Those of each layer."""
        return {
            f"{direction}/{name}": units
            for part, direction in zip(self.parts, self.DIRECTIONS, strict=True)
            for name, units in part.inner_tensors().items()
        }

    def in_equations(self) -> dict[str, str]:
        """Those of each layer."""
        return {
            f"{direction}/{name}": value
            for part, direction in zip(self.parts, self.DIRECTIONS, strict=True)
            for name, value in part.in_equations().items()
        }

    def prepare(self, weights: Weights) -> Any:
        """Of each layer."""
        return [
            part.prepare({n.removeprefix(f"{d}/"): w for n, w in weights.items() if n.startswith(f"{d}/")})
            for part, d in zip(self.parts, self.DIRECTIONS, strict=True)
        ]

    def run(
        self,
        weights: Any,
        x: Array,
        mask: Array | None,
        states: States | None,
        record: Record | None,
        *,
        resumed: bool = True,
        hook: Hook | None = None,
    ) -> tuple[tuple[Array, ...], States]:
        """Both layers on the same input; states of the forward one first."""
        half = len(self.parts[0].cell.states())
        given = (None, None) if states is None else (states[:half], states[half:])
        outputs, after, seen = [], [], []
        for part, direction, prepared, start in zip(self.parts, self.DIRECTIONS, weights, given, strict=True):
            kept: Record | None = None if record is None else {}
            at = x if x.dtype == part.policy.compute else x.astype(part.policy.compute)
            own = None if hook is None else hook.part(f"{direction}/", turned=part.backwards)
            output, final = part.run(prepared, at, mask, start, kept, resumed=resumed, hook=own)
            outputs.append(output)
            after.append(final)
            seen.append(kept or {})
        if record is not None:
            for part, direction, kept in zip(self.parts, self.DIRECTIONS, seen, strict=True):
                turn = -1 if part.backwards else 1
                record.update({f"{direction}/{name}": value[:, ::turn] for name, value in kept.items()})
        kind = self.policy.compute
        one, two = (output[0].astype(kind, copy=False) for output in outputs)
        if self.parts[0].return_sequences:
            two = two[:, ::-1]
        extra = tuple(value for output in outputs for value in output[1:])
        return (*MERGES[self.options["merge_mode"]](one, two), *extra), after[0] + after[1]

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """The mask goes on where the output is a sequence."""
        mask = masks[0] if self.parts[0].return_sequences else None
        main = (mask,) if self.options["merge_mode"] else (mask, mask)
        states = sum(len(part.cell.states()) for part in self.parts) if self.parts[0].options["return_state"] else 0
        return (*main, *[None] * states)


MERGES: dict[str | None, Callable[[Array, Array], tuple[Array, ...]]] = {
    "concat": lambda one, two: (np.concatenate((one, two), axis=-1),),
    "sum": lambda one, two: (one + two,),
    "ave": lambda one, two: ((one + two) / one.dtype.type(2),),
    "mul": lambda one, two: (one * two,),
    None: lambda one, two: (one, two),
}


def _reversed(document: Any) -> Any:
    """The config of the forward layer, going the other way: what Keras makes where no backward layer is given."""
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        return document
    config = document["config"]
    return {**document, "config": {**config, "go_backwards": config.get("go_backwards") is not True}}


def _inner(outer: Layer, make: Make) -> Layer:
    """The layer inside a wrapper. Raises UnsupportedModelError unless it has one input, and neither state nor mask."""
    inner = make(outer.options["layer"], outer.name)
    if isinstance(inner, Recurrent | TimeDistributed) or inner.MANY_INPUTS or inner.makes_mask():
        raise outer.unsupported(f"around a {inner.CLASS}")
    return inner
