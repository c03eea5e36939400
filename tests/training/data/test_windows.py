"""training.data.windows: how windows are gathered, and cut by time so that nothing leaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.tables import HOLES, load, numbers, write
from training.data import growing
from training.data.windows import Windows, parts_by_place, parts_by_time, slide
from training.options import Source


def windows(starts, *, outputs=2, window=3, count=24):
    """Windows over the numbers from 0 on."""
    values = np.arange(count, dtype=np.float32)
    starts = np.array(starts)
    segments = (np.arange(count) >= 12).astype(np.int32)
    return Windows(values[:, None], values, starts, starts + window, window, outputs, 1, segments)


def test_windows_of_another_length_keep_their_targets():
    """A champion with longer windows is asked for the same targets, where there are rows enough of that series."""
    longer, fits = windows([0, 4, 12, 14]).reaching_back(5)
    assert fits.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(longer.expected(), windows([4, 14]).expected())
    np.testing.assert_array_equal(longer.inputs()[0, :, 0], [2, 3, 4, 5, 6])


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_windows_with_the_targets_of_others_are_found_by_series_and_time(tmp_path, monkeypatch, block):
    """Of one table that is read twice, with other rows left out, windows are matched that have the same targets."""
    monkeypatch.setattr(growing, "BLOCK", block)
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str).tolist()
    table = write(tmp_path / "holes.csv", day=days * 2, place=["b"] * 100 + ["a"] * 100, level=numbers(200),
                  wind=HOLES[::-1] + HOLES)  # fmt: skip
    options = {"target": ("level",), "time": "day", "group": "place", "missing": "drop", "test": 0.4, "window": 3}
    (one, _), (other, _) = (
        load(Source(table, **options, features=("level", *more), horizon=horizon))
        for more, horizon in (((), 2), (("wind",), 3))
    )
    mine, theirs = one.parts.test, other.parts.test
    found, shared = theirs.with_targets_of(mine, 2)
    assert 0 < len(found) == np.count_nonzero(shared) < len(mine)
    np.testing.assert_array_equal(found.expected()[:, :2], mine.some(shared).expected())
    expected = {tuple(row) for row in theirs.expected()[:, :2].tolist()}
    assert shared.tolist() == [tuple(row) in expected for row in mine.expected().tolist()]
    nothing, shared = theirs.with_targets_of(mine.some(slice(0)), 2)
    assert (len(nothing), len(shared)) == (0, 0)


def test_windows_are_gathered_from_one_array(table):
    """A window holds the rows before its targets, of one series, and nothing is copied for it."""
    examples, _ = load(Source(table, target=("level",), time="day", group="place", window=7, horizon=3))
    for part in examples.parts.named().values():
        assert part.values is examples.parts.train.values
        assert part.values.shape == (200, 2)
        inputs, expected = part.inputs(), part.expected()
        assert inputs.shape == (len(part), 7, 2)
        assert expected.shape == (len(part), 3)
        for i, start in enumerate(part.starts):
            np.testing.assert_array_equal(inputs[i, :, 0], part.values[start : start + 7, 0])
            np.testing.assert_array_equal(expected[i], part.values[start + 7 : start + 10, 0])
            assert start // 100 == (start + 9) // 100


@settings(deadline=None, max_examples=150)
@given(
    times=st.lists(st.integers(0, 60), min_size=4, max_size=80),
    series=st.integers(1, 4),
    window=st.integers(1, 6),
    first=st.integers(0, 4),
    outputs=st.integers(1, 4),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
    by_time=st.booleans(),
)
def test_nothing_leaks_from_the_future(times, series, window, first, outputs, shares, by_time):
    """All that a part sees of a moment, inputs and targets, is earlier than every target of the parts after it."""
    groups = np.sort(np.arange(len(times)) % series).astype(np.int32)
    clock = np.concatenate([np.sort(np.array(times)[groups == g]) for g in range(series)])
    part = parts_by_time(clock, *shares) if by_time else parts_by_place(groups, *shares)
    if not by_time:
        clock = np.arange(len(clock))
    values = np.arange(len(clock), dtype=np.float32)[:, None]
    usable = np.ones(len(clock), bool)
    made = slide(values, values[:, 0], groups, part, usable, window=window, first=first, outputs=outputs)
    seen = {}
    for name, windows in made.named().items():
        inputs, targets = windows.inputs()[..., 0].astype(int), windows.expected().astype(int)
        assert (groups[inputs] == groups[inputs[:, :1]]).all()
        assert (groups[targets] == groups[inputs[:, :1]]).all()
        assert (targets[:, 0] - inputs[:, -1] == first).all()
        seen[name] = inputs, targets
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for group in range(series):
            whose = slice(None) if by_time else group
            past = np.concatenate([_of(array, groups, whose) for array in seen[earlier]])
            future = _of(seen[later][1], groups, whose)
            if len(past) and len(future):
                assert clock[past].max() < clock[future].min()


def _of(places, groups, whose):
    """Places of one series, or of all."""
    flat = places.ravel()
    return flat if isinstance(whose, slice) else flat[groups[flat] == whose]


def test_equal_times_never_part(table):
    """Series are cut at one moment: no training row of one is as late as a held-out target of another."""
    examples, _ = load(Source(table, target=("level",), time="day", group="place", window=7))
    train, test = examples.parts.train, examples.parts.test
    assert (train.target_starts % 100).max() < (test.target_starts % 100).min()
    assert {0, 1} == set((test.starts // 100).tolist())
