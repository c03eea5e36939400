"""The methods of the protocol: each makes a gRPC request of an HTTP request, and JSON of the response."""

from typing import Any

from service.errors import InvalidArgumentError
from service.oip.messages import pb
from service.web.rest import tensors
from service.web.rest.answers import Answer, Asked, plain
from service.web.rest.upstream import LOAD_SECONDS, Upstream


def live(server: Upstream, asked: Asked) -> Answer:
    """Whether the server lives."""
    return _state("live", server.call("ServerLive", pb.ServerLiveRequest(), asked).live)


def ready(server: Upstream, asked: Asked) -> Answer:
    """Whether all models of the server answer."""
    return _state("ready", server.call("ServerReady", pb.ServerReadyRequest(), asked).ready)


def model_ready(server: Upstream, asked: Asked) -> Answer:
    """Whether a version is in memory."""
    found = server.call("ModelReady", pb.ModelReadyRequest(**_named(asked)), asked)
    return _state("ready", found.ready, {"name": asked.path["model"]})


def metadata(server: Upstream, asked: Asked) -> Answer:
    """Name, release and extensions of the server."""
    return Answer(plain(server.call("ServerMetadata", pb.ServerMetadataRequest(), asked)))


def model_metadata(server: Upstream, asked: Asked) -> Answer:
    """Inputs and outputs of a version."""
    found = plain(server.call("ModelMetadata", pb.ModelMetadataRequest(**_named(asked)), asked))
    return Answer({name: value for name, value in found.items() if name != "properties"})


def config(server: Upstream, asked: Asked) -> Answer:
    """The configuration of a version, as Triton writes it."""
    return Answer(plain(server.call("ModelConfig", pb.ModelConfigRequest(**_named(asked)), asked).config))


def statistics(server: Upstream, asked: Asked) -> Answer:
    """What versions have done."""
    request = pb.ModelStatisticsRequest(name=asked.path.get("model", ""), version=asked.path.get("version", ""))
    return Answer(plain(server.call("ModelStatistics", request, asked)))


def infer(server: Upstream, asked: Asked) -> Answer:
    """One batch through one network."""
    header = asked.headers.get("inference-header-content-length")
    model, version = asked.path["model"], asked.path.get("version", "")
    request, wanted = tensors.read_request(asked.body, header, model, version)
    return tensors.written(server.call("ModelInfer", request, asked), wanted)


def index(server: Upstream, asked: Asked) -> Answer:
    """The versions in memory, and models without one."""
    document = tensors.read_document(asked.body)
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise InvalidArgumentError("ready: expected true or false")
    request = pb.RepositoryIndexRequest(ready=only_ready, repository_name=asked.path.get("repository", ""))
    return Answer([plain(model) for model in server.call("RepositoryIndex", request, asked).models])


def load(server: Upstream, asked: Asked) -> Answer:
    """Has a model served."""
    request = pb.RepositoryModelLoadRequest(model_name=asked.path["model"])
    _add_parameters(request, asked)
    server.call("RepositoryModelLoad", request, asked, LOAD_SECONDS)
    return Answer({})


def unload(server: Upstream, asked: Asked) -> Answer:
    """Has a model served no longer."""
    request = pb.RepositoryModelUnloadRequest(model_name=asked.path["model"])
    _add_parameters(request, asked)
    server.call("RepositoryModelUnload", request, asked, LOAD_SECONDS)
    return Answer({})


def trace_settings(server: Upstream, asked: Asked) -> Answer:
    """What is traced; changes are refused by the server."""
    request = pb.TraceSettingRequest(model_name=asked.path.get("model", ""))
    for name, value in tensors.read_document(asked.body).items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        request.settings[name].value.extend(map(str, values))
    found = server.call("TraceSetting", request, asked)
    return Answer({name: list(setting.value) for name, setting in found.settings.items()})


def log_settings(server: Upstream, asked: Asked) -> Answer:
    """What is logged; changes are refused by the server."""
    request = pb.LogSettingsRequest()
    for name, value in tensors.read_document(asked.body).items():
        request.settings[name].string_param = str(value)
    return Answer(tensors.read_parameters(server.call("LogSettings", request, asked).settings))


def system_memory(server: Upstream, asked: Asked) -> Answer:
    """Shared memory, which the server does not offer."""
    return Answer(plain(server.call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(), asked)))


def cuda_memory(server: Upstream, asked: Asked) -> Answer:
    """Memory of graphics cards, which the server does not offer."""
    return Answer(plain(server.call("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(), asked)))


def unknown(_server: Upstream, _asked: Asked) -> Answer:
    """What the protocol does not have."""
    return Answer({"error": "there is no such path, or not with this method"}, 404)


def _named(asked: Asked) -> dict[str, str]:
    return {"name": asked.path["model"], "version": asked.path.get("version", "")}


def _state(name: str, holds: bool, more: dict[str, str] | None = None) -> Answer:
    return Answer({**(more or {}), name: holds}, 200 if holds else 503)


def _add_parameters(request: Any, asked: Asked) -> None:
    """Adds the parameters of a document to a request of the repository."""
    parameters = tensors.read_document(asked.body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError("parameters: expected an object")
    tensors.add_parameters(request.parameters, parameters, "parameters")
