"""Metadata and repository methods of the Open Inference Protocol: liveness, models, statistics, loading."""

from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from service.config import Limits
from service.edge.methods import Bound, Call, Pool, Role, Row
from service.errors import InvalidArgumentError, NotSupportedError
from service.model.tensors import TensorSpec
from service.oip import tensors
from service.oip.messages import pb
from service.serving.host import Host, checked_version
from service.serving.loaded import LoadedModel, LoadedVersion
from service.serving.statistics import Count, InferenceStatistics, total
from service.snapshot import VersionKey
from service.version import version as own_version

PLATFORM = "unroll_keras"
EXTENSIONS = (
    "classification", "sequence", "model_repository", "model_configuration", "binary_tensor_data", "parameters",
    "statistics",
)  # fmt: skip
SHARED_MEMORY = [
    f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")
]
TRACE_SETTINGS = {"trace_level": ["OFF"]}
LOG_SETTINGS: dict[str, dict[str, Any]] = {
    "log_error": {"bool_param": True},
    "log_warning": {"bool_param": True},
    "log_info": {"bool_param": True},
    "log_verbose_level": {"uint32_param": 0},
}


class Models(Protocol):
    """What knows the other workers and the registry: the supervisor, at the other end of the link."""

    def statistics(self) -> list[list[list[Any]]]:
        """What each worker counted: `InferenceStatistics.to_json` of all of them, this one included."""

    def serve(self, model: str, *, alias: str, number: str, timeout: float | None) -> None:
        """Has a registered model served, by an alias or a version, and waits for all workers."""

    def drop(self, model: str, timeout: float | None) -> None:
        """Has a model served no longer, and waits for all workers."""


class RepositoryServicer:
    """Answers from the snapshot of a host; what concerns all workers goes to the supervisor."""

    def __init__(self, host: Host, limits: Limits, models: Models) -> None:
        self._host = host
        self._limits = limits
        self._models = models

    def rows(self) -> dict[str, Row]:
        """What stands here of the protocol's service."""
        return {
            "ServerLive": Row(self.server_live, Bound.SERVED, Role.ANYONE),
            "ServerReady": Row(self.server_ready, Bound.SERVED, Role.ANYONE),
            "ServerMetadata": Row(self.server_metadata, Bound.SERVED, Role.OBSERVE),
            "ModelReady": Row(self.model_ready, Bound.SERVED, Role.ANYONE),
            "ModelMetadata": Row(self.model_metadata, Bound.SERVED, Role.OBSERVE),
            "ModelConfig": Row(self.model_config, Bound.SERVED, Role.OBSERVE),
            "ModelStatistics": Row(self.model_statistics, Bound.SERVED, Role.OBSERVE, Pool.WAITING),
            "RepositoryIndex": Row(self.repository_index, Bound.SERVED, Role.OBSERVE),
            "RepositoryModelLoad": Row(self.repository_model_load, Bound.REGISTRY, Role.LOAD, Pool.WAITING),
            "RepositoryModelUnload": Row(self.repository_model_unload, Bound.REGISTRY, Role.LOAD, Pool.WAITING),
            "TraceSetting": Row(self.trace_setting, Bound.SERVED, Role.OBSERVE),
            "LogSettings": Row(self.log_settings, Bound.SERVED, Role.OBSERVE),
            **{name: Row(self.shared_memory, Bound.SERVED, Role.OBSERVE) for name in SHARED_MEMORY},
        }

    def server_live(self, _request: pb.ServerLiveRequest, _call: Call) -> pb.ServerLiveResponse:
        """ServerLive: who answers, lives."""
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, _request: pb.ServerReadyRequest, _call: Call) -> pb.ServerReadyResponse:
        """ServerReady: as health says it."""
        return pb.ServerReadyResponse(ready=self._host.ready())

    def server_metadata(self, _request: pb.ServerMetadataRequest, _call: Call) -> pb.ServerMetadataResponse:
        """ServerMetadata: name, version, extensions."""
        return pb.ServerMetadataResponse(name="unroll", version=own_version(), extensions=EXTENSIONS)

    def model_ready(self, request: pb.ModelReadyRequest, _call: Call) -> pb.ModelReadyResponse:
        """ModelReady: whether it is in memory; asking loads nothing."""
        return pb.ModelReadyResponse(ready=self._host.held(request.name, request.version) is not None)

    def model_metadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        """ModelMetadata: tensors of the network, then its states."""
        version = self._host.resolve(request.name, request.version, call)
        network = version.network
        held = self._host.snapshot().model(version.model).versions
        return pb.ModelMetadataResponse(
            name=version.model,
            versions=sorted(held, key=int),
            platform=PLATFORM,
            inputs=map(_metadata, (*network.inputs, *map(tensors.initial, network.states))),
            outputs=map(_metadata, (*network.outputs, *map(tensors.final, network.states))),
        )

    def model_config(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        """ModelConfig: the batch is left out of `dims`, since there is a largest one."""
        version = self._host.resolve(request.name, request.version, call)
        network = version.network
        states = [(tensors.initial(state), True) for state in network.states]
        return pb.ModelConfigResponse(
            config=pb.ModelConfig(
                name=version.model,
                platform=PLATFORM,
                backend="unroll",
                max_batch_size=self._limits.batch,
                input=[
                    pb.ModelInput(
                        name=spec.name, data_type=_type(spec), dims=tensors.extents(spec)[1:], optional=optional
                    )
                    for spec, optional in [*((spec, False) for spec in network.inputs), *states]
                ],
                output=[
                    pb.ModelOutput(name=spec.name, data_type=_type(spec), dims=tensors.extents(spec)[1:])
                    for spec in (*network.outputs, *map(tensors.final, network.states))
                ],
                default_model_filename="model.keras",
                parameters={name: pb.ModelParameter(string_value=text) for name, text in _parameters(version).items()},
                model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
            )
        )

    def model_statistics(self, request: pb.ModelStatisticsRequest, call: Call) -> pb.ModelStatisticsResponse:
        """ModelStatistics: of one version, of all versions of a model in memory, or of all models."""
        counts = total(self._models.statistics())
        models = self._host.snapshot().models
        if request.name:
            models = {request.name: self._host.snapshot().model(request.name)}
        names = [name for name in sorted(models) if call.caller().may_use(name)]
        keys = [(name, number) for name in names for number in sorted(models[name].versions, key=int)]
        if request.version:
            version = self._host.resolve(request.name, request.version, call)
            keys = [(version.model, version.entry.number)]
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(key, counts.get(key, Count())) for key in keys])

    def repository_index(self, request: pb.RepositoryIndexRequest, call: Call) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: every version in memory, and models without one."""
        _only_registry(request.repository_name)
        models = sorted(self._host.snapshot().models.items())
        found = [entry for name, model in models if call.caller().may_use(name) for entry in _index(model)]
        return pb.RepositoryIndexResponse(models=[e for e in found if e.state == "READY" or not request.ready])

    def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """RepositoryModelLoad: all workers serve it when this returns."""
        _only_registry(request.repository_name)
        if not request.model_name:
            raise InvalidArgumentError("model_name: expected the name of a registered model", field="model_name")
        given = _texts(request.parameters, ("alias", "version"))
        if len(given) > 1:
            raise InvalidArgumentError("parameters: alias and version are both given; give one", field="parameters")
        if "version" in given:
            checked_version(given["version"], "parameters[version]")
        self._models.serve(
            request.model_name,
            alias=given.get("alias", "").removeprefix("@"),
            number=given.get("version", ""),
            timeout=call.remaining(),
        )
        return pb.RepositoryModelLoadResponse()

    def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """RepositoryModelUnload: no worker serves it when this returns."""
        _only_registry(request.repository_name)
        _texts(request.parameters, (), ignored=("unload_dependents",))
        if request.model_name not in self._host.snapshot().models:
            raise InvalidArgumentError(
                f"model_name: no model {request.model_name!r} is served here", field="model_name"
            )
        self._models.drop(request.model_name, call.remaining())
        return pb.RepositoryModelUnloadResponse()

    def trace_setting(self, request: pb.TraceSettingRequest, _call: Call) -> pb.TraceSettingResponse:
        """TraceSetting: says that tracing is off."""
        _unchanged(
            request.settings,
            "request tracing is not supported; unroll.v1.PredictionService/Trace shows what a network does",
        )
        return pb.TraceSettingResponse(
            settings={name: pb.TraceSettingResponse.SettingValue(value=value) for name, value in TRACE_SETTINGS.items()}
        )

    def log_settings(self, request: pb.LogSettingsRequest, _call: Call) -> pb.LogSettingsResponse:
        """LogSettings: says what is logged."""
        _unchanged(request.settings, "the log is set up where the server is started")
        return pb.LogSettingsResponse(
            settings={name: pb.LogSettingsResponse.SettingValue(**value) for name, value in LOG_SETTINGS.items()}
        )

    def shared_memory(self, _request: object, _call: Call) -> NoReturn:
        """All calls of shared memory."""
        raise NotSupportedError("shared memory is not supported; send tensors in messages")


class LocalModels:
    """Models of a server without a supervisor: one process, which serves what it was given."""

    def __init__(self, host: Host, statistics: InferenceStatistics) -> None:
        self._host = host
        self._statistics = statistics

    def statistics(self) -> list[list[list[Any]]]:
        """As Models.statistics."""
        return [self._statistics.to_json(held_versions(self._host))]

    def serve(self, model: str, *, alias: str, number: str, timeout: float | None) -> NoReturn:
        """Not without a registry."""
        raise NotSupportedError("this server has no registry to load from")

    def drop(self, model: str, timeout: float | None) -> NoReturn:
        """Not without a registry."""
        raise NotSupportedError("this server serves what it was started with")


def statistics_of(key: VersionKey, count: Count) -> pb.ModelStatistics:
    """What a version has done, as the protocol writes it."""
    duration, n = pb.StatisticDuration, count.successes
    success_ns = count.queue_ns + count.input_ns + count.infer_ns + count.output_ns
    return pb.ModelStatistics(
        name=key[0],
        version=key[1],
        last_inference=count.last_ms,
        inference_count=count.sequences,
        execution_count=count.passes,
        inference_stats=pb.InferStatistics(
            success=duration(count=n, ns=success_ns),
            fail=duration(count=count.failures, ns=count.failure_ns),
            queue=duration(count=n, ns=count.queue_ns),
            compute_input=duration(count=n, ns=count.input_ns),
            compute_infer=duration(count=n, ns=count.infer_ns),
            compute_output=duration(count=n, ns=count.output_ns),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=duration(count=passes, ns=given),
                compute_infer=duration(count=passes, ns=computed),
                compute_output=duration(count=passes, ns=written),
            )
            for size, (passes, given, computed, written) in sorted(count.batches.items())
        ],
    )


def held_versions(host: Host) -> set[VersionKey]:
    """Model and number of every version in memory."""
    return {(name, number) for name, model in host.snapshot().models.items() for number in model.versions}


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=tensors.DATATYPES[spec.dtype], shape=tensors.extents(spec)
    )


def _type(spec: TensorSpec) -> str:
    datatype = tensors.DATATYPES[spec.dtype]
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _parameters(version: LoadedVersion) -> dict[str, str]:
    return {
        "engine": version.engine.name,
        "streamable": str(version.network.streamable).lower(),
        "digest": version.entry.digest,
        **({"labels": "\n".join(version.labels)} if version.labels else {}),
    }


def _index(model: LoadedModel) -> list[pb.RepositoryIndexResponse.ModelIndex]:
    entry, make = model.entry, pb.RepositoryIndexResponse.ModelIndex
    if not entry.versions:
        return [make(name=entry.name, state="UNAVAILABLE", reason=entry.stale_reason or "not loaded yet")]
    return [
        make(name=entry.name, version=number, state="READY", reason=entry.stale_reason)
        if number in model.versions
        else make(name=entry.name, version=number, state="LOADING")
        for number in sorted(entry.versions, key=int)
    ]


def _texts(parameters: Mapping[str, Any], known: tuple[str, ...], ignored: tuple[str, ...] = ()) -> dict[str, str]:
    """Parameters as text. Raises InvalidArgumentError for one that is not known."""
    found = {}
    for name in parameters:
        if name in ignored:
            continue
        if name not in known:
            raise InvalidArgumentError(
                f"parameters[{name}]: not known here; models come from the registry as they are. "
                f"Known: {', '.join((*known, *ignored))}",
                field=f"parameters[{name}]",
            )
        value = parameters[name]
        kind = value.WhichOneof("parameter_choice")
        if kind not in ("string_param", "int64_param"):
            raise InvalidArgumentError(
                f"parameters[{name}]: expected a string, got {kind}", field=f"parameters[{name}]"
            )
        found[name] = str(getattr(value, kind))
    return found


def _only_registry(name: str) -> None:
    if name:
        raise InvalidArgumentError(
            f"repository_name: there is one registry, without a name; got {name!r}", field="repository_name"
        )


def _unchanged(settings: Mapping[str, Any], why: str) -> None:
    if settings:
        raise NotSupportedError(f"settings: {', '.join(settings)} cannot be changed: {why}", field="settings")
