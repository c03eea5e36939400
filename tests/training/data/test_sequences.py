"""training.data.sequences: arrays of sequences, and what is none."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training.options import Source


def test_sequences_are_read(tmp_path):
    """Arrays x and y are windows as they are; the last ones are held out."""
    x = np.random.default_rng(0).normal(size=(40, 6, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(80).reshape(40, 2))
    parts = load(Source(str(tmp_path / "a.npz"), validation=0.25, test=0.25))[0].parts
    assert [len(part) for part in parts.named().values()] == [20, 10, 10]
    np.testing.assert_array_equal(parts.test.inputs(), x[30:].astype(np.float32))
    np.testing.assert_array_equal(parts.test.expected(), np.arange(60, 80).reshape(10, 2))
    np.savez(tmp_path / "b.npz", x=x, y=np.array(["up", "down"] * 20))
    examples, _ = load(Source(str(tmp_path / "b.npz")))
    assert examples.classes == ("down", "up")
    assert examples.parts.train.expected()[:2].tolist() == [[1], [0]]


def test_arrays_too_large_for_single_precision_are_refused(tmp_path):
    """An array with a number beyond float32 is refused with the number."""
    np.savez(tmp_path / "a.npz", x=np.full((30, 3, 1), 1e300), y=np.arange(30))
    with pytest.raises(InvalidArgumentError, match=r"column 'x' has the value 1e\+300"):
        load(Source(str(tmp_path / "a.npz")))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((4, 3, 1))}, "data: a.npz holds no array 'y'"),
        ({"x": np.ones((4, 3)), "y": np.ones(4)}, r"data: x is float64 of shape \[4, 3\]"),
        ({"x": np.ones((4, 3, 1)), "y": np.ones(5)}, r"data: y has the shape \[5\]"),
        ({"x": np.full((4, 3, 1), np.nan), "y": np.ones(4)}, "missing: 4 of 4 sequences have missing values"),
        ({"x": np.array([{}]), "y": np.ones(4)}, "data: a.npz cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    """Arrays of other shapes than sequences and targets are refused, and pickles are never read."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidArgumentError, match=message):
        load(Source(str(tmp_path / "a.npz")))
