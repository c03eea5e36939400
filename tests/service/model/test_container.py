"""service.model.container: the zip of a `.keras` file; tests/service/model/test_hostile.py has the attacks."""

import zipfile

import pytest

from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.container import CONFIG, WEIGHTS, member, open_model, parse_json, read_config
from service.model.limits import ReadLimits
from tests.data.hostile import build


@pytest.fixture
def path(tmp_path):
    """A harmless file."""
    build.write(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def test_a_file_of_keras_is_opened(path):
    """The config comes out of the zip as it was written."""
    with open_model(path, ReadLimits()) as archive:
        assert read_config(archive, ReadLimits()) == build.harmless()


def test_a_file_larger_than_the_limit(path):
    """A file is refused by its size, with both numbers, before it is read."""
    size = path.stat().st_size
    with (
        pytest.raises(LimitExceededError, match=f"the file has {size} bytes, the limit is {size - 1}"),
        open_model(path, ReadLimits(file_bytes=size - 1)),
    ):
        pass


def test_a_member_larger_than_its_limit(path):
    """A member is not unpacked where it declares more than may be read."""
    with open_model(path, ReadLimits()) as archive, pytest.raises(LimitExceededError, match=f"^{WEIGHTS} has"):
        member(archive, WEIGHTS, 10)


def test_what_is_no_file_is_refused(tmp_path):
    """A folder is not opened, and the error says what kind of folder it is and what to do with it."""
    for files, said in (
        ([], "is a folder; expected a file"),
        (["config.json", "model.weights.h5"], r"is a \.keras file that was unpacked"),
        (["MLmodel"], "is the folder of an MLflow model: give the file in it$"),
        (["data/model.keras"], "is the folder of an MLflow model: give the file in it, data/model.keras"),
        (["saved_model.pb"], r"is a TensorFlow SavedModel.*unroll convert .* new\.keras"),
    ):
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        with pytest.raises(UnsupportedModelError, match=said), open_model(tmp_path, ReadLimits()):
            pass


def test_other_members_are_refused_by_name(path):
    """A zip with a member that Keras does not write is no model."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("run.py", "print()")
    with pytest.raises(UnsupportedModelError, match=r"run\.py"), open_model(path, ReadLimits()):
        pass


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": Infinity}', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json(text):
    """A config is plain JSON: no NaN, no infinity, not nested without end."""
    with pytest.raises(CorruptModelError, match=CONFIG):
        parse_json(text)
