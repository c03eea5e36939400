"""MLflow's deployment plugin for a running server: the target `unroll`.

MLflow finds it by the entry point `mlflow.deployments` and imports it; nothing of ours does. A deployment is a model
that a server serves. `mlflow deployments help -t unroll` prints TARGET_HELP.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from registry.errors import InvalidReferenceError
from registry.references import Reference, parse
from service import errors
from service.client import Client
from service.mlflow.formats import arrays
from service.pb import unroll_pb2 as pb

DEFAULT_PORT = 50051
FLAVOR = "keras"
TARGET_HELP = """\
unroll://HOST:PORT is a server that was started by `unroll serve`; `unroll` alone is unroll://127.0.0.1:50051.
UNROLL_TOKEN holds the bearer token, or UNROLL_TOKEN_FILE names its file. UNROLL_CA names the PEM file of the
authorities, which switches to TLS; UNROLL_CERT and UNROLL_KEY name the client's certificate and key.

A deployment is a registered model that the server serves. --name is NAME, NAME@ALIAS or NAME/VERSION.

  predict   inputs, instances, dataframe_split or dataframe_records, or a plain nested list. The batch comes first:
            {"inputs": [[[1,2],[2,3],[3,4]]]}. Networks with several inputs take them by name.
  list      the models that are served
  get       one model: versions, aliases, inputs, outputs
  update    -m models:/NAME/VERSION (or models:/NAME@ALIAS) points an alias at that version, in the registry and in
            all workers. -C alias=ALIAS says which (else the model's default), -C reason=TEXT why,
            -C expected_version=VERSION refuses if somebody else moved it (else: whatever it points at now).
            An alias that does not exist is created.
  create, delete, run-local
            not here: name a model in `unroll serve --model models:/NAME@ALIAS`, or load it while the server runs by
            RepositoryModelLoad and RepositoryModelUnload of the Open Inference Protocol.
"""
# Exact classes, as in service.edge.status: an error without a row fails the test of both tables.
MLFLOW_CODES: dict[type[errors.ServiceError], int] = {
    errors.InvalidArgumentError: codes.INVALID_PARAMETER_VALUE,
    errors.NotFoundError: codes.RESOURCE_DOES_NOT_EXIST,
    errors.ConflictError: codes.RESOURCE_CONFLICT,
    errors.NotReadyError: codes.INVALID_STATE,
    errors.LimitExceededError: codes.RESOURCE_EXHAUSTED,
    errors.TimeLimitError: codes.DEADLINE_EXCEEDED,
    errors.UnauthenticatedError: codes.UNAUTHENTICATED,
    errors.PermissionDeniedError: codes.PERMISSION_DENIED,
    errors.UnavailableError: codes.TEMPORARILY_UNAVAILABLE,
    errors.CancelledError: codes.CANCELLED,
    errors.NotSupportedError: codes.NOT_IMPLEMENTED,
    errors.ModelError: codes.INVALID_STATE,
    errors.CorruptModelError: codes.DATA_LOSS,
    errors.UnsupportedModelError: codes.INVALID_STATE,
    errors.ProofError: codes.INVALID_STATE,
}


class UnrollDeploymentClient(BaseDeploymentClient):
    """What `get_deploy_client("unroll://HOST:PORT")` gives. Every method raises MlflowException."""

    def __init__(self, target_uri: str) -> None:
        """Connects when it is first used."""
        super().__init__(target_uri)  # type: ignore[no-untyped-call]  # MLflow's types are partial
        with _mlflow_errors():
            self._client = Client.from_environment(_address(target_uri))

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """The prediction for a payload in one of MLflow's formats.

        `predictions` is the output as nested lists, or such by name where there are several; next to it stand `model`
        and `version`, which answered.
        """
        _no_endpoint(endpoint)
        with _mlflow_errors():
            reference = _deployment(deployment_name)
            model = self._client.model(reference.name)
            version = reference.version or (f"@{reference.alias}" if reference.alias else "")
            names = [spec.name for spec in _version(model, version).inputs]
            found = self._client.predict(arrays(inputs, names), model=reference.name, version=version)
        outputs = {name: array.tolist() for name, array in found.outputs.items()}
        predictions = outputs if len(outputs) > 1 else next(iter(outputs.values()))
        return PredictionsResponse(predictions=predictions, model=found.model, version=found.version)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The models that the server serves."""
        _no_endpoint(endpoint)
        with _mlflow_errors():
            return [_summary(model) for model in self._client.models()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One model, with the tensors of the version that is served."""
        _no_endpoint(endpoint)
        with _mlflow_errors():
            model = self._client.model(_deployment(name).name)
            version = _version(model, "")
        return {
            **_summary(model),
            "aliases": dict(model.aliases),
            "versions": [each.version for each in model.versions],
            "inputs": {spec.name: _text(spec) for spec in version.inputs},
            "outputs": {spec.name: _text(spec) for spec in version.outputs},
            "digest": version.digest,
            "engine": version.engine,
            "stale_reason": model.stale_reason,
        }

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Points an alias of the model at the version that `model_uri` means; served when this returns.

        `config` may hold alias, reason, expected_version.
        """
        _no_endpoint(endpoint)
        with _mlflow_errors():
            given = dict(config or {})
            if unknown := given.keys() - {"alias", "reason", "expected_version"}:
                raise errors.InvalidArgumentError(
                    f"config: unknown {', '.join(sorted(unknown))}; there are: alias, reason, expected_version"
                )
            if flavor not in (None, FLAVOR):
                raise errors.InvalidArgumentError(f"flavor: expected {FLAVOR}, got {flavor}")
            wanted = _reference(model_uri or "")
            if wanted.name != _deployment(name).name:
                raise errors.InvalidArgumentError(f"model_uri: {wanted} is not a version of {name}")
            model = self._client.model(wanted.name)
            alias = str(given.get("alias", "")).removeprefix("@") or model.default_alias
            number = wanted.version or _number(model, wanted.alias)
            expected = str(given.get("expected_version", "")) or model.aliases.get(alias, "")  # none: it is created
            moved = self._client.move_alias(
                number, model=wanted.name, alias=alias, expected_version=expected, reason=str(given.get("reason", ""))
            )
        return {"name": moved.model, "flavor": FLAVOR, "alias": moved.alias, "version": moved.version}

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> NoReturn:
        """Not here."""
        raise _not_here(f"start the server with `unroll serve --model {model_uri}`")

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> NoReturn:
        """Not here."""
        raise _not_here(f"start the server without {name}, or unload it by the Open Inference Protocol")


def run_local(name: str, model_uri: str, *_others: Any) -> NoReturn:
    """Not here."""
    raise _not_here(f"for {name} run `unroll serve --model {model_uri}`")


def target_help() -> str:
    """What `mlflow deployments help -t unroll` prints."""
    return TARGET_HELP


def _address(target_uri: str) -> str:
    """Host and port of a target."""
    if target_uri == "unroll":
        return f"127.0.0.1:{DEFAULT_PORT}"
    place = urlsplit(target_uri)
    try:
        port = place.port or DEFAULT_PORT
    except ValueError:
        port = 0
    if not place.hostname or not port or place.path.strip("/") or place.query or place.username:
        raise errors.InvalidArgumentError(f"{target_uri!r} is not a target; expected unroll://HOST:PORT")
    return f"[{place.hostname}]:{port}" if ":" in place.hostname else f"{place.hostname}:{port}"


def _deployment(name: str | None) -> Reference:
    """The reference that the name of a deployment is: NAME, NAME@ALIAS or NAME/VERSION."""
    if not name:
        raise errors.InvalidArgumentError("name: expected the name of a model")
    if "@" in name or "/" in name:
        return _reference(f"models:/{name}")
    return Reference(name)


def _reference(uri: str) -> Reference:
    try:
        return parse(uri)
    except InvalidReferenceError as error:
        raise errors.InvalidArgumentError(f"model_uri: {error}") from error


def _version(model: pb.Model, version: str) -> pb.ModelVersion:
    """What is known of a version; of the default one, where the one named is not in memory."""
    number = model.aliases.get(version.removeprefix("@"), version) or model.default_version
    found = {each.version: each for each in model.versions}
    if not model.default_version:
        raise errors.UnavailableError(f"no version of {model.name} is loaded yet: {model.stale_reason or 'starting'}")
    return found.get(number, found[model.default_version])


def _number(model: pb.Model, alias: str) -> str:
    if alias not in model.aliases:
        known = ", ".join(sorted(model.aliases)) or "none"
        raise errors.NotFoundError(f"no alias {alias!r} of {model.name}; there are: {known}")
    return model.aliases[alias]


def _summary(model: pb.Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "flavor": FLAVOR,
        "version": model.default_version,
        "alias": model.default_alias,
        "references": list(model.references),
    }


def _text(spec: pb.TensorSpec) -> str:
    """A tensor as a person reads it: `float32 [-1, 3, 2]`."""
    return f"{pb.DataType.Name(spec.data_type).removeprefix('DATA_TYPE_').lower()} {list(spec.shape)}"


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint:
        raise MlflowException("this target has no endpoints; give the name of a model", codes.INVALID_PARAMETER_VALUE)


def _not_here(instead: str) -> MlflowException:
    return MlflowException(f"not supported by this target; {instead}", codes.NOT_IMPLEMENTED)


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    """Turns errors of the service into MLflow's."""
    try:
        yield
    except errors.ServiceError as error:
        raise MlflowException(error.message, MLFLOW_CODES.get(type(error), codes.INTERNAL_ERROR)) from error
    except OSError as error:
        raise MlflowException(str(error), codes.INVALID_PARAMETER_VALUE) from error
