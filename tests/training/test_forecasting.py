"""training.forecasting: what follows the last window of each series, treated as training treated it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import write
from training.data.layout import Layout
from training.forecasting import as_table, forecast

LAYOUT = Layout(("y", "x"), "y", 3, 2, (), "day", "place", "ffill", "split", 86_400.0)


def sums(inputs, levels, _recent=None):
    """In place of a network: the sum of a window, and one more at the next step; intervals as wide as their level."""
    total = inputs["sequence"].sum(axis=(1, 2))
    predicted = np.stack([total, total + 1], axis=1).astype(np.float32)
    return predicted, {level: (predicted - level, predicted + level) for level in levels}


@pytest.fixture
def table(tmp_path):
    """Two places, with a gap in one and a missing value in the other."""
    days = pd.date_range("2024-02-20", periods=10, freq="D").astype(str)
    kept = [0, 1, 2, 3, 5, 6, 7, 8]  # of the first place
    write(
        tmp_path / "d.csv",
        day=[*days[kept], *days],
        place=["a"] * 8 + ["b"] * 10,
        y=[*range(8), *range(7), "", 8, 9],
        x=[0.5] * 18,
    )
    return tmp_path / "d.csv"


def test_each_series_goes_on_from_its_last_window(table):
    """Each series is predicted from its own last rows, for the days after its last one, with missing values filled."""
    found = forecast(sums, LAYOUT, table, levels=[80])
    a, b = found.found
    assert (a.group, b.group) == ("a", "b")
    assert a.predicted.tolist() == [5 + 6 + 7 + 1.5, 5 + 6 + 7 + 2.5]
    assert b.predicted.tolist() == [6 + 8 + 9 + 1.5, 6 + 8 + 9 + 2.5]
    assert [str(time.date()) for time in a.times] == ["2024-02-29", "2024-03-01"]
    assert [str(time.date()) for time in b.times] == ["2024-03-01", "2024-03-02"]
    lower, upper = b.intervals[80]
    assert (upper - lower == 160).all()
    assert np.array_equal(a.past, range(8))  # also what lies before the window


def test_a_forecast_is_shown_with_some_of_the_past(tmp_path):
    """Of a long table, the last 40 rows are shown, or a longer window."""
    days = pd.date_range("2024-01-01", periods=100, freq="D").astype(str)
    write(tmp_path / "d.csv", day=days, y=[*range(100)], x=[0.5] * 100)
    for window, shown in ((3, 40), (60, 60)):
        layout = replace(LAYOUT, group="", window=window)
        (one,) = forecast(sums, layout, tmp_path / "d.csv").found
        assert one.past.tolist() == list(range(100 - shown, 100))
        assert len(one.past_times) == shown


def test_sequences_are_no_table(tmp_path):
    """A file of sequences is refused by what a forecast needs, and not by its bytes."""
    np.savez(tmp_path / "ids.npz", x=np.zeros((4, 3), int))
    with pytest.raises(InvalidArgumentError) as refused:
        forecast(sums, LAYOUT, tmp_path / "ids.npz")
    assert refused.value.message == (
        "data: a forecast needs a table with a row for each timestep; ids.npz holds sequences"
    )


def test_one_series(table):
    """A single series can be asked for; one that is not there is refused with those that are."""
    assert [one.group for one in forecast(sums, LAYOUT, table, group="b").found] == ["b"]
    with pytest.raises(InvalidArgumentError, match="no series 'c'; it has a, b"):
        forecast(sums, LAYOUT, table, group="c")
    with pytest.raises(InvalidArgumentError, match="a table of one series"):
        forecast(sums, replace(LAYOUT, group=""), table, group="a")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"window": 5}, "reads 5 rows, and there are 4 since the gap before 2024-02-25"),
        ({"window": 11}, "reads 11 rows, and there are 10"),
    ],
)
def test_series_that_are_too_short_say_why(table, change, reason):
    """A series with too few rows since its last gap has no forecast and says why; others have theirs."""
    layout = replace(LAYOUT, **change)
    if change["window"] == 5:
        found = forecast(sums, layout, table)
        assert [one.group for one in found.found] == ["b"]
        assert reason in found.left_out["a"]
    else:
        with pytest.raises(InvalidArgumentError, match="series 'a'"):
            forecast(sums, layout, table)
        with pytest.raises(InvalidArgumentError, match=reason):
            forecast(sums, layout, table, group="b")


def test_a_missing_value_ends_the_window_where_training_dropped_rows(table):
    """Where training dropped rows with missing values, no window holds one, and the reason names column and time."""
    with pytest.raises(InvalidArgumentError, match="there are 2 since the missing value of 'y' at 2024-02-27"):
        forecast(sums, replace(LAYOUT, missing="drop"), table, group="b")


def test_gaps_that_training_kept(table):
    """Where training kept gaps, windows span them."""
    found = forecast(sums, replace(LAYOUT, gaps="keep", window=8), table, group="a")
    assert found.found[0].predicted[0] == sum(range(8)) + 4


def test_rows_in_any_order(table, tmp_path):
    """The order of rows in the file changes nothing."""
    head, *rows = table.read_text().splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([head, *(rows[i] for i in np.random.default_rng(0).permutation(len(rows)))]) + "\n")
    expected = {one.group: one.predicted.tolist() for one in forecast(sums, LAYOUT, table).found}
    assert {one.group: one.predicted.tolist() for one in forecast(sums, LAYOUT, shuffled).found} == expected


def test_as_a_table(table):
    """A row for each series and step, with its time and the ends of each interval."""
    made = as_table(forecast(sums, LAYOUT, table, levels=[80, 95]))
    assert made.column_names == ["place", "day", "prediction", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert made.num_rows == 4
    assert made["place"].to_pylist() == ["a", "a", "b", "b"]


def test_classes(table):
    """Classes are predicted for the time so many steps ahead, with the probability of each."""

    def guess(inputs, _levels, _recent=None):
        return np.tile(np.array([[0.25, 0.75]], np.float32), (len(inputs["sequence"]), 1)), {}

    layout = replace(LAYOUT, classes=("dry", "wet"), target="kind")
    made = as_table(forecast(guess, layout, table))
    assert made.column_names == ["place", "day", "prediction", "probability_dry", "probability_wet"]
    assert made["prediction"].to_pylist() == ["wet", "wet"]
    assert [str(day.date()) for day in made["day"].to_pylist()] == ["2024-03-01", "2024-03-02"]


def last_value(inputs, levels, recent=None):
    """In place of a network: the last value of `y`, and ends of intervals that tell the recent error."""
    predicted = np.repeat(inputs["sequence"][:, -1:, 0], 2, axis=1)
    width = np.full(len(predicted), np.nan) if recent is None else recent
    return predicted, {level: (predicted, np.repeat(width[:, None], 2, axis=1)) for level in levels}


def test_recent_errors_scale_intervals(table):
    """The recent error of a series is that of its last forecasts whose targets are known, of which none is missing."""
    layout = replace(LAYOUT, window=2)
    found = forecast(last_value, layout, table, levels=[80], adaptive=2)
    recent = {one.group: one.intervals[80][1][0] for one in found.found}
    # Of b, y is 0 to 6, nothing (filled with 6), 8 and 9. Windows that end before 8 and before 5 have both targets.
    assert recent["b"] == np.mean([abs(8 - 6), abs(9 - 6), abs(5 - 4), abs(6 - 4)])
    assert np.isnan(recent["a"])  # 4 rows since its gap: one window of 2 rows with both targets
    assert (found.adaptive, list(found.plain)) == (2, ["a"])
    assert "the errors of 2 past forecasts, and the rows suffice for 1" in found.plain["a"]


def test_recent_errors_are_unknown_without_the_target(table, tmp_path):
    """Where no series has a recent error, because it is too short or has no target, none of the intervals is scaled."""
    found = forecast(last_value, LAYOUT, table, levels=[80], adaptive=99)
    assert list(found.plain) == ["a", "b"]
    write(tmp_path / "x.csv", day=["2024-02-20", "2024-02-21", "2024-02-22"], x=[0.5, 1.5, 2.5])
    layout = replace(LAYOUT, features=("x",), group="")
    found = forecast(last_value, layout, tmp_path / "x.csv", levels=[80], adaptive=1)
    assert "no column 'y'" in found.plain[""]
    assert np.isnan(found.found[0].intervals[80][1]).all()
