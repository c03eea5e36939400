"""By which road each kind of file comes to be served: one file, and all of a folder."""

import shutil

import pytest

from service.convert import roads
from service.convert.roads import Road, find, find_all
from service.errors import UnsupportedModelError
from tests.data.hostile import build
from tests.service.convert.keras2 import FOLDER


def with_layer(*layers):
    """The harmless config with layers behind the others."""
    config = build.harmless()
    config["config"]["layers"] += layers
    return config


@pytest.fixture
def folder(tmp_path):
    """A folder with a model of each kind."""
    build.write(tmp_path / "plain.keras")
    build.write(tmp_path / "keras.keras", with_layer(build.layer("GroupQueryAttention2", "a")))
    code = build.layer("Lambda", "f"), build.layer("GroupQueryAttention2", "a")
    build.write(tmp_path / "code.keras", with_layer(*code))
    build.write(tmp_path / "custom.keras", with_layer(build.layer("Mine", "m", module="mine")))
    shutil.copy(FOLDER / "lstm.h5", tmp_path / "old.h5")
    shutil.copy(FOLDER / "first.keras", tmp_path / "old.keras")
    shutil.copy(FOLDER / "architecture.json", tmp_path / "a.json")
    shutil.copy(FOLDER / "architecture.h5", tmp_path / "a.weights.h5")
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "read.me").write_text("text")
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").touch()
    (tmp_path / "saved" / "variables" / "x.h5").touch()
    return tmp_path


ROADS = {
    "plain.keras": (Road.SERVED, ""),
    "keras.keras": (Road.THROUGH_KERAS, r"layer a \(GroupQueryAttention2\): the class is not supported"),
    "code.keras": (Road.NOT, r"layer f \(Lambda\): it is Python code, which is never run; make the network again"),
    "custom.keras": (Road.NOT, "custom layers are code, and nothing from a file is executed; make the network again"),
    "old.h5": (Road.CONVERT, "hard_sigmoid is Keras 2's"),
    "old.keras": (Road.CONVERT, "hard_sigmoid is Keras 2's"),
    "a.json": (Road.CONVERT, "an architecture, which needs its file of weights"),
    "a.weights.h5": (Road.CONVERT, "weights, which need their architecture"),
    "notes.json": (Road.NOT, "is not the architecture of a model"),
    "text.h5": (Road.NOT, "it is not a zip file, or a damaged one"),
    "saved": (Road.CONVERT, "a TensorFlow SavedModel; needs tf_keras"),
}


def test_each_file_has_its_road(folder):
    """Every model of a folder is listed with its road, why, and a command where there is one; other files are not."""
    import re

    found = {one.path.name: one for one in find_all(folder)}
    assert found.keys() == ROADS.keys()
    for name, (road, said) in ROADS.items():
        assert found[name].road is road, name
        assert re.search(said, "; ".join(found[name].reasons)), name
        assert bool(found[name].command) == (road is not Road.NOT)
    assert found["plain.keras"].command == f"unroll register {folder / 'plain.keras'} --name NAME"
    assert "--engine tensorflow" in found["keras.keras"].command
    assert found["old.h5"].report.supported


def test_a_folder_without_end(folder, monkeypatch):
    """A folder of more files than anybody has models is refused, rather than walked."""
    monkeypatch.setattr(roads, "LOOKED_AT", 5)
    with pytest.raises(UnsupportedModelError, match="holds more than"):
        list(find_all(folder))


def test_a_file_that_is_not_there(tmp_path):
    """That stays an error of the system."""
    with pytest.raises(FileNotFoundError):
        find(tmp_path / "absent.keras")
