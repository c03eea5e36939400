"""training.figures: what a figure shows is what it was given."""

import numpy as np
import pytest

from training import figures
from training.data.windows import Timeline, Windows


def test_losses():
    """Each epoch has its point, from 1 on; losses above zero stand on a logarithmic scale."""
    (axes,) = figures.loss_curve([4.0, 2.0, 1.0], [5.0, 3.0, 2.0]).axes
    training, validation = axes.lines
    assert training.get_xydata().tolist() == [[1, 4], [2, 2], [3, 1]]
    assert validation.get_ydata().tolist() == [5, 3, 2]
    assert axes.get_yscale() == "log"
    assert figures.loss_curve([1.0, 0.0]).axes[0].get_yscale() == "linear"


def test_weights():
    """A weight before and after is drawn on one scale, so that colours can be compared; values stand in small ones."""
    before, after = {"a/kernel": np.float32([[1, -4]])}, {"a/kernel": np.float32([[2, 3]])}
    old, new, _ = figures.weights_before_and_after(before, after).axes
    assert old.images[0].get_clim() == new.images[0].get_clim() == (-4, 4)
    assert new.images[0].get_array().tolist() == [[2, 3]]
    assert [text.get_text() for text in new.texts] == ["2", "3"]


def test_predictions():
    """Each prediction stands over its target, also where all are the same number."""
    (axes,) = figures.predictions_against_targets(np.array([1.0, 2.0]), np.array([1.5, 2.5])).axes
    assert axes.collections[0].get_offsets().tolist() == [[1.5, 1], [2.5, 2]]
    (axes,) = figures.predictions_against_targets(np.ones(3), np.ones(3)).axes
    low, high = axes.get_xlim()
    assert low < 1 < high


def test_predictions_over_time():
    """Each target that a window has stands at its row, and so do predictions, with gaps, for each stretch."""
    targets = np.arange(12, dtype=np.float32).reshape(6, 2)
    segments, places = np.repeat(np.int32([0, 1]), 12), np.array([5, 6, 9, 20, 21, 22])
    windows = Windows(np.zeros((24, 1), np.float32), targets, places, places, 1, 2, 1, segments)
    first, second = figures.predictions_over_time(targets + 100, targets, windows, ["y"]).axes
    target, near, far = first.lines
    np.testing.assert_array_equal(target.get_xydata(), [[5, 0], [6, 1], [7, 3], [9, np.nan], [9, 4], [10, 5]])
    np.testing.assert_array_equal(near.get_ydata(), [100, 102, np.nan, 104])
    np.testing.assert_array_equal(far.get_xydata(), [[6, 101], [7, 103], [10, np.nan], [10, 105]])
    assert second.lines[0].get_xdata().tolist() == [20, 21, 22, 23]
    several = figures.predictions_over_time(targets[:, None] + 9, targets[:, None], windows, ["y", "z"]).axes
    assert [axes.get_title(loc="left") for axes in several] == ["y", "z"]
    assert [len(axes.lines) for axes in several] == [2, 2]
    np.testing.assert_array_equal(several[1].lines[0].get_ydata(), [1, 3, np.nan, 5])


@pytest.mark.parametrize(
    "times", [1900.5 + 2 * np.arange(6), np.datetime64("2024-02-27", "us") + np.arange(6) * np.timedelta64(1, "D")]
)
def test_predictions_over_times(times):
    """Where the table has times, numbers or dates, they are the axis, also of the step that lies further ahead."""
    targets, places = np.float32([[2, 3], [3, 4], [4, 5]]), np.arange(2, 5)
    timeline = Timeline.of(times, np.zeros(6, np.int32), ("",))
    windows = Windows(np.zeros((6, 1), np.float32), targets, places, places, 1, 2, 1, None, timeline=timeline)
    drawn = figures.predictions_over_time(targets, targets, windows, ["y"])
    drawn.draw_without_rendering()
    (axes,) = drawn.axes
    assert axes.get_xlabel() == "time"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), times[2:6])
    np.testing.assert_array_equal(axes.lines[2].get_xdata(), times[3:6])


def test_without_times():
    """Where the table has none, the axis is its rows."""
    targets, places = np.float32([[2], [3]]), np.arange(2, 4)
    timeline = Timeline.of(None, np.zeros(6, np.int32), ("",))
    windows = Windows(np.zeros((6, 1), np.float32), targets, places, places, 1, 1, 1, None, timeline=timeline)
    (axes,) = figures.predictions_over_time(targets, targets, windows, ["y"]).axes
    assert axes.get_xlabel() == "row of the table"
    assert axes.lines[0].get_xdata().tolist() == [2, 3]


def test_states():
    """The first sequences have a panel each, units over timesteps."""
    states = np.arange(8 * 3 * 2, dtype=np.float32).reshape(8, 3, 2)
    *panels, _ = figures.hidden_states("rnn", states).axes
    assert len(panels) == 6
    assert panels[1].images[0].get_array().tolist() == states[1].T.tolist()
