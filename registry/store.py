"""The registry client: the parts of MLflow's tracking server and model registry that Unroll uses.

MLflow is used to resolve, to register and to move files. Its model loaders execute what they load; they are not used.
"""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry import artifact, mlmodel, portable, tag
from registry.entries import RegisteredModel, VersionInfo
from registry.errors import (
    ArtifactRefusedError,
    CacheError,
    RegistryConflictError,
    RegistryError,
    RegistryNotFoundError,
)
from registry.location import check_installed, uris
from registry.lock import lock_for, no_lock
from registry.mlflow_errors import mlflow_errors
from registry.references import Reference
from registry.run import Run

PAGE = 1000  # of a search: the most that MLflow gives of models
LARGEST_VERSION = 2 * 1024**3  # bytes of all files together
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own default is two minutes, seven times over
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def ui_command(host: str, port: int) -> list[str]:
    """The command that shows the store in MLflow's web interface. Raises RegistryError where a server does already."""
    tracking, registry = uris()
    if urlsplit(tracking).scheme in {"http", "https"}:
        raise RegistryError(f"MLFLOW_TRACKING_URI points at a server, which has its own UI: open {tracking}")
    return [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--backend-store-uri", tracking, "--registry-store-uri", registry,
    ]  # fmt: skip


class Store:
    """MLflow, as far as Unroll needs it. Every method raises RegistryError, one of its kinds where that is known."""

    def __init__(self, lock_uri: str = "") -> None:
        """Imports MLflow, which takes seconds. Contacts nothing yet, but a local database is created or migrated.

        `lock_uri` names the lock that moves of aliases take; see `registry.lock`. Raises RegistryError where the store
        is a database and SQLAlchemy is not installed.
        """
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._tracking_uri, self._registry_uri = uris()
        check_installed()
        self._lock = lock_for(self._registry_uri, lock_uri) or no_lock
        with mlflow_errors():
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):  # after MLflow was imported, which sets them itself
                logging.getLogger(name).setLevel(logging.WARNING)
            self._client = MlflowClient(self._tracking_uri, self._registry_uri)
            if urlsplit(self._tracking_uri).scheme == "sqlite":
                self._client.get_experiment("0")  # creates the database, once and here

    # Reading.

    def describe(self, name: str) -> RegisteredModel:
        """A model and its aliases, in one call. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no model {name} in the registry"):
            found = self._client.get_registered_model(name)
        return RegisteredModel(name, {alias: str(number) for alias, number in found.aliases.items()})

    def version(self, name: str, number: str) -> VersionInfo:
        """A version. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no version {number} of {name} in the registry"):
            return _info(self._client.get_model_version(name, number))

    def search_models(self, most: int) -> dict[str, Mapping[str, str]] | None:
        """All models with their aliases, by name; None where there are more than `most` and a page."""
        found: dict[str, Mapping[str, str]] = {}
        for model in self._pages(self._client.search_registered_models):
            found[model.name] = {alias: str(number) for alias, number in model.aliases.items()}
            if len(found) > most + PAGE:
                return None
        return found

    def search_versions(self, most: int) -> dict[tuple[str, str], VersionInfo]:
        """Versions by model and number: all, or about `most` of the newest where there are more."""
        found: dict[tuple[str, str], VersionInfo] = {}
        for version in self._pages(self._client.search_model_versions):
            found[version.name, str(version.version)] = _info(version)
            if len(found) > most + PAGE:
                break
        return found

    def versions_of(self, name: str, *, most: int, before: str = "") -> list[VersionInfo]:
        """The newest versions of a model, newest first, of those with a smaller number than `before` if it is given."""
        older = f" and version_number < {int(before)}" if before else ""
        with mlflow_errors():
            found = self._client.search_model_versions(
                f"name = '{name}'{older}", max_results=most, order_by=["version_number DESC"]
            )
        return [_info(version) for version in found]

    def versions_with(self, name: str, key: str, value: str) -> list[VersionInfo]:
        """The versions of a model with a tag of that value. Both must be free of quotes."""
        with mlflow_errors():
            found = self._client.search_model_versions(f"name = '{name}' and tags.`{key}` = '{value}'")
        return [_info(version) for version in found]

    def _pages(self, search: Callable[..., Any]) -> Iterator[Any]:
        """What a search finds, page after page."""
        token = None
        while True:
            with mlflow_errors():
                page = search(max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def resolve(self, reference: Reference) -> VersionInfo:
        """The version a reference means. Raises RegistryNotFoundError."""
        number = reference.version or self.describe(reference.name).aliases.get(reference.alias)
        if number is None:
            raise RegistryNotFoundError(f"no alias {reference.alias} of {reference.name} in the registry")
        return self.version(reference.name, number)

    def run_file(self, run_id: str, path: str, into: Path) -> Path:
        """A file that a run logged; gives where it lies in `into`. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no run {run_id} with a file {path} in the registry"):
            return Path(self._client.download_artifacts(run_id, path, str(into)))

    def run_status(self, run_id: str) -> str:
        """How a run stands, as MLflow says it: RUNNING, FINISHED, FAILED, KILLED. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no run {run_id} in the registry"):
            return str(self._client.get_run(run_id).info.status)

    def download(self, name: str, number: str, into: Path) -> Path:
        """The files of a version; gives the folder. Nothing of it is loaded or run.

        Raises ArtifactRefusedError, before anything is downloaded, for kinds that are never read and for too much.
        """
        repository, files = self._files(name, number)
        artifact.check_files(files)
        return self._fetch(repository, files, "", into, f"version {number} of {name}")

    def files(self, name: str, number: str) -> tuple[str, ...]:
        """The names of the files of a version. Nothing is downloaded."""
        return tuple(self._files(name, number)[1])

    def take(self, name: str, number: str, file: str, into: Path) -> Path:
        """One file of a version, and no other; gives its place. Raises ArtifactRefusedError for too much."""
        repository, files = self._files(name, number)
        if file not in files:
            raise RegistryNotFoundError(f"version {number} of {name} has no file {file}")
        only = {file: files[file]}
        return self._fetch(repository, only, file, into, f"version {number} of {name}") / file

    def _files(self, name: str, number: str) -> tuple[Any, dict[str, int]]:
        """Where a version's files are, and their sizes by name."""
        with mlflow_errors(f"version {number} of {name} has no files in the registry"):
            from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

            repository = ModelsArtifactRepository(f"models:/{name}/{number}", self._tracking_uri, self._registry_uri)
            return repository, dict(_walk(repository.list_artifacts))

    def _fetch(self, repository: Any, files: Mapping[str, int], path: str, into: Path, what: str) -> Path:
        """Downloads files into a new folder, where there is room for them."""
        if sum(files.values()) > LARGEST_VERSION:
            raise ArtifactRefusedError(f"the version has {sum(files.values())} bytes, the limit is {LARGEST_VERSION}")
        into.mkdir(parents=True)
        if sum(files.values()) > shutil.disk_usage(into).free:
            raise CacheError(f"the disk is full: {sum(files.values())} bytes are needed")
        with mlflow_errors(f"files of {what} are missing in the registry"):
            repository.download_artifacts(path, str(into))
        return into

    # Changing.

    @contextmanager
    def run(self, experiment: str, name: str, tags: Mapping[str, str], *, parent: str = "") -> Iterator[Run]:
        """A run of an experiment, within another run if `parent` is the id of one.

        FINISHED when the block ends, FAILED when it raises, KILLED on Ctrl-C.
        """
        tags = {**tags, "mlflow.parentRunId": parent} if parent else dict(tags)
        with mlflow_errors():
            found = self._client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
            run_id = self._client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        with self._ended(Run(self.register, self._client, run_id, experiment_id)) as run:
            yield run

    @contextmanager
    def resumed(self, run_id: str) -> Iterator[Run]:
        """A run that was ended early, or whose process died, goes on. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no run {run_id} in the registry"):
            experiment_id = self._client.get_run(run_id).info.experiment_id
            self._client.update_run(run_id, status="RUNNING")
        with self._ended(Run(self.register, self._client, run_id, experiment_id)) as run:
            yield run

    @contextmanager
    def _ended(self, run: Run) -> Iterator[Run]:
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            with mlflow_errors():
                self._client.set_terminated(run.run_id, status)

    def register(
        self,
        name: str,
        directory: Path,
        tags: Mapping[str, str],
        *,
        experiment_id: str = "0",
        run_id: str | None = None,
        description: str = "",
        model_description: str = "",
    ) -> VersionInfo:
        """Registers a version folder. The version appears complete, with its tags, or not at all.

        The descriptions are Markdown; that of the model is kept where this is its first version.
        """
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        tags = {**tags, tag.DIGEST: artifact.digest(directory / artifact.KERAS_FILE)}
        with mlflow_errors():
            try:
                self._client.create_registered_model(name, description=model_description or None)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            model = self._client.create_logged_model(
                experiment_id, name=name.replace(".", "-"), source_run_id=run_id, model_type="keras"
            )
            try:
                mlmodel.sign(directory, model.model_id, model.artifact_location, run_id)
                self._client.log_model_artifacts(model.model_id, str(directory))
                self._client.finalize_logged_model(model.model_id, "READY")
                if run_id is not None:
                    self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
                version = self._client.create_model_version(
                    name,
                    f"models:/{model.model_id}",
                    run_id,
                    tags,
                    description=description or None,
                    model_id=model.model_id,
                    await_creation_for=0,
                )
            except BaseException:
                with suppress(MlflowException):  # what is reported is what went wrong first
                    self._client.delete_logged_model(model.model_id)
                raise
        return _info(version)

    def derive(
        self,
        name: str,
        base: str,
        model: Path,
        proof: Path | None,
        tags: Mapping[str, str],
        *,
        same_weights: bool = False,
        description: str = "",
    ) -> VersionInfo:
        """Registers a version like `base`, with another network and proof, in the experiment of the base.

        Prediction intervals of the base are kept only with the `same_weights`.
        What the network was compiled with is left out where that names what Keras does not have. Raises
        ArtifactRefusedError where anything else does.
        """
        with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
            downloaded = self.download(name, base, Path(folder) / "base")
            stripped = Path(folder) / "stripped.keras"
            model = stripped if portable.strip(model, stripped) else model
            portable.check(model)
            made = artifact.derive(downloaded, Path(folder) / "made", model, proof, same_weights=same_weights)
            experiment = self._experiment_of(name, base)
            return self.register(name, made, tags, experiment_id=experiment, description=description)

    def move_alias(self, name: str, alias: str, number: str, *, expected: str) -> None:
        """Points an alias at a version, if it points at `expected` now; "": if it does not exist.

        MLflow cannot compare and set in one step. Those who share a lock (see `registry.lock`) take turns; of others
        that move an alias in the same instant, the later wins. Raises RegistryConflictError, RegistryNotFoundError.
        """
        with self._lock(name):
            actual = self.describe(name).aliases.get(alias, "")
            if actual != expected:
                raise RegistryConflictError(
                    f"alias {alias} of {name} points at version {actual or '(none)'}, not at {expected or '(none)'}"
                )
            self.set_alias(name, alias, number)

    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Points an alias at a version, wherever it pointed before. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no version {number} of {name} in the registry"):
            self._client.set_registered_model_alias(name, alias, number)

    def set_tags(self, name: str, number: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a version. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no version {number} of {name} in the registry"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, number, key, value)

    def describe_version(self, name: str, number: str, text: str) -> None:
        """Sets a version's description, in Markdown. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no version {number} of {name} in the registry"):
            self._client.update_model_version(name, number, text)

    def delete_version(self, name: str, number: str) -> None:
        """Deletes a version and its files' entry. Raises RegistryNotFoundError."""
        with mlflow_errors(f"no version {number} of {name} in the registry"):
            model_id = _model_id(self._client.get_model_version(name, number))
            self._client.delete_model_version(name, number)
            if model_id:
                self._client.delete_logged_model(model_id)

    def _experiment_of(self, name: str, number: str) -> str:
        """The experiment that a version belongs to; MLflow's default one where that is not known."""
        try:
            with mlflow_errors("unknown"):
                version = self._client.get_model_version(name, number)
                if model_id := _model_id(version):
                    return str(self._client.get_logged_model(model_id).experiment_id)
                return str(self._client.get_run(version.run_id).info.experiment_id) if version.run_id else "0"
        except RegistryNotFoundError:
            return "0"


def _walk(list_artifacts: Callable[[str], Any], folder: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Paths and sizes of all files of a version."""
    if depth > 8:
        raise ArtifactRefusedError("the folders of the version are nested too deeply")
    for entry in list_artifacts(folder):
        if entry.is_dir:
            yield from _walk(list_artifacts, entry.path, depth + 1)
        else:
            yield entry.path, entry.file_size or 0


def _model_id(version: Any) -> str:
    """The logged model that a version is of; empty for versions from before MLflow 3. SQL stores say it in `source`."""
    source = version.source or ""
    return version.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else "")


def _info(version: Any) -> VersionInfo:
    return VersionInfo(
        version.name,
        str(version.version),
        dict(version.tags or {}),
        version.run_id or "",
        (version.creation_timestamp or 0) / 1000,
    )
