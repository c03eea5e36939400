"""PredictionService: predictions, streaming predictions, and traces."""

import time
from collections.abc import Iterator, Mapping, Sequence

from service.api.classes import add_classes, classified
from service.api.codec import add_all, check_count, decode_inputs, decode_patches, encode, encoding_of
from service.api.generation import generate
from service.api.intervals import recent_errors
from service.api.selection import checked_range, cut, named
from service.api.what_if import changed, kept_elements
from service.config import Limits
from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.errors import InvalidArgumentError, NotFoundError, NotReadyError
from service.model.insight.sums import Sum, written_out
from service.model.layers.patch import Patch
from service.model.network import Network
from service.model.patches import shifted
from service.model.results import Result
from service.model.tensors import Array
from service.pb import unroll_pb2 as pb
from service.serving.host import Host
from service.serving.known import Known
from service.serving.loaded import LoadedVersion
from service.serving.statistics import InferenceStatistics

MOST_SUMS = 64  # written out in one trace


class PredictionServicer:
    """Answers from the snapshot of a host."""

    def __init__(self, host: Host, limits: Limits, statistics: InferenceStatistics | None = None) -> None:
        self._host = host
        self._limits = limits
        self._statistics = statistics or InferenceStatistics()
        self._known = Known("Predict", host, self._statistics, lambda m: m.inputs[0].raw, lambda m: m.outputs[0].raw)

    def methods(self) -> list[Method]:
        """The table of this service."""
        return methods_of(
            pb.DESCRIPTOR.services_by_name["PredictionService"],
            {
                "Predict": Row(self.predict, Bound.COMPUTED, Role.PREDICT, Pool.EDGE, self._known.answer),
                "PredictStream": Row(self.predict_stream, Bound.STREAM, Role.PREDICT, Pool.STREAM),
                "Generate": Row(self.generate, Bound.STREAM, Role.PREDICT, Pool.STREAM),
                "Trace": Row(self.trace, Bound.COMPUTED, Role.INSPECT),
            },
        )

    def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """Predict: one batch through one network."""
        if request.what_if or request.patches:
            call.require(Role.INSPECT)
        begin = time.perf_counter_ns()
        snapshot = self._host.snapshot()
        version = self._host.resolve(request.model, request.version, call)
        try:
            response, shape = self._predict(request, version, begin, call)
        except Exception as error:
            self._statistics.failed(version.key, time.perf_counter_ns() - begin, error)
            raise
        if not (
            request.initial_state or request.what_if or request.patches or request.return_state
            or len(request.inputs) > 1 or len(response.outputs) > 1 or request.levels or request.top_classes
        ):  # fmt: skip
            self._known.learn(snapshot, version, request, response, shape)
        return response

    def _predict(
        self, request: pb.PredictRequest, version: LoadedVersion, begin: int, call: Call
    ) -> tuple[pb.PredictResponse, tuple[int, ...]]:
        """The answer, and the shape of the first input."""
        network = self._changed(version.network, request.what_if, "what_if", call)
        inputs, state = decode_inputs(request.inputs, request.initial_state, network, self._limits)
        encoding = encoding_of(request.encoding, request.inputs)
        patches = decode_patches(request.patches, "patches", self._limits)
        with_classes = classified(request.top_classes, version)
        intervals = recent = None
        if request.levels:
            changed = bool(state or patches or request.what_if)
            intervals = version.intervals_for(request.levels, inputs, changed=changed)
        if request.recent_errors:
            recent = recent_errors(request, version, len(next(iter(inputs.values()))))
        decoded = time.perf_counter_ns()
        result = self._forward(version, network, inputs, state, call, patches)
        computed = time.perf_counter_ns()
        response = pb.PredictResponse(
            model=version.model, version=version.entry.number, what_if=bool(request.what_if), patched=bool(patches)
        )
        add_all(response.outputs, result.outputs, encoding)
        if request.return_state:
            add_all(response.final_state, result.final_state, encoding)
        add_classes(response, result, with_classes, request.top_classes, version)
        if intervals is not None:
            ((name, predicted),) = result.outputs.items()
            for level in request.levels:
                lower, upper = (encode(end, name, encoding) for end in intervals.around(predicted, level, recent))
                response.intervals.add(level=level, lower=lower, upper=upper)
        shape = next(iter(inputs.values())).shape
        times = begin, decoded, computed, time.perf_counter_ns()
        call.inference = self._statistics.answered(version.key, shape, times, result.shared)
        return response, shape

    def predict_stream(
        self, requests: Iterator[pb.PredictStreamRequest], call: Call
    ) -> Iterator[pb.PredictStreamResponse]:
        """PredictStream: the same, piece by piece; version and state are locals of this call."""
        first = next(requests, None)
        if first is None:
            return
        options = first.options
        if options.what_if or options.patches:
            call.require(Role.INSPECT)
        version = self._host.resolve(options.model, options.version, call)
        if options.follow and (options.what_if or options.patches):
            raise InvalidArgumentError("options.follow: not together with what_if or patches", field="options.follow")
        with self._host.changed_weights.take(call.identity(), kept_elements(version, options.what_if)):
            network = self._streamable(version, call, options.what_if)
            yield from self._stream(first, requests, version, network, call)

    def _stream(
        self,
        first: pb.PredictStreamRequest,
        requests: Iterator[pb.PredictStreamRequest],
        version: LoadedVersion,
        network: Network,
        call: Call,
    ) -> Iterator[pb.PredictStreamResponse]:
        """The answers of a stream that begins with such a version and network."""
        options = first.options
        patches = decode_patches(options.patches, "options.patches", self._limits)
        state: Mapping[str, Array] = {}
        initial_state: Sequence[pb.Tensor] = options.initial_state
        batch = timesteps = encoding = 0
        if not first.inputs:
            yield pb.PredictStreamResponse(
                model=version.model,
                version=version.entry.number,
                what_if=bool(options.what_if),
                patched=bool(patches),
            )
        for number, request in enumerate(_chain(first, requests)):
            if number and request.HasField("options"):
                raise InvalidArgumentError("options: only the first message may carry them", field="options")
            if not request.inputs and not number:
                continue
            begin = time.perf_counter_ns()
            now = self._host.resolve(version.model, options.version, call) if options.follow else version
            changed = now.entry.number != version.entry.number
            if changed:
                network = self._followed(network, now, call)
                version = now
            try:
                inputs, given = decode_inputs(request.inputs, initial_state, network, self._limits)
                state, initial_state = given or state, ()
                first_input = next(iter(inputs.values()))
                if batch and len(first_input) != batch:
                    raise InvalidArgumentError(
                        f"inputs: the stream began with {batch} sequences, this message has {len(first_input)}",
                        field="inputs", expected=batch, actual=len(first_input),
                    )  # fmt: skip
                now_patched = shifted(patches, timesteps, first_input.shape[1])
                batch, timesteps = len(first_input), timesteps + first_input.shape[1]
                encoding = encoding or encoding_of(options.encoding, request.inputs)
                decoded = time.perf_counter_ns()
                result = self._forward(version, network, inputs, state, call, now_patched)
                computed = time.perf_counter_ns()
                state = result.final_state
                response = pb.PredictStreamResponse(
                    model=version.model,
                    version=version.entry.number,
                    what_if=bool(options.what_if),
                    timesteps=timesteps,
                    version_changed=changed,
                    patched=bool(patches),
                )
                add_all(response.outputs, result.outputs, encoding)
                if options.return_state:
                    add_all(response.final_state, state, encoding)
            except Exception as error:
                self._statistics.failed(version.key, time.perf_counter_ns() - begin, error)
                raise
            times = begin, decoded, computed, time.perf_counter_ns()
            call.inference = self._statistics.answered(version.key, first_input.shape, times, result.shared)
            yield response

    def generate(self, request: pb.GenerateRequest, call: Call) -> Iterator[pb.GenerateResponse]:
        """Generate: the characters that follow a text, one after the other."""
        return generate(request, call, self._host, self._limits, self._statistics)

    def trace(self, request: pb.TraceRequest, call: Call) -> pb.TraceResponse:
        """Trace: one batch through one network, with everything seen on the way."""
        begin = time.perf_counter_ns()
        version = self._host.resolve(request.model, request.version, call)
        network = self._changed(version.network, request.what_if, "what_if", call)
        known = [layer.name for layer in network.layers]
        for i, name in enumerate(request.layers):
            if name not in known:
                raise NotFoundError(f"no layer {name!r}; there are: {', '.join(known)}", field=f"layers[{i}]")
        inputs, state = decode_inputs(request.inputs, request.initial_state, network, self._limits)
        encoding = encoding_of(request.encoding, request.inputs)
        patches = decode_patches(request.patches, "patches", self._limits)
        check_count(len(request.sums), "sums", MOST_SUMS, "sums")
        timesteps = (*next(iter(inputs.values())).shape, 1)[1]
        shown = checked_range(request.timesteps.start, request.timesteps.stop, timesteps)
        copies = 1 + bool(request.sums)
        decoded = time.perf_counter_ns()
        with self._host.admission.take(network, inputs, call, traced=True, slot=True, copies=copies):
            trace = network.trace(inputs, state, set(request.layers) or None, call.check, patches)
            wanted = [(asked.layer, asked.sequence, asked.timestep, asked.column) for asked in request.sums]
            sums = written_out(network, inputs, state, patches, wanted) if wanted else []
        computed = time.perf_counter_ns()
        response = pb.TraceResponse(
            model=version.model, version=version.entry.number, what_if=bool(request.what_if), patched=bool(patches),
            sums=map(_sum, sums),
        )  # fmt: skip
        for layer, tensors in zip(trace.layers, named(trace.layers, request.tensors), strict=True):
            call.check()
            added = response.layers.add(layer=layer.layer, class_name=layer.class_name)
            add_all(added.tensors, cut(tensors, shown, timesteps), encoding)
        add_all(response.outputs, trace.outputs, encoding)
        times = begin, decoded, computed, time.perf_counter_ns()
        call.inference = self._statistics.answered(version.key, next(iter(inputs.values())).shape, times, None)
        return response

    def _forward(
        self,
        version: LoadedVersion,
        network: Network,
        inputs: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
        patches: Sequence[Patch] = (),
    ) -> Result:
        """By the engine of the version, or by the network where weights of it or values in it are changed."""
        changed = network is not version.network or bool(patches)
        with self._host.admission.take(network, inputs, call, slot=changed):
            if patches:
                return network.patched(inputs, state, patches)
            return (network if changed else version).forward(inputs, state)

    def _changed(self, network: Network, changes: Sequence[pb.WeightChange], field: str, call: Call) -> Network:
        return changed(self._host, network, changes, call, field=field, limits=self._limits)

    def _streamable(self, version: LoadedVersion, call: Call, changes: Sequence[pb.WeightChange] = ()) -> Network:
        """The network of a stream. Raises NotReadyError where it cannot be fed piecewise."""
        version.check_streamable()
        return self._changed(version.network, changes, "options.what_if", call)

    def _followed(self, before: Network, now: LoadedVersion, call: Call) -> Network:
        """The network that a stream goes on with. Raises NotReadyError where the state cannot go along."""
        network = self._streamable(now, call)
        if network.states != before.states or network.inputs != before.inputs:
            raise NotReadyError(
                f"the reference moved to version {now.entry.number}, whose inputs or states have other shapes"
            )
        return network


def _sum(found: Sum) -> pb.WrittenSum:
    return pb.WrittenSum(
        layer=found.layer,
        sequence=found.sequence,
        timestep=found.timestep,
        column=found.column,
        terms=[
            pb.SumTerm(
                source=term.source, weight=term.weight_name, value=term.value, weight_value=term.weight,
                gate=term.gate, product=term.product,
            )
            for term in found.terms
        ],
        total=found.total,
    )  # fmt: skip


def _chain(
    first: pb.PredictStreamRequest, rest: Iterator[pb.PredictStreamRequest]
) -> Iterator[pb.PredictStreamRequest]:
    yield first
    yield from rest
