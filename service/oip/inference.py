"""Inference of the Open Inference Protocol: predictions, single and in streams."""

import time
from collections.abc import Iterator
from typing import Any

from service.config import Limits
from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.edge.status import to_status
from service.errors import InvalidArgumentError
from service.model.results import Result
from service.oip import tensors
from service.oip.intervals import add_intervals, requested_levels
from service.oip.messages import SERVICE, pb
from service.oip.repository import LocalModels, Models, RepositoryServicer
from service.oip.sequences import Sequence, Sequences
from service.serving.host import Host
from service.serving.known import Known
from service.serving.loaded import LoadedVersion
from service.serving.statistics import InferenceStatistics

WANTS_STATUS = "triton_grpc_error"  # the header of clients that want errors of a stream as its status
IS_FINAL = "triton_final_response"


class InferenceServicer:
    """Answers from the snapshot of a host. Each step of a request is timed and counted."""

    def __init__(self, host: Host, limits: Limits, statistics: InferenceStatistics) -> None:
        self._host = host
        self._limits = limits
        self._statistics = statistics
        self._known = Known("ModelInfer", host, statistics, _given, _found)

    def rows(self) -> dict[str, Row]:
        """What stands here of the protocol's service."""
        return {
            "ModelInfer": Row(self.model_infer, Bound.COMPUTED, Role.PREDICT, Pool.EDGE, self._known.answer),
            "ModelStreamInfer": Row(self.model_stream_infer, Bound.STREAM, Role.PREDICT, Pool.STREAM),
        }

    def model_infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        """ModelInfer: one batch through one network."""
        if request.parameters and _sequence_id(request):
            raise InvalidArgumentError(
                "parameters[sequence_id]: a sequence keeps its states within one ModelStreamInfer; here they go in "
                "and out as tensors, such as LAYER/initial_state and LAYER/final_state",
                field="parameters[sequence_id]",
            )
        return self._infer(request, call)

    def _infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        begin = time.perf_counter_ns()
        identity, request.id = request.id, ""  # all the others of a client may be the same
        if identity and (known := self._known.answer(request.SerializeToString(), call)) is not None:
            response = pb.ModelInferResponse.FromString(known)
        else:
            snapshot = self._host.snapshot()
            version = self._host.resolve(request.model_name, request.model_version, call)
            try:
                response, _, shape = self._compute(request, version, begin, call)
            except Exception as error:
                self._statistics.failed(version.key, time.perf_counter_ns() - begin, error)
                raise
            names = [output.name for output in response.outputs]
            whole = not any(output.parameters for output in request.outputs)  # and not its classes
            if len(request.inputs) == 1 and whole and names == [version.fast_path.output]:
                self._known.learn(snapshot, version, request, response, shape)
        response.id = identity
        return response

    def model_stream_infer(
        self, requests: Iterator[pb.ModelInferRequest], call: Call
    ) -> Iterator[pb.ModelStreamInferResponse]:
        """ModelStreamInfer: each request answered in order; sequences are locals of this call."""
        strict = call.metadata(WANTS_STATUS).lower() == "true"
        sequences = Sequences(self._limits)
        for request in requests:
            identity = request.id
            try:
                response = self._step(request, sequences, call)
            except Exception as error:
                if strict:
                    raise
                _, message, _ = to_status(error)
                failed = pb.ModelInferResponse(id=identity)
                yield pb.ModelStreamInferResponse(error_message=message, infer_response=failed)
                continue
            response.parameters[IS_FINAL].bool_param = True  # each request has one answer
            yield pb.ModelStreamInferResponse(infer_response=response)

    def _step(self, request: pb.ModelInferRequest, sequences: Sequences, call: Call) -> pb.ModelInferResponse:
        """One request of a stream; where it fails, its sequence stays as it was."""
        begin = time.perf_counter_ns()
        identity = _sequence_id(request)
        if not identity:
            return self._infer(request, call)
        key = (request.model_name, identity)
        if _flag(request, "sequence_start"):
            sequences.check_room(key)
            sequence = Sequence(self._streamable(request, call), {}, 0, 0.0)
        else:
            sequence = sequences.find(key)
        version = sequence.version
        try:
            response, result, (batch, *_) = self._compute(request, version, begin, call, sequence)
        except Exception as error:
            self._statistics.failed(version.key, time.perf_counter_ns() - begin, error)
            raise
        if _flag(request, "sequence_end"):
            sequences.drop(key)
        else:
            sequences.keep(key, version, result.final_state, batch)
        return response

    def _streamable(self, request: pb.ModelInferRequest, call: Call) -> LoadedVersion:
        """The version that a sequence begins with. Raises NotReadyError where it cannot be fed piecewise."""
        version = self._host.resolve(request.model_name, request.model_version, call)
        version.check_streamable()
        return version

    def _compute(
        self,
        request: pb.ModelInferRequest,
        version: LoadedVersion,
        begin: int,
        call: Call,
        sequence: Sequence | None = None,
    ) -> tuple[pb.ModelInferResponse, Result, tuple[int, ...]]:
        """The answer, with all that was computed, and the shape of the first input."""
        network = version.network
        wanted = tensors.chosen(request, network)
        inputs, state = tensors.decode(request, network, self._limits)
        shape = next(iter(inputs.values())).shape
        batch = shape[0]
        if sequence is not None and sequence.state:
            if batch != sequence.batch:
                raise InvalidArgumentError(
                    f"inputs: the sequence began with a batch of {sequence.batch}, this request has {batch}",
                    field="inputs", expected=sequence.batch, actual=batch,
                )  # fmt: skip
            state = {**sequence.state, **state}
        levels = requested_levels(request)
        intervals = version.intervals_for(levels, inputs, changed=bool(state or sequence)) if levels else None
        decoded = time.perf_counter_ns()
        with self._host.admission.take(network, inputs, call):
            result = version.forward(inputs, state)
        computed = time.perf_counter_ns()
        response = pb.ModelInferResponse(model_name=version.model, model_version=version.entry.number, id=request.id)
        tensors.encode(response, wanted, result, version)
        if intervals:
            add_intervals(response, result, intervals, levels)
        times = begin, decoded, computed, time.perf_counter_ns()
        call.inference = self._statistics.answered(version.key, shape, times, result.shared)
        return response, result, shape


def inference_methods(
    host: Host, limits: Limits, models: Models | None = None, statistics: InferenceStatistics | None = None
) -> list[Method]:
    """The table of the whole service. Without `models`, it is that of a server which is one process."""
    statistics = statistics or InferenceStatistics()
    models = models or LocalModels(host, statistics)
    rows = InferenceServicer(host, limits, statistics).rows() | RepositoryServicer(host, limits, models).rows()
    return methods_of(SERVICE, rows)


def _given(request: pb.ModelInferRequest) -> bytes:
    """The numbers of the first input; empty where they are not raw."""
    return request.raw_input_contents[0] if request.raw_input_contents else b""


def _found(response: pb.ModelInferResponse) -> bytes:
    """Those of the first output."""
    return response.raw_output_contents[0] if response.raw_output_contents else b""


def _sequence_id(request: pb.ModelInferRequest) -> int | str:
    """The sequence a request belongs to; 0 or empty: none. Raises InvalidArgumentError for another type."""
    if "sequence_id" not in request.parameters:
        return 0
    value: Any = request.parameters["sequence_id"]
    kind = value.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param", "string_param"):
        raise InvalidArgumentError(
            f"parameters[sequence_id]: expected an integer or a string, got {kind}", field="parameters[sequence_id]"
        )
    return getattr(value, kind)  # type: ignore[no-any-return]  # an int or a str, as just seen


def _flag(request: pb.ModelInferRequest, name: str) -> bool:
    return name in request.parameters and request.parameters[name].bool_param
