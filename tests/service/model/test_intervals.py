"""Prediction intervals: the widths that errors give, their coverage, and files that cannot be used."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError
from service.model.intervals import FILE, LEVELS, Adaptive, Intervals, IntervalsError, calibrate, coverage, load

SCALED = {"forecasts": 12, "floor": 0.1, "count": 20, "quantiles": {"80": [1.5, 2.5]}}
GOOD = {"method": "split-conformal", "count": 30, "half_widths": {"80": [1.0, 2.0], "95": [2.5, 3.0]}}


def errors(kind, rng, shape):
    """Errors of some distribution, independent of each other."""
    return {
        "normal": lambda: rng.normal(size=shape),
        "skewed": lambda: rng.exponential(size=shape) - 1,
        "heavy tails": lambda: rng.standard_t(2, size=shape),
        "few values": lambda: rng.integers(-3, 4, shape).astype(float),
    }[kind]()


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["normal", "skewed", "heavy tails", "few values"]),
    count=st.integers(20, 400),
    seed=st.integers(0, 2**32 - 1),
    offset=st.floats(-1e4, 1e4),
)
def test_coverage_is_at_least_the_level_whatever_the_errors(kind, count, seed, offset):
    """Of new errors like those calibrated with, no fewer lie within the intervals than chance explains."""
    rng = np.random.default_rng(seed)
    calibrated, fresh = errors(kind, rng, (count, 1)), errors(kind, rng, (2_000, 1))
    predicted = np.full((2_000, 1), offset)
    intervals = calibrate(np.full((count, 1), offset), offset + calibrated)
    for level, share in coverage(intervals, predicted, offset + fresh).items():
        # The coverage of one calibration follows a beta distribution around the level; then 2,000 are drawn from it.
        p = level / 100
        deviation = math.sqrt(p * (1 - p) * (1 / (count + 2) + 1 / 2_000))
        assert share >= p - 6 * deviation - 1 / count


def test_the_rank_makes_up_for_few_windows():
    """With n errors the half-width at a level is that of rank ⌈(n + 1) level⌉, and levels beyond n are left out."""
    expected = np.arange(1.0, 20.0)[:, None]  # 19 errors: 1, 2, … 19
    found = calibrate(np.zeros((19, 1)), expected)
    assert found.half_widths == {50: 10, 60: 12, 70: 14, 80: 16, 90: 18, 95: 19}
    assert found.count == 19
    assert calibrate(np.zeros((0, 1)), np.zeros((0, 1))) is None
    assert calibrate(np.full((30, 1), np.nan), np.zeros((30, 1))) is None


def test_each_step_has_its_own_width(tmp_path):
    """Steps that are harder to predict get wider intervals, and a file gives back what was written."""
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(500, 3)) * [1, 5, 25]
    found = calibrate(np.zeros((500, 3)), expected)
    assert list(found.half_widths) == list(LEVELS)
    assert all((np.diff(half) > 0).all() for half in found.half_widths.values())
    assert all((a < b).all() for a, b in itertools.pairwise(found.half_widths.values()))
    found.save(tmp_path / FILE)
    again = load(tmp_path / FILE, (3,))
    assert again.count == 500
    for level in LEVELS:
        assert np.array_equal(again.half_widths[level], found.half_widths[level])
    with pytest.raises(InvalidArgumentError, match="no prediction intervals at 42 %; there are at 50, 60"):
        again.around(np.zeros((1, 3)), 42)


def test_a_file_holds_what_is_scaled_by_recent_errors(tmp_path):
    """Plain widths and those that are scaled by recent errors are in one file, of which each target has its own."""
    plain = {80.0: np.ones((2, 3), np.float32), 95.0: np.full((2, 3), 2, np.float32)}
    scaled = Adaptive({80.0: np.arange(6, dtype=np.float32).reshape(2, 3)}, 20, 12, np.array([0.1, 1, 10]))
    Intervals(plain, 40, scaled).save(tmp_path / FILE)
    found = load(tmp_path / FILE, (2, 3))
    lower, upper = found.around(np.zeros((1, 2, 3), np.float32), 80, np.array([[2.0, 2.0, 2.0]]))
    assert upper.tolist() == [[[0, 2, 20], [6, 8, 50]]]
    assert np.array_equal(lower, -upper)
    assert np.array_equal(
        found.of_target(2).around(np.zeros((1, 2), np.float32), 80, np.array([2.0]))[1], upper[..., 2]
    )
    with pytest.raises(InvalidArgumentError, match="no adaptive intervals at 95 %; there are at 80"):
        found.around(np.zeros((1, 2, 3), np.float32), 95, np.ones((1, 3)))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "magic"},
        {"half_widths": {"80": [1.0]}},
        {"half_widths": {"80": [1.0, -2.0]}},
        {"half_widths": {"80": [1.0, float("nan")]}},
        {"half_widths": {"101": [1.0, 2.0]}},
        {"half_widths": {"nan": [1.0, 2.0]}},
        {"half_widths": {"80": [[1.0], [2.0]]}},
        {"half_widths": {"80": "12"}},
        {"half_widths": {}},
        {"half_widths": [1, 2]},
        {"count": "many"},
        {"adaptive": None},
        {"adaptive": SCALED | {"forecasts": 0}},
        {"adaptive": SCALED | {"floor": 0}},
        {"adaptive": SCALED | {"floor": [0.1]}},
        {"adaptive": SCALED | {"quantiles": {"80": [1.5]}}},
        {"adaptive": SCALED | {"quantiles": {"90": [1.5, 2.5]}}},
    ],
    ids=str,
)
def test_files_that_do_not_fit_are_refused(tmp_path, change):
    """A file of another method, of other steps, or with what is no half-width, is refused in one sentence."""
    (tmp_path / FILE).write_text(json.dumps(GOOD | change))
    with pytest.raises(IntervalsError, match=r"intervals\.json cannot be used"):
        load(tmp_path / FILE, (2,))


@pytest.mark.parametrize(
    "text", ["", "[]", "{" * 5000, "[" * 100_000, '{"method": "split-conformal"}', "x" * (2 << 20)]
)
def test_what_is_no_such_file_is_refused(tmp_path, text):
    """Text that is no JSON, that is nested too deeply, or that is too large, is refused."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(IntervalsError):
        load(tmp_path / FILE, (2,))
