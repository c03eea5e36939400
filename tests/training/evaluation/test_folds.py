"""Rolling origins: where folds lie, and that nothing before an origin depends on what comes after it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError
from tests.training.data.tables import load as load_all
from tests.training.data.tables import numbers, write
from training.data.examples import load
from training.evaluation.folds import RollingOrigin, stretches
from training.options import Options, Source
from training.scaling import scaling_of


def split(source, fold=0, **rolling):
    """The folds, and the examples as they are seen at the origin of one."""
    made = RollingOrigin(**{"count": 3, "stride": 0, "reach": max(1, source.horizon), **rolling})
    return made, load(source, lambda *_: None, lambda _: None, made.before(fold))


@pytest.fixture
def years(tmp_path):
    """A table of a hundred years."""
    return Source(write(tmp_path / "t.csv", t=range(1900, 2000), y=numbers(100)), target="y", time="t", window=4)


@pytest.mark.parametrize(
    ("stride", "origins"), [(0, [1970, 1975, 1980]), (2, [1979, 1981, 1983]), (1, [1982, 1983, 1984])]
)
def test_folds_are_the_last_strides_before_the_held_out_part(years, stride, origins):
    """Origins are a stride apart and the last fold ends at the cut; unasked, folds are as long as what is held out."""
    rolling, examples = split(years, stride=stride)
    assert list(rolling.folds.origins) == origins
    length = max(stride, 1) if stride else 5
    for fold, origin in enumerate(origins):
        windows = rolling.folds.windows(fold, examples.parts.test)
        found = windows.timeline.clock[windows.target_starts]
        assert found.tolist() == list(range(origin, origin + length))
    assert examples.parts.train.timeline.clock[examples.parts.validation.target_starts].max() == origins[0] - 1


@pytest.mark.parametrize("horizon", [1, 3, 4])
def test_with_a_stride_of_the_horizon_every_series_has_one_forecast_in_a_fold(tmp_path, horizon):
    """Forecasts of more than one step lie in their fold wholly, one for each series; without times as well."""
    path = write(tmp_path / "t.csv", place=["a"] * 60 + ["b"] * 90, y=numbers(150))
    source = Source(path, target="y", group="place", window=5, horizon=horizon)
    rolling, examples = split(source, stride=horizon)
    for fold in range(3):
        windows = rolling.folds.windows(fold, examples.parts.test)
        steps_before_the_cut = (3 - fold) * horizon
        assert windows.target_starts.tolist() == [51 - steps_before_the_cut, 60 + 77 - steps_before_the_cut]


def test_classes_are_forecast_within_their_fold(tmp_path):
    """Of a class some steps ahead, what is known and what is predicted both lie on the right side of the origin."""
    path = write(tmp_path / "t.csv", t=range(100), x=numbers(100), y=["a", "b"] * 50)
    rolling, examples = split(Source(path, target="y", time="t", window=4, horizon=3), stride=5)
    assert list(rolling.folds.origins) == [70, 75, 80]
    windows = rolling.folds.windows(1, examples.parts.test)
    assert (windows.starts + 4).tolist() == [75, 76, 77]
    assert windows.target_starts.tolist() == [77, 78, 79]


def test_too_many_folds_are_refused(years):
    """Folds for which there are too few steps, or none or too many of them, are refused in one line."""
    with pytest.raises(InvalidArgumentError, match=r"^folds: 3 folds with a stride of 40 take 120 steps; before the"):
        split(years, stride=40)
    with pytest.raises(InvalidArgumentError, match=r"^folds: expected 1 to 200, got 201"):
        split(years, count=201)
    with pytest.raises(InvalidArgumentError, match=r"^stride: expected 0 or more, got -1"):
        split(years, stride=-1)
    with pytest.raises(InvalidArgumentError, match=r"^window: no window of 4 timesteps"):
        split(years, count=16, stride=5)


def test_stretches_are_consecutive_and_disjoint(years):
    """The held-out part in folds: in order, of equal length, no target in two of them; too many are refused."""
    test = load_all(years)[0].parts.test
    parts = stretches(test, 3)
    assert [len(part) for part in parts] == [5, 5, 5]
    assert np.concatenate([part.target_starts for part in parts]).tolist() == list(range(85, 100))
    with pytest.raises(InvalidArgumentError, match=r"^gate_folds: the held-out part with its 15 windows is too short"):
        stretches(test, 16)


@settings(deadline=None, max_examples=12)
@given(
    fold=st.integers(0, 2),
    holes=st.sets(st.integers(1, 119), max_size=8),
    horizon=st.integers(1, 3),
    residual=st.booleans(),
    missing=st.sampled_from(["interpolate", "ffill", "drop"]),
    seed=st.integers(0, 9),
)
def test_nothing_before_an_origin_knows_what_comes_after_it(
    tmp_path_factory, fold, holes, horizon, residual, missing, seed
):
    """With any other values from an origin on, all that is fitted, and the scales, are the same to the last bit."""
    folder = tmp_path_factory.mktemp("future")
    y = [f"{value:.3f}" for value in numbers(120, seed=seed)]
    other = [f"{1e4 * value:.3f}" for value in numbers(120, seed=seed + 10)]
    for hole in holes:
        y[hole] = other[hole] = ""
    times = [str(t) for t in np.arange("2000-01-01", "2000-04-30", dtype="datetime64[D]")]
    options = Options(residual=residual)
    found = []
    origin = None
    for values in (y, None):
        path = write(folder / "t.csv", t=times, y=values or y[:origin] + other[origin:])
        source = Source(path, target="y", time="t", window=3, horizon=horizon, missing=missing, gaps="split")
        try:
            rolling, examples = split(source, fold, stride=8)
        except InvalidArgumentError:  # too much is missing, by what lies before the origin
            assume(origin is not None)
            raise
        origin = times.index(str(rolling.folds.origins[fold])[:10])
        parts = [examples.parts.train, examples.parts.validation]
        scaling = scaling_of(options, examples)
        found.append([a for part in parts for a in (part.inputs(), part.expected(), part.starts)])
        found[-1] += [scaling.sample, scaling.scale, scaling.offset, np.array(examples.layout.ranges)]
    for one, changed in zip(*found, strict=True):
        np.testing.assert_array_equal(one, changed)
