"""Adaptive intervals: coverage where noise changes its scale, and recent errors that know nothing of the future."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError
from service.model.intervals import calibrate as calibrate_plain
from service.model.intervals import coverage
from tests.training.data.tables import write
from training.data.examples import load
from training.evaluation.adaptive import FORECASTS, calibrate, check, recent_errors
from training.options import Source

COUNT = 4_000  # windows to calibrate with, and as many to measure with
STRETCH = 200  # steps of one scale


def noisy(seed, loud):
    """Errors of a series whose noise is quiet and loud in turn, (windows, 1), and where it is loud."""
    rng = np.random.default_rng(seed)
    is_loud = np.arange(2 * COUNT) // STRETCH % 2 == 1
    return (rng.normal(size=2 * COUNT) * np.where(is_loud, loud, 1.0))[:, None], is_loud


def intervals_of(errors):
    """Intervals from the first half of the errors, and the recent error at each window of the whole."""
    recent = recent_errors(np.abs(errors), np.arange(len(errors)), np.zeros(len(errors), np.int64))
    first = errors[:COUNT]
    nothing = np.zeros_like(first)
    return calibrate(calibrate_plain(nothing, first), nothing, first, recent[:COUNT]), recent


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), loud=st.floats(3, 30))
def test_coverage_holds_in_quiet_and_in_loud_stretches(seed, loud):
    """Adaptive intervals keep their level over all, and nearly so in each kind of stretch, where plain ones do not."""
    errors, is_loud = noisy(seed, loud)
    intervals, recent = intervals_of(errors)
    later, settled = slice(COUNT, None), np.arange(COUNT) % STRETCH >= FORECASTS
    nothing, recent, errors, is_loud = np.zeros((COUNT, 1)), recent[later], errors[later], is_loud[later]
    for level, share in coverage(intervals, nothing, errors, recent).items():
        # Of 4,000 scores calibrated with and as many drawn. Twice the variance of independent ones, because neighbours
        # share most of their recent errors.
        p = level / 100
        assert abs(share - p) <= 5 * math.sqrt(2 * p * (1 - p) * 2 / COUNT)
    for chosen in (settled & is_loud, settled & ~is_loud):
        part = nothing[chosen], errors[chosen]
        plain, scaled = coverage(intervals, *part)[80], coverage(intervals, *part, recent[chosen])[80]
        assert abs(scaled - 0.8) < 0.08 < abs(plain - 0.8)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 5), count=st.integers(1, 60), forecasts=st.integers(1, 8))
def test_recent_errors_are_those_known_before_the_window(seed, steps, count, forecasts):
    """At each window the recent error is the mean of the last forecasts of its stretch that end before its targets."""
    rng = np.random.default_rng(seed)
    first = np.sort(rng.choice(3 * count, count, replace=False))
    stretches = first // 40
    errors = np.abs(rng.normal(size=(count, steps, 2)))
    found = recent_errors(errors, first, stretches, forecasts)
    for i in range(count):
        known = np.flatnonzero(first + steps <= first[i])[-forecasts:]
        if len(known) == forecasts and (stretches[known] == stretches[i]).all():
            assert np.allclose(found[i], errors[known].mean(axis=(0, 1)), rtol=1e-12)
        else:
            assert np.isnan(found[i]).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_no_future_is_seen(steps):
    """What happens from a window's first target on changes nothing about its recent error."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=100 + steps)
    first, same = np.arange(100), np.zeros(100, int)

    def recent(values):
        return recent_errors(np.abs(values[first[:, None] + np.arange(steps)]), first, same)

    changed = series.copy()
    changed[50:] *= 1_000
    before, after = recent(series), recent(changed)
    assert np.array_equal(before[:51], after[:51], equal_nan=True)
    assert (before[51:] != after[51:]).all()
    assert np.isfinite(before).sum() == 100 - FORECASTS - steps + 1


def test_a_series_without_errors_has_a_floor():
    """Where the recent error is 0, intervals are scaled by a share of the usual error."""
    errors, _ = noisy(0, 3)
    errors[1_000:1_100] = 0
    intervals, recent = intervals_of(errors)
    assert recent[1_050] == 0
    lower, upper = intervals.around(np.zeros((1, 1), np.float32), 80, np.zeros(1))
    assert 0 < upper[0, 0] - lower[0, 0] < np.abs(errors).mean() / 10
    exact, _ = intervals_of(np.zeros_like(errors))
    assert exact.adaptive.floor > 0
    assert exact.adaptive.quantiles[95] == 0


def test_unknown_recent_errors_leave_the_plain_widths():
    """A window of which no recent error is known has the plain widths, beside windows that have scaled ones."""
    intervals, _ = intervals_of(noisy(0, 3)[0])
    predicted = np.zeros((2, 1), np.float32)
    lower, upper = intervals.around(predicted, 80, np.array([np.nan, 2.0]))
    assert upper[0] == intervals.half_widths[80] == -lower[0]
    assert np.allclose(upper[1], 2 * intervals.adaptive.quantiles[80])


def test_what_cannot_be_adaptive_is_refused(tmp_path):
    """Classes, sequences that do not follow each other, and a validation part that is too short, are refused."""
    values = np.random.default_rng(0).normal(size=100)
    write(tmp_path / "d.csv", y=values, kind=np.where(values > 0, "a", "b"))
    np.savez(tmp_path / "d.npz", x=values.reshape(20, 5, 1), y=values[:20])
    refused = {
        "need targets that are numbers": Source(data=str(tmp_path / "d.csv"), target=("kind",), window=4),
        "need a table": Source(data=str(tmp_path / "d.npz")),
        "has to have more than 14 windows there; it has 13 in all": Source(
            data=str(tmp_path / "d.csv"), target=("y",), features=("y",), window=4, horizon=3
        ),
    }
    for expected, source in refused.items():
        with pytest.raises(InvalidArgumentError, match=expected):
            check(load(source, lambda *_: None, lambda _: None))
