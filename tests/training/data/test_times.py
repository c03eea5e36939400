"""training.data.times: times as people write them, and the first text that is none."""

import numpy as np
import pyarrow as pa
import pytest

from service.errors import InvalidArgumentError
from training.data.times import text, times


def place(row):
    """Where a row is."""
    return f"in line {row + 2}"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2000-01", "2000-02"], ["2000-01-01", "2000-02-01"]),
        (["2000Q1", "2000Q4"], ["2000-01-01", "2000-10-01"]),
        (["2000-q2", "2000 Q3"], ["2000-04-01", "2000-07-01"]),
        (["2000-01-05", "2000-01-06T12:30"], ["2000-01-05", "2000-01-06T12:30"]),
        (["2024-03-31T02:30+02:00", "2024-03-31T02:30Z"], ["2024-03-31T00:30", "2024-03-31T02:30"]),
    ],
)
def test_texts_that_are_times(texts, expected):
    """Months, quarters, dates and times are times; those with an offset are in UTC."""
    found = times(pa.array(texts), "t", 0, place)
    assert found.tolist() == np.array(expected, "datetime64[us]").tolist()


@pytest.mark.parametrize("bad", ["31/02/2020", "2020-02-30", "soon", "2000Q5", ""])
def test_the_first_text_that_is_no_time_is_named(bad):
    """What is no time is named, with its place in the table."""
    with pytest.raises(InvalidArgumentError, match=f"column 't' holds '{bad}' in line 104; expected numbers, or dates"):
        times(pa.array(["2020-01-01", "2020-01-02", bad, "worse"]), "t", 100, place)


@pytest.mark.parametrize(
    ("written", "texts", "expected"),
    [
        ("%d/%m/%Y", ["01/02/2024", "31/12/2024"], ["2024-02-01", "2024-12-31"]),
        ("%Y%m%d", [20240301, 20240302], ["2024-03-01", "2024-03-02"]),
        ("%d.%m.%y %H:%M:%S.%f", ["01.02.24 03:04:05.5"], ["2024-02-01T03:04:05.5"]),
        ("%d/%m/%Y %H:%M %z", ["31/03/2024 02:30 +0200"], ["2024-03-31T00:30"]),
    ],
)
def test_times_in_a_format_that_is_given(written, texts, expected):
    """Times are read as the format says, and those with an offset are in UTC."""
    found = times(pa.array(texts).cast(pa.string()), "t", 0, place, written)
    assert found.tolist() == np.array(expected, "datetime64[us]").tolist()


def test_a_time_in_another_format_is_named():
    """The first text that is not written in the given format is named with its place, though it is repeated."""
    with pytest.raises(InvalidArgumentError, match=r"holds '2024-01-13' in line 14; expected the format %Y-%d-%m"):
        times(pa.array(["2024-31-01", "2024-31-01", "2024-01-13", "2024-01-13"]), "t", 10, place, "%Y-%d-%m")


def test_a_row_without_a_time_is_named():
    """A row without a time is named."""
    with pytest.raises(InvalidArgumentError, match="column 't' has no value in line 13"):
        times(pa.array([1, None, 3]), "t", 10, place)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (np.datetime64("2020-01-28T00:00:00.000000"), "2020-01-28"),
        (np.datetime64("2020-01-28T12:30:00.000000"), "2020-01-28T12:30"),
        (np.float64(1234567.25), "1234567.25"),
        (np.float64(39), "39"),
        (np.int64(2024), "2024"),
    ],
)
def test_times_as_text(moment, expected):
    """A date at midnight stands alone, and numbers have all their digits and no more."""
    assert text(moment) == expected
