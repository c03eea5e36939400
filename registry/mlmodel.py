"""Writing a version folder as MLflow's Keras flavor does: MLmodel, signature, example, requirements."""

import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import yaml

from registry import artifact


class Spec(Protocol):
    """Name, type and shape of an input or output; the shape has a leading batch axis, and None where it is open."""

    @property
    def name(self) -> str:
        """As the network calls it."""

    @property
    def dtype(self) -> Any:
        """NumPy's type."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Extents."""


def build(
    directory: Path,
    keras_file: Path,
    proof_file: Path | None,
    example: Mapping[str, npt.NDArray[Any]],
    inputs: Sequence[Spec],
    outputs: Sequence[Spec],
    intervals_file: Path | None = None,
) -> None:
    """Writes a version folder: what MLflow's Keras flavor writes, the proof, and prediction intervals if there are any.

    Needs neither Keras nor TensorFlow.
    """
    from mlflow import __version__  # of mlflow-skinny, where only that is installed
    from mlflow.models import Model, ModelSignature
    from mlflow.models.utils import _save_example

    data = directory / "data"
    data.mkdir(parents=True)
    shutil.copyfile(keras_file, directory / artifact.KERAS_FILE)
    (data / "keras_module.txt").write_text("keras")
    if proof_file is not None:
        shutil.copyfile(proof_file, directory / artifact.PROOF_FILE)
    if intervals_file is not None:
        shutil.copyfile(intervals_file, directory / artifact.INTERVALS_FILE)
    keras_version = artifact.keras_version(keras_file)
    signature = ModelSignature(inputs=_schema(inputs), outputs=_schema(outputs))
    model = Model(signature=signature)
    arrays = {name: _column(array) for name, array in example.items()}
    _save_example(model, next(iter(arrays.values())) if len(arrays) == 1 else arrays, str(directory))
    model.add_flavor(
        "keras", data="data", keras_version=keras_version, keras_backend="tensorflow", save_exported_model=False
    )
    # What mlflow.pyfunc.add_to_model adds; importing mlflow.pyfunc costs seconds.
    model.add_flavor(
        "python_function",
        loader_module="mlflow.keras",
        python_version=platform.python_version(),
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    model.model_size_bytes = keras_file.stat().st_size
    model.save(str(directory / artifact.MLMODEL))
    # Named, not inferred: MLflow infers by loading and running the model, which takes many seconds.
    requirements = [f"mlflow=={__version__}", f"keras=={keras_version}", _requirement("tensorflow")]
    python = platform.python_version()
    (directory / "requirements.txt").write_text("\n".join(requirements) + "\n")
    environment: dict[str, Any] = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    (directory / "conda.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
    environment = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (directory / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))


def _schema(specs: Sequence[Spec]) -> Any:
    from mlflow.types import Schema, TensorSpec

    single = len(specs) == 1  # then arrays may be passed as they are, without a name
    return Schema(
        [
            TensorSpec(
                np.dtype(spec.dtype),
                tuple(-1 if extent is None else extent for extent in _shape(spec)),
                None if single else spec.name,
            )
            for spec in specs
        ]
    )


def _shape(spec: Spec) -> tuple[int | None, ...]:
    """The shape that MLflow is told. Of texts, Keras's `predict`, which MLflow calls, takes vectors of objects alone.

    Where the network wants [batch, 1], Keras adds the second axis.
    """
    return spec.shape[:1] if np.dtype(spec.dtype) == object and spec.shape[1:] == (1,) else spec.shape


def _column(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An example in that shape."""
    return array[:, 0] if array.dtype == object and array.shape[1:] == (1,) else array


def _requirement(package: str) -> str:
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def sign(directory: Path, model_id: str, location: str, run_id: str | None) -> None:
    """Writes into MLmodel which logged model this is, as MLflow does when it logs one."""
    content = artifact.read_mlmodel(directory)
    content.pop("run_id", None)
    content.update(model_id=model_id, model_uuid=model_id, artifact_path=location)
    content["utc_time_created"] = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
    if run_id is not None:
        content["run_id"] = run_id
    (directory / artifact.MLMODEL).write_text(yaml.safe_dump(content, sort_keys=False))
