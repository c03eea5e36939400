"""training.data.counting: a column that counts rows is no feature unless it is named, and it is said which one is."""

import numpy as np
import pytest

from tests.training.data.tables import load, numbers, write
from training.data import growing
from training.options import Source

ROWS = 60


@pytest.mark.parametrize(
    ("column", "left_out"),
    [
        (range(ROWS), True),
        (range(1700, 1700 + 2 * ROWS, 2), True),
        (range(ROWS, 0, -1), True),
        ([*range(30), *range(30)], False),
        ([*range(30), *range(31, 61)], False),
        ([i / 8 for i in range(ROWS)], False),
        ([*range(ROWS - 1), ""], False),
        (numbers(ROWS, seed=2), False),
    ],
)
def test_a_column_that_counts_rows_is_left_out(tmp_path, monkeypatch, column, left_out):
    """Whole numbers with one distance count rows, in whatever direction and blocks; others are features."""
    monkeypatch.setattr(growing, "BLOCK", 7)
    path = write(tmp_path / "t.csv", n=column, y=numbers(ROWS), x=numbers(ROWS, seed=1))
    examples, found = load(Source(path, target=("y",), window=3, missing="ffill"))
    assert examples.layout.features == (("y", "x") if left_out else ("n", "y", "x"))
    said = "'n' counts rows and is left out; name it in --features to predict from it"
    assert (said in found) == left_out
    assert ("features: y, x; left out: n" if left_out else "features: n, y, x") in found
    if left_out:
        np.testing.assert_allclose(examples.parts.train.values[:, 0], np.float32(numbers(ROWS)))
        named, _ = load(Source(path, target=("y",), window=3, features=("n", "x")))
        assert named.layout.features == ("n", "x")


def test_rows_are_counted_in_the_file_and_in_each_series(tmp_path):
    """A column that counts the rows of the file, or those of each series, is found in whatever order they lie."""
    times = np.random.default_rng(0).permutation(ROWS)
    columns = {"t": [*times, *times], "place": ["a"] * ROWS + ["b"] * ROWS, "y": numbers(2 * ROWS)}
    columns |= {"row": range(2 * ROWS), "own": [1000 - t for t in columns["t"]], "x": numbers(2 * ROWS, seed=1)}
    path = write(tmp_path / "t.csv", **columns)
    examples, found = load(Source(path, target=("y",), time="t", group="place", window=3))
    assert examples.layout.features == ("y", "x")
    assert "'row' and 'own' count rows and are left out; name them in --features to predict from them" in found


def test_a_target_that_counts_is_kept(tmp_path):
    """What is to be predicted stays a feature, and so does the only one."""
    path = write(tmp_path / "t.csv", t=range(ROWS), y=range(ROWS))
    assert load(Source(path, target=("y",), time="t", window=3))[0].layout.features == ("y",)
    path = write(tmp_path / "k.csv", n=range(ROWS), kind=["a", "b"] * (ROWS // 2))
    examples, found = load(Source(path, target=("kind",), window=3))
    assert examples.layout.features == ("n",)
    assert "'n' counts rows, and there is no other feature" in found
