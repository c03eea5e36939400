"""Baselines: they know the past, and nothing else."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.tables import load, write
from training.data.examples import Examples
from training.data.layout import Layout
from training.data.windows import Parts, Timeline, Windows
from training.evaluation.baselines import baselines, forecasts
from training.options import Source


def windows(starts, *, outputs=2, window=3, count=24):
    """Windows over the numbers from 0 on."""
    values = np.arange(count, dtype=np.float32)
    starts = np.array(starts)
    segments = (np.arange(count) >= 12).astype(np.int32)
    timeline = Timeline.of(None, segments, ("a", "b"))
    return Windows(values[:, None], values, starts, starts + window, window, outputs, 1, segments, timeline=timeline)


def examples(train, test, classes=()):
    """Examples of these windows."""
    layout = Layout(("y",), "y", train.window, train.outputs, classes)
    return Examples("n", layout, Parts(train, test, test))


def test_baselines_know_the_past_only():
    """Where numbers rise by one, the last value is wrong by the steps ahead, the season by its length."""
    made = examples(windows(range(3)), windows([4, 5]))
    assert baselines(made, 0)["last value"]["mae"] == 1.5
    assert baselines(made, 0)["mean"]["mae"] == 8 - 3  # of the rows from 0 to 6, which are trained on
    assert baselines(made, 0)["drift"]["mae"] == 0
    assert baselines(made, 4)["seasonal"]["mae"] == 4
    assert baselines(made, 1)["seasonal"]["mae"] == 1.5  # the last known one is two back of the second
    young = examples(windows(range(3)), windows([12]))  # the other series has begun just now
    assert baselines(young, 5)["seasonal"]["mae"] == 1.5


@pytest.mark.parametrize("missing", [5, 9, 11])
def test_a_missing_target_is_no_end_of_the_baselines(missing):
    """Where the last value, or that of a season ago, is missing, the one known before it stands for it."""
    test = windows([4, 5, 6], outputs=1)
    targets = test.targets.copy()
    targets[missing] = np.nan
    if missing >= 7:  # a missing value is never a target
        keep = test.target_starts != missing
        test = test.some(keep)
    made = examples(windows(range(3), outputs=1), dataclasses.replace(test, targets=targets))
    found = baselines(made, 4)
    assert set(found) == {"last value", "seasonal", "seasonal mean", "drift", "mean"}
    assert all(np.isfinite(error) for figures in found.values() for error in figures.values())
    assert found["last value"]["mae"] >= 1


def test_a_missing_class_is_not_forecast():
    """The last class known is the one before a missing one, which is -1 and never right."""
    classes = np.array([0, 1] * 12, np.int32)
    test = dataclasses.replace(windows([4, 6], outputs=1), targets=classes)
    classes[6] = -1
    made = examples(dataclasses.replace(windows(range(3), outputs=1), targets=classes), test, ("a", "b"))
    assert baselines(made, 0)["last value"]["error_rate"] == 0.5


def test_the_seasonal_mean_is_that_of_each_series_and_position(tmp_path):
    """Values that depend on series and month alone are forecast without an error, across a gap of some months too."""
    months = [str(m) for m in np.arange("2000-01", "2010-01", dtype="datetime64[M]") if str(m)[:7] != "2003-05"]
    y = [100 * place + int(month[5:7]) for place in (1, 2) for month in months]
    path = write(tmp_path / "t.csv", t=months * 2, y=y, place=["a"] * len(months) + ["b"] * len(months))
    examples = load(Source(path, target="y", time="t", group="place", window=5, horizon=3, gaps="split"))[0]
    found = baselines(examples, 12)
    assert found["seasonal mean"]["mae"] == 0
    assert found["seasonal"]["mae"] == 0
    assert found["mean"]["mae"] > 2
    classes = [["low", "high"][int(month[5:7]) > 6] for month in months]
    path = write(tmp_path / "c.csv", t=months, y=classes, x=range(len(months)))
    examples = load(Source(path, target="y", time="t", window=5, gaps="split"))[0]
    assert baselines(examples, 12)["seasonal most frequent"]["error_rate"] == 0


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 99), at=st.integers(8, 20), missing=st.sets(st.integers(0, 23), max_size=5))
def test_no_baseline_sees_the_future(seed, at, missing):
    """Whatever comes from the first target of a window on, every baseline forecasts the same for it."""
    rng = np.random.default_rng(seed)
    train, test = windows(range(3)), windows([at - 3] if at != 13 and at != 14 else [at - 8])
    targets = rng.normal(size=24).astype(np.float32)
    targets[list(missing)] = np.nan
    changed = targets.copy()
    begin = int(test.target_starts[0])
    changed[begin:] = 1e6 * rng.normal(size=24 - begin)
    found, other = (
        forecasts(dataclasses.replace(train, targets=t), dataclasses.replace(test, targets=t), 4)
        for t in (targets, changed)
    )
    assert set(found) == {"last value", "seasonal", "seasonal mean", "drift", "mean"}
    for name, values in found.items():
        assert np.isfinite(values.astype(float)).all(), name
        np.testing.assert_array_equal(values, other[name])
