"""registry.mlmodel: the folder of a version is one that MLflow's Keras flavor writes."""

import numpy as np
import pytest

from registry import artifact, mlmodel
from service.model import keras_file
from tests.data.hostile import build


@pytest.fixture
def folder(tmp_path):
    """The folder of a small network, with its specs."""
    build.write(tmp_path / "m.keras")
    network = keras_file.read(tmp_path / "m.keras")
    example = {"input": np.ones((1, 3, 2), np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "keras_version", lambda _: "3.9.0")
        mlmodel.build(tmp_path / "model", tmp_path / "m.keras", None, example, network.inputs, network.outputs)
    return tmp_path / "model"


def test_mlflow_reads_it(folder):
    """MLflow reads flavors, signature and example of the folder, and our own checks accept it."""
    from mlflow.models import Model

    model = Model.load(str(folder))
    assert set(model.flavors) == {"keras", "python_function"}
    (column,) = model.signature.inputs.inputs
    assert (column.name, column.shape, column.type) == (None, (-1, -1, 2), np.float32)
    assert model.load_input_example(str(folder)).shape == (1, 3, 2)
    assert (folder / artifact.KERAS_FILE).read_bytes() == (folder.parent / "m.keras").read_bytes()
    assert "keras==3.9.0" in (folder / "requirements.txt").read_text()


def test_a_signed_folder_names_its_model(folder):
    """Signing writes which logged model and run this is, and leaves the rest."""
    before = artifact.read_mlmodel(folder)
    mlmodel.sign(folder, "m-1", "models:/m-1", "run-1")
    after = artifact.read_mlmodel(folder)
    assert (after["model_id"], after["artifact_path"], after["run_id"]) == ("m-1", "models:/m-1", "run-1")
    assert (after["flavors"], after["signature"]) == (before["flavors"], before["signature"])
    mlmodel.sign(folder, "m-2", "models:/m-2", None)
    assert "run_id" not in artifact.read_mlmodel(folder)
