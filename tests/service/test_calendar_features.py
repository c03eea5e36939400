"""service.calendar_features: positions in the calendar as sine and cosine, compared with pandas' calendar."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unroll
from service.errors import InvalidArgumentError

NAMES = ("month", "dayofyear", "day", "weekday", "hour")
moments = st.lists(st.datetimes(pd.Timestamp("1890-01-01"), pd.Timestamp("2110-01-01")), min_size=1, max_size=20)


@given(moments)
def test_positions_are_those_of_pandas(times):
    """Each position, as pandas counts it, is the angle of its two columns."""
    index = pd.DatetimeIndex(times).floor("s")
    seconds = index.hour * 3600 + index.minute * 60 + index.second
    shares = [
        (index.month - 1) / 12,
        (index.day_of_year - 1) / np.where(index.is_leap_year, 366, 365),
        (index.day - 1) / index.days_in_month,
        index.day_of_week / 7,
        seconds / 86_400,
    ]
    made = unroll.calendar_features(index.to_numpy(), NAMES)
    assert made.dtype == np.float32
    for i, share in enumerate(shares):
        angle = 2 * np.pi * np.asarray(share, np.float64)
        np.testing.assert_allclose(made[:, 2 * i], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(made[:, 2 * i + 1], np.cos(angle), atol=1e-6)


def test_names_and_texts():
    """Times may be ISO texts; columns are named after positions, and an unknown name is refused."""
    assert unroll.calendar_columns(["hour", "month"]) == ("hour_sin", "hour_cos", "month_sin", "month_cos")
    np.testing.assert_allclose(unroll.calendar_features(["2024-03-01T06:00"], ["hour"]), [[1, 0]], atol=1e-6)
    with pytest.raises(InvalidArgumentError, match="expected month, dayofyear, day, weekday, hour; got 'moon'"):
        unroll.calendar_features(["2024-03-01"], ["moon"])
