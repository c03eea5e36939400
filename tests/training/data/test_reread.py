"""training.data.reread: a table read once more, as another version reads it."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import HOLES, load, numbers, write
from training.data import reread, tables
from training.data.layout import Layout
from training.options import Source


def source(table, **options):
    """What the table is read by."""
    return Source(table, target=("level",), time="day", group="place", window=4, features=("level",), **options)


def test_every_input_of_a_layout_is_read_as_in_training(table):
    """A layout of all kinds of inputs gives the held-out windows that its own options gave."""
    own = source(table, horizon=2, calendar=("weekday",), categorical=("weather",), future=("wind",), group_embedding=3)
    examples, _ = load(own)
    windows = reread.held_out(source(table), Layout.loads(examples.layout.dumps()))
    assert list(windows.feeds()) == ["sequence", "weather", "place", "future"]
    for name, values in examples.parts.test.feeds().items():
        np.testing.assert_array_equal(windows.feeds()[name], values)
    np.testing.assert_array_equal(windows.expected(), examples.parts.test.expected())


def test_the_series_of_another_table_may_be_a_text_of_this_one(table):
    """A layout that embeds each series reads the column as text where the table is read as one series."""
    examples, _ = load(source(table, group_embedding=3))
    other = Source(table, target=("level",), time="day", window=4, features=("level",), duplicates="last")
    assert "place" in reread.held_out(other, examples.layout).feeds()


@pytest.mark.parametrize(
    ("lost", "error"),
    [
        ({"features": ("level", "depth")}, r"^features: there is no column 'depth'"),
        ({"categories": ("soil",)}, r"^categorical: there is no column 'soil'"),
        ({"features": ("level", "plan"), "future": ("plan",)}, r"^(features|future): there is no column 'plan'"),
    ],
)
def test_a_column_that_is_not_there_is_named(table, lost, error):
    """A layout of columns that the table does not have is refused by the name of the column."""
    layout = Layout(**{"features": ("level",), "target": "level", "window": 4, "horizon": 1, **lost})
    with pytest.raises(InvalidArgumentError, match=error):
        reread.held_out(source(table), layout)


def test_gaps_and_missing_values_are_treated_as_the_layout_says(tmp_path):
    """No window of a version that was trained without gaps and missing values spans one; filled values are filled."""
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str).tolist()
    days[90:] = np.arange("2021-01-01", "2021-01-11", dtype="datetime64[D]").astype(str).tolist()
    wind = [*HOLES[:80], "", *HOLES[81:]]
    table = write(tmp_path / "holes.csv", day=days, level=numbers(100), wind=wind)
    job = Source(table, target=("level",), time="day", window=4, features=("level",), gaps="split", test=0.3)

    def ends(**treated):
        layout = Layout(("level", "wind"), "level", 4, 1, **treated)
        return reread.held_out(job, layout).target_starts.tolist()

    strict, filled, kept = (
        ends(missing="error", gaps="error"), ends(missing="ffill", gaps="split"), ends(missing="ffill", gaps="keep")
    )  # fmt: skip
    assert (len(strict), len(filled), len(kept)) == (21, 26, 30)


def test_all_windows_are_read(table, monkeypatch):
    """Windows are not thinned, as those of the challenger are, so that each of its targets is found among them."""
    monkeypatch.setattr(tables, "MEASURED", 10)
    examples, _ = load(source(table))
    assert len(examples.parts.test) == 10
    assert len(reread.held_out(source(table), examples.layout)) == 30
