"""MASE and sMAPE: what they are by definition, and what does not change them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.data.windows import Timeline, Windows
from training.evaluation.accuracy import accuracy, mase, scales, smape

values = st.floats(-1e3, 1e3, width=32).map(lambda x: round(x, 2))
series = arrays(np.float32, st.integers(12, 30), elements=values)


def windows(targets, window=3):
    """All windows of one series."""
    starts = np.arange(len(targets) - window)
    timeline = Timeline.of(None, np.zeros(len(targets), np.int32), ("",))
    return Windows(targets[:, None], targets, starts, starts + window, window, 1, 1, None, timeline=timeline)


@settings(deadline=None, max_examples=100)
@given(y=series, season=st.integers(0, 5))
def test_the_naive_forecast_has_a_mase_of_one_where_it_is_measured(y, season):
    """In the training part itself, the seasonal naive forecast has a MASE of 1; a series that repeats has no scale."""
    (scale,) = scales(windows(y), season)
    period = season or 1
    if np.isnan(scale):
        assert (y[period:] == y[:-period]).all()
    else:
        assert mase(y[:-period], y[period:], scale) == pytest.approx(1)


@settings(deadline=None, max_examples=100)
@given(y=series, forecast=series, factor=st.sampled_from([0.25, 2.0, 1024.0]))
def test_neither_depends_on_the_unit(y, forecast, factor):
    """Other units change neither; sMAPE is between 0 and 200, equal when forecast and value change places."""
    forecast = np.resize(forecast, y.shape)
    (scale,), (other,) = scales(windows(y), 0), scales(windows(y * np.float32(factor)), 0)
    if np.isfinite(scale):
        assert mase(factor * forecast, factor * y, other) == pytest.approx(mase(forecast, y, scale), rel=1e-5)
    assert smape(factor * forecast, factor * y) == pytest.approx(smape(forecast, y), rel=1e-5)
    assert 0 <= smape(forecast, y) <= 200 + 1e-9
    assert smape(forecast, y) == smape(y, forecast)
    assert (smape(forecast, y) == 0) == (forecast == y).all()


def test_an_example_by_hand():
    """Errors of 1 and 3 where the series changes by 2 a step, and 100 |e| over the mean size of each pair."""
    found = accuracy(np.array([[9.0], [13.0]]), np.array([[10.0], [10.0]]), 2.0)
    assert found["mase"] == 1
    assert found["mae"] == 2
    assert found["smape"] == pytest.approx((100 / 9.5 + 300 / 11.5) / 2)


def test_a_series_without_a_scale_is_left_out():
    """A series that is constant, or has no row in the training part, counts in sMAPE and not in MASE."""
    y = np.array([5, 5, 5, 5, 5, 1, 2, 3, 4, 5], np.float32)
    timeline = Timeline.of(None, np.array([0] * 5 + [1] * 5, np.int32), ("a", "b", "unseen"))
    made = dataclasses.replace(windows(y), timeline=timeline, starts=np.array([0, 5]), target_starts=np.array([3, 8]))
    np.testing.assert_array_equal(scales(made, 0), [np.nan, 1, np.nan])
    assert mase([[1.0], [3.0]], [[2.0], [5.0]], scales(made, 0)[:2]) == 2
    assert np.isnan(mase([[1.0]], [[2.0]], np.nan))
