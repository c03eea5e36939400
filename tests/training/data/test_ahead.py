"""training.data.ahead: where the past of a series ends, and what is known of the rows behind it."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from training.data import ahead
from training.data.files import Columns, Table
from training.data.layout import Layout

LAYOUT = Layout(("y", "plan"), "y", 2, 3, (), "t", gaps="error", step=86_400.0, future=("plan",))


def table(y, plan, *, missing_day=None, columns=("y", "plan"), targets=()):
    """A table of days, of one series."""
    days = np.arange("2024-03-01", "2024-04-01", dtype="datetime64[D]")
    days = days[np.arange(len(days)) != missing_day][: len(y)] if missing_day else days[: len(y)]
    values = {"y": y, "plan": plan}
    features = np.array([values[name] for name in columns], np.float32).T
    target = np.array([values[name] for name in targets], np.float32).reshape(len(targets), len(y)).T
    return Table(Columns(columns, targets, "t"), features, target, (), days, None, (), {})


def test_the_past_ends_with_the_last_value_of_anything_else():
    """Rows that hold only what is known ahead lie behind the past; their values are those of the next steps."""
    held = table([1, 2, np.nan, 4, np.nan, np.nan, np.nan, np.nan], range(8))
    rows = slice(0, 8)
    past = ahead.past(held, rows, LAYOUT)
    assert past == slice(0, 4)
    assert ahead.values(held, rows, past, LAYOUT, "").tolist() == [[4], [5], [6]]


def test_other_columns_of_planned_rows_are_not_used():
    """Rows behind the last target are planned ones, also where they hold other features, such as a constant depth."""
    layout = Layout(("y", "depth", "plan"), "y", 2, 3, (), "t", gaps="error", step=86_400.0, future=("plan",))
    days = np.arange("2024-03-01", "2024-03-07", dtype="datetime64[D]")
    y = np.array([1, 2, 3, np.nan, np.nan, np.nan], np.float32)
    features = np.stack([y, np.full(6, 1.5, np.float32), np.arange(6, dtype=np.float32)], axis=1)
    held = Table(Columns(layout.features, ("y",), "t"), features, y[:, None], (), days, None, (), {})
    past = ahead.past(held, slice(0, 6), layout)
    assert past == slice(0, 3)
    assert ahead.values(held, slice(0, 6), past, layout, "").tolist() == [[3], [4], [5]]


def test_the_target_alone_may_tell_where_the_past_ends():
    """Where all features are known ahead, the target tells; without it nothing does."""
    layout = Layout(("plan",), "y", 2, 3, (), "t", gaps="error", step=86_400.0, future=("plan",))
    held = table([1, 2, 3, np.nan], range(4), columns=("plan",), targets=("y",))
    assert ahead.past(held, slice(0, 4), layout) == slice(0, 3)
    with pytest.raises(InvalidArgumentError, match="without the column 'y' nothing tells where the past ends"):
        ahead.past(table([1, 2, 3, 4], range(4), columns=("plan",)), slice(0, 4), layout)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (table([1, 2, 3, np.nan], range(4)), "and the file has 1; missing: 2024-03-05 to 2024-03-06"),
        (table([1, 2, 3, np.nan, np.nan], range(5)), "and the file has 2; missing: 2024-03-06"),
        (table([1, 2, 3, *[np.nan] * 3], range(6), missing_day=4), "and the file has 1; missing: 2024-03-05 to"),
        (table([1, 2, 3, *[np.nan] * 3], [0, 1, 2, 3, np.nan, 5]), "there is no value of 'plan' at 2024-03-05"),
    ],
)
def test_what_is_missing_is_said(held, reason):
    """Too few rows, a gap and an empty value are named by their times."""
    with pytest.raises(ValueError, match=reason):
        ahead.values(held, slice(0, len(held.features)), slice(0, 3), LAYOUT, "")


def test_a_series_without_a_past():
    """A series that holds only what is known ahead has no past."""
    with pytest.raises(ValueError, match="there is no row with a value of 'y'"):
        ahead.past(table([np.nan] * 3, range(3)), slice(0, 3), LAYOUT)
