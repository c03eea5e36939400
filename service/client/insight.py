"""Client methods for InsightService: gradients, attribution, memory, dynamics, summaries; NumPy in and out."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.client.connections import Connections
from service.client.messages import (
    Array,
    Arrays,
    Inputs,
    LayerTrace,
    Patch,
    WeightChange,
    arrays,
    change,
    patch,
    tensors,
    to_array,
    to_tensor,
)
from service.errors import InvalidArgumentError
from service.pb import unroll_pb2 as pb

COMPLETE = 0.01  # a residual above which an attribution does not account for what it explains


@dataclass(frozen=True)
class Target:
    """What is differentiated: an element of an output, a direction of it, or a loss.

    timestep: of an output at every timestep, negative from the end; None: the last. direction: of the shape of the
    output, with or without the batch. loss: mean_squared_error, binary_crossentropy or categorical_crossentropy,
    against `expected`.
    """

    output: str = ""
    timestep: int | None = None
    element: int = 0
    direction: npt.ArrayLike | None = None
    loss: str = ""
    expected: npt.ArrayLike | None = None


@dataclass(frozen=True)
class Gradients:
    """Gradients of one number for each sequence; only what was asked for is filled."""

    model: str
    version: str
    value: Array  # (batch,)
    inputs: Mapping[str, Array]
    embedded: Mapping[str, Array]  # by call of an Embedding
    initial_state: Mapping[str, Array]
    layers: Mapping[str, LayerTrace]  # by states and pre-activations
    weights: Mapping[str, Array]
    what_if: bool
    patched: bool


@dataclass(frozen=True)
class Attribution:
    """What parts have to do with one number of each sequence.

    residual: how far the scores are from adding up to the change from the baseline, relative to it, (batch,); empty for
    methods whose scores do not add up.
    """

    model: str
    version: str
    value: Array  # (batch,)
    baseline_value: Array  # (batch,); empty like residual
    scores: Mapping[str, Array]
    residual: Array
    what_if: bool
    patched: bool


@dataclass(frozen=True)
class LayerMemory:
    """How far back a recurrent layer remembers; timesteps in the order in which it processes them."""

    class_name: str
    by_states: Array  # largest singular value of ∂s_T/∂s_t, (timesteps,)
    by_inputs: Array  # of ∂s_T/∂x_t, (timesteps,)
    horizons: tuple[int, int, int]  # timesteps back to below 50, 10 and 1 % for good; -1: never
    spectral_radius: float  # of the recurrent kernel; it does not say how long the layer remembers


@dataclass(frozen=True)
class Memory:
    """How far back the recurrent layers of a network remember."""

    model: str
    version: str
    layers: Mapping[str, LayerMemory]
    what_if: bool
    patched: bool = False


class InsightCalls(Connections):
    """The calls of InsightService; a Client has them."""

    def gradients(
        self,
        inputs: Inputs,
        target: Target | None = None,
        *,
        by: Sequence[str] = ("inputs",),
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> Gradients:
        """The gradients of one number of an output (its first element, unless `target` says otherwise).

        by: any of inputs, initial_state, states, pre_activations, weights.
        """
        request = pb.GradientsRequest(
            subject=_subject(inputs, model, version, initial_state, what_if, patches),
            target=_target(target or Target()),
            by=[_value(pb.GradientBy, "GRADIENT_BY", one, "by") for one in by],
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.GradientsResponse = self._call(3, "Gradients", request)
        return Gradients(
            answer.model,
            answer.version,
            to_array(answer.value),
            arrays(answer.inputs),
            arrays(answer.embedded),
            arrays(answer.initial_state),
            {layer.layer: LayerTrace(layer.class_name, arrays(layer.tensors)) for layer in answer.layers},
            arrays(answer.weights),
            answer.what_if,
            answer.patched,
        )

    def attribute(
        self,
        inputs: Inputs,
        target: Target | None = None,
        *,
        method: str = "integrated_gradients",
        baseline: str | Arrays = "zeros",
        points: int = 0,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> Attribution:
        """What each part of the input, or each unit, has to do with one number of an output.

        method: gradient_input, integrated_gradients, occlude_timesteps, occlude_features, ablate_units. baseline:
        zeros, training_mean, or arrays by name of the input. Warns where integrated gradients do not add up to the
        change from the baseline within 1 %.
        """
        given = baseline if isinstance(baseline, Mapping) else {}
        named = "given" if given or isinstance(baseline, Mapping) else str(baseline)
        request = pb.AttributeRequest(
            subject=_subject(inputs, model, version, initial_state, what_if, patches),
            target=_target(target or Target()),
            method=_value(pb.AttributionMethod, "ATTRIBUTION_METHOD", method, "method"),
            baseline=_value(pb.Baseline, "BASELINE", named, "baseline"),
            baseline_values=tensors(given),
            points=points,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.AttributeResponse = self._call(3, "Attribute", request)
        found = Attribution(
            answer.model,
            answer.version,
            to_array(answer.value),
            to_array(answer.baseline_value) if answer.HasField("baseline_value") else np.zeros(0),
            arrays(answer.scores),
            np.array(answer.residual),
            answer.what_if,
            answer.patched,
        )
        if method == "integrated_gradients" and not (found.residual <= COMPLETE).all():
            warnings.warn(
                f"the scores differ from the change since the baseline by up to {np.nanmax(found.residual):.1%}; "
                "take more points",
                stacklevel=2,
            )
        return found

    def remember(
        self,
        inputs: Inputs,
        *,
        layers: Sequence[str] = (),
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> Memory:
        """How far back each recurrent layer remembers, over one sequence."""
        request = pb.RememberRequest(
            subject=_subject(inputs, model, version, initial_state, what_if, patches), layers=layers
        )  # fmt: skip
        answer: pb.RememberResponse = self._call(3, "Remember", request)
        found = {}
        for layer in answer.layers:
            half, tenth, hundredth = layer.horizons
            found[layer.layer] = LayerMemory(
                layer.class_name,
                np.array(layer.by_states),
                np.array(layer.by_inputs),
                (half, tenth, hundredth),
                layer.spectral_radius,
            )
        return Memory(answer.model, answer.version, found, answer.what_if, answer.patched)

    def find_fixed_points(
        self,
        inputs: Inputs,
        *,
        layer: str = "",
        held_input: npt.ArrayLike | None = None,
        starts: int = 0,
        timesteps: Sequence[int] = (),
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> pb.FindFixedPointsResponse:
        """The fixed points of a recurrent layer for a held input, and its modes at some timesteps."""
        request = pb.FindFixedPointsRequest(
            subject=_subject(inputs, model, version, initial_state, what_if, patches),
            layer=layer,
            held_input=None if held_input is None else to_tensor(held_input),
            starts=starts,
            timesteps=timesteps,
        )
        answer: pb.FindFixedPointsResponse = self._call(3, "FindFixedPoints", request)
        return answer

    def summarize(
        self,
        batches: Iterable[Inputs],
        *,
        model: str = "",
        version: str = "",
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> pb.SummarizeResponse:
        """Every state and gate over any number of batches: mean, spread, histogram, saturated, dead."""

        def requests() -> Iterator[pb.SummarizeRequest]:
            yield pb.SummarizeRequest(
                model=model, version=version, what_if=map(change, what_if), patches=map(patch, patches)
            )  # fmt: skip
            for batch in batches:
                yield pb.SummarizeRequest(inputs=tensors(batch))

        *_, last = self._answers(3, "Summarize", requests())
        return last  # type: ignore[no-any-return]


def _subject(
    inputs: Inputs,
    model: str,
    version: str,
    initial_state: Arrays | None,
    what_if: Sequence[WeightChange],
    patches: Sequence[Patch] = (),
) -> pb.Subject:
    return pb.Subject(
        model=model,
        version=version,
        inputs=tensors(inputs),
        initial_state=tensors(initial_state or {}),
        what_if=map(change, what_if),
        patches=map(patch, patches),
    )


def _target(target: Target) -> pb.GradientTarget:
    return pb.GradientTarget(
        output=target.output,
        timestep=target.timestep,
        element=target.element,
        direction=None if target.direction is None else to_tensor(np.asarray(target.direction)),
        loss=_value(pb.GradientLoss, "GRADIENT_LOSS", target.loss or "unspecified", "target.loss"),
        expected=None if target.expected is None else to_tensor(np.asarray(target.expected)),
    )


def _value(kind: Any, prefix: str, name: str, field: str) -> Any:  # an enum of the proto
    """The value of an enum by its short name. Raises InvalidArgumentError naming those that there are."""
    full = f"{prefix}_{name.upper()}"
    names: list[str] = kind.keys()
    if full not in names:
        known = [key.removeprefix(f"{prefix}_").lower() for key in names[1:]]
        raise InvalidArgumentError(f"{field}: no {name!r}; there are: {', '.join(known)}", field=field)
    return kind.Value(full)
