"""An MLflow run in progress: what training logs, and the version that it registers."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from registry import mlmodel, portable, tag
from registry.entries import VersionInfo
from registry.errors import RegistryDeniedError
from registry.mlflow_errors import mlflow_errors

DESCRIPTION = "mlflow.note.content"  # the tag under which MLflow keeps the description of a run
TABLES = "mlflow.loggedArtifacts"  # and the one that says which files of a run are tables
BATCH = 1000  # most metrics that a tracking server takes at once
DATASET_DIGEST = 36  # most characters of a dataset's digest that MLflow keeps


class Run:
    """A run in progress."""

    def __init__(self, register: Callable[..., VersionInfo], client: Any, run_id: str, experiment_id: str) -> None:
        self._register = register
        self._client = client
        self.run_id = run_id
        self.experiment_id = experiment_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Logs parameters, in one call."""
        from mlflow.entities import Param

        with mlflow_errors():
            self._client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def log_metrics(self, name: str, values: Sequence[float]) -> None:
        """Logs a curve: the step is the index. As few calls as the server allows."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, step) for step, value in enumerate(values)]
        with mlflow_errors():
            for start in range(0, len(points), BATCH):
                self._client.log_batch(self.run_id, metrics=points[start : start + BATCH])

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Logs single figures, in one call."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with mlflow_errors():
            self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, 0) for k, v in metrics.items()])

    def log_dataset(self, name: str, uri: str, digest: str, profile: Mapping[str, object]) -> None:
        """Says which data the run learned from, so that MLflow links its versions with the data.

        `digest` is its SHA-256, of which MLflow keeps the beginning; `profile` is what it is like.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": uri})
        entry = Dataset(name, digest[:DATASET_DIGEST], "local", source, profile=json.dumps(profile))
        inputs = [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])]
        try:
            with mlflow_errors():
                self._client.log_inputs(self.run_id, inputs)
        except RegistryDeniedError:
            # MLflow looks for the entry and then adds it. Of runs that begin together, as those of a sweep do, all but
            # one are refused what is there by now.
            with mlflow_errors():
                self._client.log_inputs(self.run_id, inputs)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Logs a table, which MLflow shows as one; `name` ends with .json. MLflow's own way to do so needs pandas."""
        with mlflow_errors():
            self._client.log_dict(self.run_id, {"columns": list(columns), "data": list(map(list, rows))}, name)
            self._client.set_tag(self.run_id, TABLES, json.dumps([{"path": name, "type": "table"}]))

    def describe(self, text: str) -> None:
        """Sets the run's description, in Markdown."""
        with mlflow_errors():
            self._client.set_tag(self.run_id, DESCRIPTION, text)

    def log_files(self, directory: Path) -> None:
        """Logs all files of a folder under their paths in it."""
        with mlflow_errors():
            self._client.log_artifacts(self.run_id, str(directory))

    def register(
        self,
        name: str,
        keras_file: Path,
        *,
        proof_file: Path | None,
        example: Mapping[str, npt.NDArray[Any]],
        inputs: Sequence[mlmodel.Spec],
        outputs: Sequence[mlmodel.Spec],
        tags: Mapping[str, str],
        intervals_file: Path | None = None,
        description: str = "",
        model_description: str = "",
    ) -> VersionInfo:
        """Registers a `.keras` file as a standard MLflow Keras model that belongs to this run.

        The descriptions are Markdown; that of the model is kept where this is its first version.
        Raises ArtifactRefusedError for a file that names what Keras does not have.
        """
        portable.check(keras_file)
        with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
            directory = Path(folder) / "model"
            with mlflow_errors():
                mlmodel.build(directory, keras_file, proof_file, example, inputs, outputs, intervals_file)
            tags = {**tags, tag.PROOF: "keras" if proof_file else "none"}
            return self._register(
                name,
                directory,
                tags,
                experiment_id=self.experiment_id,
                run_id=self.run_id,
                description=description,
                model_description=model_description,
            )
