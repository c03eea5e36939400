"""training.data.calendar: the times after a series are those that its own calendar has next."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.calendar import following

CALENDARS = ["YS", "YE", "QS", "QE", "MS", "ME", "BME", "2MS", "W-SAT", "2W-MON", "B", "D", "2D", "h", "15min", "10s"]


@settings(deadline=None, max_examples=120)
@given(
    calendar=st.sampled_from(CALENDARS),
    start=st.dates(pd.Timestamp("1990-01-01").date(), pd.Timestamp("2030-01-01").date()),
    known=st.integers(8, 60),
    ahead=st.integers(1, 12),
)
def test_the_calendar_of_a_series_goes_on(calendar, start, known, ahead):
    """Years, quarters, months, weeks, business days, days and shorter steps go on as they were."""
    times = pd.date_range(start, periods=known + ahead, freq=calendar)
    assert list(following(times[:known].to_numpy(), ahead)) == list(times[known:])


@settings(deadline=None, max_examples=60)
@given(calendar=st.sampled_from(["MS", "ME", "W-SAT", "D", "h"]), gone=st.integers(1, 18), start=st.integers(0, 400))
def test_a_missing_row_does_not_hide_the_calendar(calendar, gone, start):
    """One row that is missing within a series changes nothing about what comes after it."""
    times = pd.date_range(pd.Timestamp("2020-01-01") + pd.Timedelta(days=start), periods=25, freq=calendar)
    known = times[:20].delete(gone)
    assert list(following(known.to_numpy(), 5)) == list(times[20:])


def test_holidays_leave_business_days():
    """Days that are missing here and there among business days do not make them weeks or days."""
    times = pd.date_range("2024-01-01", periods=60, freq="B").delete([0, 20, 41])
    assert list(following(times.to_numpy(), 3)) == list(pd.date_range(times[-1], periods=4, freq="B")[1:])


@pytest.mark.parametrize("last", ["2024-03-29", "2024-10-25"])
def test_local_days_stay_local_when_clocks_change(last):
    """In a time zone, days begin at midnight before and after the change of clocks."""
    times = pd.date_range(end=last, periods=20, freq="D", tz="Europe/Berlin")
    found = following(times.tz_convert("UTC").tz_localize(None).to_numpy(), 5, "Europe/Berlin")
    assert list(found) == list(pd.date_range(last, periods=6, freq="D", tz="Europe/Berlin")[1:])
    assert {time.hour for time in found} == {0}


def test_hours_are_hours_when_clocks_change():
    """Steps shorter than a day are spans of time, whatever clocks show."""
    times = pd.date_range("2024-03-30 20:00", periods=5, freq="h", tz="Europe/Berlin")
    found = following(times.tz_convert("UTC").tz_localize(None).to_numpy(), 4, "Europe/Berlin")
    assert [time.hour for time in found] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("times", "expected"),
    [([1700, 1701, 1702], [1703, 1704]), ([0, 10, 20, 40], [50, 60]), ([0.5, 1.0, 1.5], [2.0, 2.5])],
)
def test_numbers_go_on(times, expected):
    """Numbers go on by their usual step, whole ones as whole numbers."""
    found = following(np.array(times), 2)
    assert found.tolist() == expected
    assert found.dtype == np.array(times).dtype


def test_one_time_has_no_step():
    """A series of one row cannot be continued."""
    with pytest.raises(ValueError, match="single time"):
        following(np.array([3]), 1)
