"""InsightService: gradients, attribution, memory, dynamics and summaries."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from service.api.codec import (
    add_all,
    check_count,
    decode,
    decode_inputs,
    decode_named,
    decode_patches,
    encode,
    encoding_of,
)
from service.api.what_if import changed, kept_elements
from service.config import Limits
from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.errors import InvalidArgumentError, ServiceError
from service.model import statistics
from service.model.gradients import Tape
from service.model.gradients.tape import Gradients
from service.model.insight import attribution, dynamics, memory
from service.model.insight.attribution import Method as AttributionMethod
from service.model.insight.attribution import Question, attribute, training_mean
from service.model.insight.dynamics import Mode
from service.model.insight.memory import Memory
from service.model.insight.summary import BINS, Summarizer, UnitSummary
from service.model.insight.target import Loss, Target, seed
from service.model.layers.patch import Patch
from service.model.network import Network
from service.model.tensors import Array
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from service.serving.loaded import LoadedVersion

METHODS = {
    pb.ATTRIBUTION_METHOD_UNSPECIFIED: AttributionMethod.INTEGRATED_GRADIENTS,
    pb.ATTRIBUTION_METHOD_GRADIENT_INPUT: AttributionMethod.GRADIENT_INPUT,
    pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS: AttributionMethod.INTEGRATED_GRADIENTS,
    pb.ATTRIBUTION_METHOD_OCCLUDE_TIMESTEPS: AttributionMethod.OCCLUDE_TIMESTEPS,
    pb.ATTRIBUTION_METHOD_OCCLUDE_FEATURES: AttributionMethod.OCCLUDE_FEATURES,
    pb.ATTRIBUTION_METHOD_ABLATE_UNITS: AttributionMethod.ABLATE_UNITS,
}
LOSSES = {
    pb.GRADIENT_LOSS_UNSPECIFIED: None,
    pb.GRADIENT_LOSS_MEAN_SQUARED_ERROR: Loss.MEAN_SQUARED_ERROR,
    pb.GRADIENT_LOSS_BINARY_CROSSENTROPY: Loss.BINARY_CROSSENTROPY,
    pb.GRADIENT_LOSS_CATEGORICAL_CROSSENTROPY: Loss.CATEGORICAL_CROSSENTROPY,
}
BACK = 2  # a way back takes as much room as the trace that it follows
MOST_POINTS = 256
MOST_STARTS = 256
MOST_TIMESTEPS = 1_024


@dataclass(frozen=True)
class _Subject:
    """A network and sequences for it, as a request names them."""

    version: LoadedVersion
    network: Network
    inputs: Mapping[str, Array]
    state: Mapping[str, Array]
    patches: Sequence[Patch]

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return len(next(iter(self.inputs.values())))


class InsightServicer:
    """Answers from the snapshot of a host. Everything is computed by the network itself, none by an engine."""

    def __init__(self, host: Host, limits: Limits) -> None:
        self._host = host
        self._limits = limits

    def methods(self) -> list[Method]:
        """The table of this service."""
        return methods_of(
            pb.DESCRIPTOR.services_by_name["InsightService"],
            {
                "Gradients": Row(self.gradients, Bound.COMPUTED, Role.INSPECT),
                "Attribute": Row(self.attribute, Bound.COMPUTED, Role.INSPECT),
                "Remember": Row(self.remember, Bound.COMPUTED, Role.INSPECT),
                "FindFixedPoints": Row(self.find_fixed_points, Bound.COMPUTED, Role.INSPECT),
                "Summarize": Row(self.summarize, Bound.STREAM, Role.INSPECT, Pool.STREAM),
            },
        )

    def gradients(self, request: pb.GradientsRequest, call: Call) -> pb.GradientsResponse:
        """Gradients: one recorded pass forward, one way back."""
        wanted = _wanted(request.by)
        subject = self._subject(request.subject, call)
        encoding = encoding_of(request.encoding, request.subject.inputs)
        target = self._target(request.target)
        with self._computing(subject, call, BACK):
            tape = Tape(subject.network, subject.inputs, subject.state, subject.patches, call.check)
            output, value, by_output = seed(tape.outputs, target)
            found = tape.backward({output: by_output}, weights=pb.GRADIENT_BY_WEIGHTS in wanted)
        response = pb.GradientsResponse(value=encode(value, "value", encoding), **_header(subject, request.subject))
        _add_gradients(response, found, wanted, subject.network, encoding)
        return response

    def attribute(self, request: pb.AttributeRequest, call: Call) -> pb.AttributeResponse:
        """Attribute: many forward passes, or ways back, in one batch."""
        if request.method not in METHODS:
            raise InvalidArgumentError(f"method: unknown method {request.method}", field="method")
        method = METHODS[request.method]
        points = _count(request.points, attribution.POINTS, MOST_POINTS, "points")
        subject = self._subject(request.subject, call)
        encoding = encoding_of(request.encoding, request.subject.inputs)
        target = self._target(request.target)
        baseline = self._baseline(request, subject.network)
        copies = attribution.copies_of(subject.network, subject.inputs, method, points) * BACK
        with self._computing(subject, call, copies):
            question = Question(subject.network, subject.inputs, subject.state, target, subject.patches)
            found = attribute(question, method, baseline, points)
        response = pb.AttributeResponse(
            value=encode(found.value, "value", encoding), residual=found.residual, **_header(subject, request.subject)
        )
        add_all(response.scores, found.scores, encoding)
        if found.residual.size:
            response.baseline_value.CopyFrom(encode(found.baseline_value, "baseline_value", encoding))
        return response

    def remember(self, request: pb.RememberRequest, call: Call) -> pb.RememberResponse:
        """Remember: one way back for each recurrent layer, with a sequence for each of its states."""
        subject = self._subject(request.subject, call)
        if subject.batch != 1:
            raise InvalidArgumentError(
                f"subject.inputs: expected one sequence, got {subject.batch}", field="subject.inputs"
            )
        copies = memory.copies_of(subject.network) * BACK
        with self._computing(subject, call, copies):
            found = memory.remember(
                subject.network, subject.inputs, subject.state, request.layers, subject.patches
            )  # fmt: skip
        header = _header(subject, request.subject)
        return pb.RememberResponse(layers=[_memory(subject.network, one) for one in found], **header)

    def find_fixed_points(self, request: pb.FindFixedPointsRequest, call: Call) -> pb.FindFixedPointsResponse:
        """FindFixedPoints: Newton's method from states visited."""
        starts = _count(request.starts, dynamics.STARTS, MOST_STARTS, "starts")
        check_count(len(request.timesteps), "timesteps", MOST_TIMESTEPS, "timesteps")
        subject = self._subject(request.subject, call)
        held = None
        if request.HasField("held_input"):
            held = decode(request.held_input, _kind(request.held_input), "held_input", self._limits)
        steps = dynamics.steps_of(subject.network, starts, len(request.timesteps))
        copies = BACK + math.ceil(BACK * steps / max(1, _timesteps(subject.inputs) * subject.batch))
        with self._computing(subject, call, copies):
            part = dynamics.layer_part(
                subject.network, subject.inputs, subject.state, request.layer, subject.patches
            )  # fmt: skip
            found = dynamics.find(part, held, request.timesteps, starts)
        header = _header(subject, request.subject)
        return pb.FindFixedPointsResponse(
            layer=found.layer,
            class_name=found.class_name,
            held_input=encode(found.held, "held_input", pb.TENSOR_ENCODING_VALUES),
            points=[
                pb.FixedPoint(
                    state=point.state, stable=point.stable, starts=point.starts, speed=point.speed,
                    modes=map(_mode, point.modes),
                )
                for point in found.points
            ],
            lost=found.lost,
            along=[pb.StepModes(timestep=t, modes=map(_mode, modes)) for t, modes in found.along.items()],
            **header,
        )  # fmt: skip

    def summarize(self, requests: Iterator[pb.SummarizeRequest], call: Call) -> Iterator[pb.SummarizeResponse]:
        """Summarize: batch by batch; sums are locals of this call."""
        first = next(requests, None)
        if first is None:
            return
        version = self._host.resolve(first.model, first.version, call)
        with self._host.changed_weights.take(call.identity(), kept_elements(version, first.what_if)):
            network = changed(
                self._host, version.network, first.what_if, call, field="what_if", limits=self._limits
            )  # fmt: skip
            summarizer = Summarizer(network, decode_patches(first.patches, "patches", self._limits))
            about: dict[str, Any] = {"model": version.model, "version": version.entry.number}
            about |= {"what_if": bool(first.what_if), "patched": bool(first.patches)}
            for request in chain([first], requests):
                if request is not first:
                    _check_follows(request)
                if request.inputs:
                    inputs, state = decode_inputs(request.inputs, request.initial_state, network, self._limits)
                    with self._host.admission.take(network, inputs, call, traced=True, slot=True):
                        summarizer.add(inputs, state)
                if request.report:
                    yield _summary(about, summarizer)
            yield _summary(about, summarizer)

    def _subject(self, subject: pb.Subject, call: Call) -> _Subject:
        with _within_subject():
            version = self._host.resolve(subject.model, subject.version, call)
            network = changed(
                self._host, version.network, subject.what_if, call, field="what_if", limits=self._limits
            )  # fmt: skip
            inputs, state = decode_inputs(subject.inputs, subject.initial_state, network, self._limits)
            return _Subject(
                version, network, inputs, state, decode_patches(subject.patches, "patches", self._limits)
            )  # fmt: skip

    @contextmanager
    def _computing(self, subject: _Subject, call: Call, copies: int) -> Iterator[None]:
        """Admits a computation of as much as so many traces of a subject."""
        with (
            _within_subject(),
            self._host.admission.take(subject.network, subject.inputs, call, traced=True, slot=True, copies=copies),
        ):
            yield

    def _target(self, target: pb.GradientTarget) -> Target:
        if target.loss not in LOSSES:
            raise InvalidArgumentError(f"target.loss: unknown loss {target.loss}", field="target.loss")
        if target.loss and target.HasField("direction"):
            raise InvalidArgumentError("target.direction: not together with a loss", field="target.direction")
        return Target(
            target.output,
            target.timestep if target.HasField("timestep") else -1,
            target.element,
            self._array(target, "direction"),
            LOSSES[target.loss],
            self._array(target, "expected"),
        )

    def _array(self, target: pb.GradientTarget, name: str) -> Array | None:
        if not target.HasField(name):
            return None
        tensor = getattr(target, name)
        return decode(tensor, _kind(tensor), f"target.{name}", self._limits)

    def _baseline(self, request: pb.AttributeRequest, network: Network) -> Mapping[str, Array]:
        if request.baseline not in pb.Baseline.values():
            raise InvalidArgumentError(f"baseline: unknown baseline {request.baseline}", field="baseline")
        if request.baseline_values and request.baseline != pb.BASELINE_GIVEN:
            raise InvalidArgumentError("baseline_values: only with the baseline GIVEN", field="baseline_values")
        if request.baseline == pb.BASELINE_TRAINING_MEAN:
            return training_mean(network)
        return decode_named(request.baseline_values, network.inputs, "baseline_values", self._limits)


@contextmanager
def _within_subject() -> Iterator[None]:
    """Puts `subject.` before the field that an error names, where it is one of the subject."""
    try:
        yield
    except ServiceError as error:
        if re.split(r"[.\[]", error.field)[0] in pb.Subject.DESCRIPTOR.fields_by_name:
            error.field = f"subject.{error.field}"
        raise


def _header(subject: _Subject, asked: pb.Subject) -> dict[str, Any]:
    return {
        "model": subject.version.model,
        "version": subject.version.entry.number,
        "what_if": bool(asked.what_if),
        "patched": bool(asked.patches),
    }


def _wanted(by: Sequence[int]) -> frozenset[int]:
    for i, one in enumerate(by):
        if one not in pb.GradientBy.values() or one == pb.GRADIENT_BY_UNSPECIFIED:
            raise InvalidArgumentError(f"by[{i}]: unknown {one}", field=f"by[{i}]")
    if not by:
        raise InvalidArgumentError("by: say what to differentiate by", field="by")
    return frozenset(by)


def _add_gradients(
    response: pb.GradientsResponse, found: Gradients, wanted: frozenset[int], network: Network, encoding: int
) -> None:
    if pb.GRADIENT_BY_INPUTS in wanted:
        add_all(response.inputs, found.inputs, encoding)
        add_all(response.embedded, found.embedded, encoding)
    if pb.GRADIENT_BY_INITIAL_STATE in wanted:
        add_all(response.initial_state, found.initial_state, encoding)
    if pb.GRADIENT_BY_WEIGHTS in wanted:
        add_all(response.weights, {n: found.weights[n] for n in network.weights if n in found.weights}, encoding)
    for node in network.graph.nodes:
        states = {state.name for state in node.states}
        tensors = {
            name: array
            for name, array in found.inside.get(node.name, {}).items()
            if (pb.GRADIENT_BY_STATES in wanted and name in states)
            or (pb.GRADIENT_BY_PRE_ACTIVATIONS in wanted and name.rpartition("/")[2] == "pre_activation")
        }
        if tensors:
            layer = response.layers.add(layer=node.name, class_name=network.graph.layers[node.layer].layer.CLASS)
            add_all(layer.tensors, tensors, encoding)


def _memory(network: Network, found: Memory) -> pb.LayerMemory:
    radii = [
        radius
        for name, weight in network.weights.items()
        if name.startswith(f"{found.layer}/") and name.endswith("recurrent_kernel")
        for radius in statistics.describe(name, weight).spectral_radius
    ]
    return pb.LayerMemory(
        layer=found.layer,
        class_name=found.class_name,
        by_states=found.by_states,
        by_inputs=found.by_inputs,
        horizons=found.horizons,
        spectral_radius=max(radii, default=0.0),
    )


def _mode(mode: Mode) -> pb.Mode:
    return pb.Mode(
        real=mode.real,
        imaginary=mode.imaginary,
        modulus=mode.modulus,
        time_constant=mode.time_constant,
        period=mode.period,
    )


def _check_follows(request: pb.SummarizeRequest) -> None:
    """Raises InvalidArgumentError where a message that is not the first names what only the first may."""
    for field in ("model", "version", "what_if", "patches"):
        if getattr(request, field):
            raise InvalidArgumentError(f"{field}: only the first message may set it", field=field)


def _summary(about: Mapping[str, Any], summarizer: Summarizer) -> pb.SummarizeResponse:
    return pb.SummarizeResponse(
        **about,
        sequences=summarizer.sequences,
        timesteps=summarizer.timesteps,
        tensors=map(_tensor_summary, summarizer.summaries()),
    )


def _tensor_summary(found: UnitSummary) -> pb.TensorSummary:
    return pb.TensorSummary(
        layer=found.layer,
        class_name=found.class_name,
        tensor=found.tensor,
        count=found.count,
        mean=found.mean,
        standard_deviation=found.deviation,
        min=found.smallest,
        max=found.largest,
        low=found.low,
        high=found.high,
        histogram=found.histogram.ravel(),
        bins=BINS,
        saturated=found.saturated if found.bounded else [],
        dead=found.dead,
    )


def _count(asked: int, default: int, most: int, field: str) -> int:
    if not 0 <= asked <= most:
        raise InvalidArgumentError(f"{field}: expected 0 to {most}, got {asked}", field=field)
    return asked or default


def _timesteps(inputs: Mapping[str, Array]) -> int:
    return max(array.shape[1] if array.ndim > 1 else 1 for array in inputs.values())


def _kind(tensor: pb.Tensor) -> np.dtype[np.generic]:
    """The type of a tensor of floats; that which it names, else double precision."""
    return np.dtype(
        {pb.DATA_TYPE_FLOAT32: np.float32, pb.DATA_TYPE_FLOAT16: np.float16}.get(tensor.data_type, np.float64)
    )
