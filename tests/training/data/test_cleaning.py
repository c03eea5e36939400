"""training.data.cleaning: rows in order, missing values and gaps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError
from tests.training.data.tables import HOLES, load, numbers, write
from training.options import Source


def test_rows_out_of_order_are_sorted(tmp_path):
    """Rows are put in order of time, and it is said that they were not."""
    times = np.random.default_rng(0).permutation(60)
    examples, found = load(Source(write(tmp_path / "t.csv", t=times, y=times**2), target=("y",), time="t", window=3))
    np.testing.assert_array_equal(examples.parts.train.values[:, 0], np.arange(60) ** 2)
    assert "rows were not in order of 't': sorted" in found


@pytest.mark.parametrize("choice", ["drop", "ffill", "interpolate"])
def test_missing_values_are_treated_as_asked(tmp_path, choice):
    """They are counted; dropped rows break windows, others are filled; what was missing is never a target."""
    path = write(tmp_path / "h.csv", t=range(100), y=HOLES)
    examples, found = load(Source(path, target=("y",), time="t", window=4, missing=choice))
    assert any(line.startswith("no value for 'y' in 2 of 100 rows: ") for line in found)
    values = examples.parts.train.values
    assert np.isfinite(values).all()
    if choice == "drop":
        assert len(values) == 98
        assert all(not start < 30 <= start + 4 for start in examples.parts.train.starts)
    else:
        before, after = HOLES[29], HOLES[31]
        assert values[30, 0] == pytest.approx(before if choice == "ffill" else (before + after) / 2)
        assert not {30, 36} & set(examples.parts.train.target_starts.tolist())


def test_held_out_values_are_not_filled_from_their_future(tmp_path):
    """Where data is held out, a missing value becomes the one before it, even where training interpolates."""
    path = write(tmp_path / "h.csv", t=range(100), y=[*numbers(90), "", *numbers(9, seed=1)])
    values = load(Source(path, target=("y",), time="t", window=4, missing="interpolate"))[0].parts.test.values
    assert values[90] == values[89]


def test_gaps_are_split_or_kept(tmp_path):
    """No window spans an uneven step, or all do, as asked; months of different lengths are even."""
    times = [*range(40), *range(50, 110)]
    path = write(tmp_path / "g.csv", t=times, y=numbers(100))
    split, found = load(Source(path, target=("y",), time="t", window=4, gaps="split"))
    kept, _ = load(Source(path, target=("y",), time="t", window=4, gaps="keep"))
    assert "column 't' has 1 uneven step, the first from 39 to 50: no window spans one" in found
    assert len(kept.parts.train) - len(split.parts.train) == 4
    months = np.arange("2000-01", "2009-01", dtype="datetime64[M]").astype("datetime64[D]").astype(str)
    load(Source(write(tmp_path / "m.csv", t=months, y=numbers(108)), target=("y",), time="t", window=4))


ONES = st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.integers(-99, 99) | st.none())


@given(st.lists(ONES, max_size=30), st.sampled_from(["mean", "last"]))
@settings(max_examples=25, deadline=None)
def test_rows_of_one_time_become_one(tmp_path_factory, more, duplicates):
    """Of rows of one time in a series there is the mean or the last one, as pandas groups them, in whatever order."""
    rows = [(t, place, 10 * t + t % 7) for place in "ab" for t in range(40)] + more
    path = tmp_path_factory.mktemp("twice") / "t.csv"
    times, places, values = zip(*rows, strict=True)
    text = ["" if value is None else value for value in values]
    options = {"target": ("y",), "time": "t", "group": "place", "window": 3, "missing": "ffill"}
    examples, found = load(Source(write(path, t=times, place=places, y=text), **options, duplicates=duplicates))
    table = pd.DataFrame({"t": times, "place": places, "y": pd.array(values, "float32")})
    grouped = table.groupby(["place", "t"])["y"]
    last = pd.Series([group.iloc[-1] for _, group in grouped], grouped.size().index)
    expected = grouped.mean() if duplicates == "mean" else last
    filled = expected.groupby("place").ffill().dropna().to_numpy(np.float32)  # nothing stands before the first row
    np.testing.assert_allclose(examples.parts.train.values[:, 0], filled, rtol=1e-6)
    assert bool(more) == any("more than once" in line for line in found)


def test_a_time_that_stands_twice_is_an_error_that_shows_the_first(tmp_path):
    """The first time that a series has twice is named, and what may be done; classes have no mean."""
    columns = {"t": [*range(30), 7, 9], "kind": ["x", "y"] * 16}
    path = write(tmp_path / "t.csv", y=numbers(32), **columns)
    options = {"target": ("y",), "time": "t", "window": 3}
    with pytest.raises(InvalidArgumentError) as refused:
        load(Source(path, **options))
    assert refused.value.message == (
        "time: column 't' has 7 more than once; if a column tells series apart, name it in --group; else choose "
        "--duplicates mean or last"
    )
    series = write(tmp_path / "s.csv", y=numbers(32), place=["A"] * 32, **columns)
    with pytest.raises(InvalidArgumentError) as refused:
        load(Source(series, **options, group="place"))
    assert refused.value.message == ("time: column 't' has 7 more than once for 'A'; choose --duplicates mean or last")
    with pytest.raises(InvalidArgumentError, match=r"^duplicates: .* classes have no mean; choose --duplicates last"):
        load(Source(path, **{**options, "target": ("kind",)}, duplicates="mean"))
    assert load(Source(path, **{**options, "target": ("kind",)}, duplicates="last"))[0].timesteps == 30
