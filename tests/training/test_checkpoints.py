"""training.checkpoints: what a fit leaves on disk is what it goes on from, or it is refused."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from training.checkpoints import STATE, Checkpoints, Progress, State


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Those of a run, with one state."""
    monkeypatch.setenv("UNROLL_CHECKPOINTS", str(tmp_path))
    made = Checkpoints("run", "digest")
    made.save(State(Progress(3, 2, 0.5, [3.0, 0.5, 0.75]), [np.float32([1, 2]), np.int64(7)], [np.float32([3, 4])]))
    return made


def test_a_state_comes_back(checkpoints):
    """Progress and arrays are read as they were written, bit for bit; the next state takes their place."""
    state = checkpoints.load()
    assert state.progress == Progress(3, 2, 0.5, [3.0, 0.5, 0.75])
    assert [a.tobytes() for a in state.variables] == [np.float32([1, 2]).tobytes(), np.int64(7).tobytes()]
    assert state.best[0].tolist() == [3, 4]
    checkpoints.save(State(Progress(4), [], []))
    assert checkpoints.load().progress.epoch == 4
    assert [file.name for file in checkpoints.folder.iterdir()] == [STATE]


def test_nothing_to_resume(checkpoints):
    """A finished run leaves nothing, and then there is no state."""
    checkpoints.remove()
    assert not checkpoints.folder.exists()
    assert checkpoints.load() is None


@pytest.mark.parametrize("left", [slice(0), slice(-100), slice(5, None)], ids=["empty", "cut off", "no zip"])
def test_a_damaged_file(checkpoints, left):
    """A file that is empty, cut off or something else is named, and nothing is resumed from it."""
    file = checkpoints.folder / STATE
    file.write_bytes(file.read_bytes()[left])
    with pytest.raises(InvalidArgumentError, match="is damaged"):
        checkpoints.load()


@pytest.mark.usefixtures("checkpoints")
def test_other_data():
    """A run on data that has changed since is not resumed."""
    with pytest.raises(InvalidArgumentError, match="the data has changed"):
        Checkpoints("run", "another").load()
