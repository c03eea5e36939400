"""Files: rewritten with other weights they are still Keras's, and nothing else changes; what is none is named."""

import zipfile

import numpy as np
import pytest

from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model import keras_file


@pytest.fixture(scope="module")
def keras():
    """Keras, imported once."""
    import keras

    return keras


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """A compiled and fitted model of several layers of one class, saved."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            layers.LSTM(3, return_sequences=True, name="first"),
            layers.Bidirectional(layers.LSTM(2), name="second"),
            layers.Dense(2, name="a"),
            layers.Dense(1, name="b"),
        ]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((2, 3, 2)), np.ones(2), verbose=0)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


def test_keras_opens_what_was_rewritten(keras, saved, tmp_path):
    """Keras reads the changed weights from a rewritten file, and the optimizer that was in it."""
    changes = {
        "first/recurrent_kernel": np.full((3, 12), 0.25, np.float32),
        "second/backward/bias": np.arange(8, dtype=np.float32),
        "b/kernel": np.float32([[1], [2]]),
    }
    keras_file.rewrite(saved, tmp_path / "new.keras", changes)
    model = keras.models.load_model(tmp_path / "new.keras")
    network = keras_file.read(tmp_path / "new.keras")
    for ours, theirs in zip(network.weights.values(), model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    for name, value in changes.items():
        assert np.array_equal(network.weights[name], value)
    assert network.digest == keras_file.read(saved).with_weights(changes).digest
    assert int(model.optimizer.iterations) == 1


def test_all_else_stays(saved, tmp_path):
    """Every other member of the file is the same, byte for byte; without changes the network is too."""
    keras_file.rewrite(saved, tmp_path / "new.keras", {})
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "new.keras") as new:
        assert old.namelist() == new.namelist()
        for name in ("config.json", "metadata.json"):
            assert old.read(name) == new.read(name)
    assert keras_file.read(saved).digest == keras_file.read(tmp_path / "new.keras").digest


def test_a_change_that_does_not_fit_writes_nothing(saved, tmp_path):
    """A refused change leaves neither a file nor a part of one; nor is a file written onto itself."""
    with pytest.raises(InvalidArgumentError):
        keras_file.rewrite(saved, tmp_path / "new.keras", {"b/bias": np.zeros(7, np.float32)})
    with pytest.raises(InvalidArgumentError):
        keras_file.rewrite(saved, saved, {"b/bias": np.zeros(1, np.float32)})
    assert not list(tmp_path.iterdir())
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"]


def test_a_pointer_of_git_lfs_is_told(tmp_path):
    """What a clone without Git LFS has in place of a file is called so."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 100\n"
    (tmp_path / "m.keras").write_text(text)
    with pytest.raises(UnsupportedModelError, match="a pointer of Git LFS, not the file that `git lfs pull` fetches"):
        keras_file.read(tmp_path / "m.keras")
