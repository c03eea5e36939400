"""SavedModels are converted by way of tf_keras where it is installed, or refused with a sentence."""

import numpy as np
import pytest

from service.convert import saved_model
from service.errors import UnsupportedModelError


def test_a_program_without_a_network(tmp_path):
    """A SavedModel that was exported holds no network, and that is said before anything is loaded."""
    (tmp_path / "saved_model.pb").touch()
    assert saved_model.is_one(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"holds no network of Keras 2 .*model\.save\('model\.keras'\)"):
        saved_model.convert_folder(tmp_path, tmp_path / "new.keras")


def test_python_code_is_not_run(tmp_path):
    """A Lambda in it is refused before tf_keras sees the folder."""
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "keras_metadata.pb").write_bytes(b'..{"class_name": "Lambda", "config": {}}..')
    with pytest.raises(UnsupportedModelError, match="holds a Lambda layer: it is Python code, which is never run"):
        saved_model.convert_folder(tmp_path, tmp_path / "new.keras")


def test_a_network_becomes_a_file(tmp_path):
    """What tf_keras saved as a SavedModel gives its own numbers as a `.keras` file."""
    keras = pytest.importorskip("tf_keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, recurrent_activation="hard_sigmoid")])
    model.save(tmp_path / "saved", save_format="tf")
    made = saved_model.convert_folder(tmp_path / "saved", tmp_path / "new.keras")
    (found,) = made.network.forward({made.network.inputs[0].name: x}).outputs.values()
    np.testing.assert_allclose(found, model(x), atol=1e-6)
