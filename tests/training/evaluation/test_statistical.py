"""AutoETS and AutoTheta: each series by itself, from its past alone."""

import numpy as np
import pytest

from training.data.windows import Timeline, Windows
from training.evaluation.statistical import NAMES, Statistical

pytest.importorskip("statsforecast")


def windows(targets, starts):
    """Windows of six rows with three targets over two series of sixty rows."""
    series = (np.arange(120) >= 60).astype(np.int32)
    starts = np.array(starts)
    return Windows(
        targets[:, None], targets, starts, starts + 6, 6, 3, 1, series, timeline=Timeline.of(None, series, ("a", "b"))
    )


@pytest.fixture(scope="module")
def targets():
    """A season of four over a trend, and a constant series with a hole."""
    t = np.arange(60)
    noise = np.random.default_rng(0).normal(size=60)
    rising = 100 + t + 10 * np.array([0, 1, 0, -1])[t % 4] + 0.5 * noise
    made = np.concatenate([rising, np.full(60, 7.0)]).astype(np.float32)
    made[70] = np.nan
    return made


def test_trend_and_season_are_forecast(targets):
    """A season over a trend is forecast well by both, at every origin, with a progress that ends."""
    told = []
    made = windows(targets, [40, 44, 50, 100])
    found = Statistical(4).forecasts(made, lambda done, total: told.append((done, total)))
    assert set(found) == set(NAMES)
    assert told[-1] == (4, 4)
    for predicted in found.values():
        assert np.abs(predicted[:3] - made.expected()[:3]).mean() < 6
        np.testing.assert_allclose(predicted[3], 7, atol=1e-3)


def test_they_see_no_future(targets):
    """With other values from a forecast's first target on, it is the same; a later forecast knows what came."""
    made = windows(targets, [40, 44])
    changed = targets.copy()
    changed[46:] = 1e5
    other = windows(changed, [40, 44])
    found, again = (Statistical(4).forecasts(w, lambda *_: None) for w in (made, other))
    for name in NAMES:
        np.testing.assert_array_equal(found[name][0], again[name][0])
        assert np.abs(again[name][1] - found[name][1]).max() > 10


def test_a_series_that_is_too_short_has_its_last_value(targets):
    """Where a model cannot be fitted, the last value is the forecast, and that is said once for each model."""
    notes = []
    made = windows(targets, [0])
    short = Windows(
        targets[:, None], targets, made.starts, np.array([1]), 1, 3, 1, made.segments, timeline=made.timeline
    )
    found = Statistical(4, notes.append).forecasts(short, lambda *_: None)
    for name in NAMES:
        assert np.isfinite(found[name]).all()
    assert len(notes) <= 2
