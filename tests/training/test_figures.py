"""training.figures: what a figure shows is what it was given."""

import numpy as np

from training import figures


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


def test_states():
    """The first sequences have a panel each, units over timesteps."""
    states = np.arange(8 * 3 * 2, dtype=np.float32).reshape(8, 3, 2)
    *panels, _ = figures.hidden_states("rnn", states).axes
    assert len(panels) == 6
    assert panels[1].images[0].get_array().tolist() == states[1].T.tolist()
