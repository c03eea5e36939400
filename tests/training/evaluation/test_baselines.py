"""Baselines: they know the past, and nothing else."""

import dataclasses

import numpy as np
import pytest

from training.data.examples import Examples
from training.data.layout import Layout
from training.data.windows import Parts, Windows
from training.evaluation.baselines import baselines


def windows(starts, *, outputs=2, window=3, count=24):
    """Windows over the numbers from 0 on."""
    values = np.arange(count, dtype=np.float32)
    starts = np.array(starts)
    segments = (np.arange(count) >= 12).astype(np.int32)
    return Windows(values[:, None], values, starts, starts + window, window, outputs, 1, segments)


def examples(train, test, classes=()):
    """Examples of these windows."""
    layout = Layout(("y",), "y", train.window, train.outputs, classes)
    return Examples("n", layout, Parts(train, test, test))


def test_baselines_know_the_past_only():
    """Where numbers rise by one, the last value is wrong by the steps ahead, the season by its length."""
    made = examples(windows(range(3)), windows([4, 5]))
    assert baselines(made, 0)["last value"]["mae"] == 1.5
    assert baselines(made, 0)["mean"]["mae"] == pytest.approx(np.mean([[3.0, 3.0], [4.0, 4.0]]))
    assert baselines(made, 4)["seasonal"]["mae"] == 4
    assert baselines(made, 1)["seasonal"]["mae"] == 1.5  # the last known one is two back of the second
    young = examples(windows(range(3)), windows([12]))  # the other series has begun just now
    assert baselines(young, 5)["seasonal"]["mae"] == 1.5


@pytest.mark.parametrize("missing", [5, 9, 11])
def test_a_missing_target_is_no_end_of_the_baselines(missing):
    """Where the last value, or that of a season ago, is missing, the one known before it stands for it."""
    test = windows([4, 5, 6], outputs=1)
    targets = test.targets.copy()
    targets[missing] = np.nan
    if missing >= 7:  # a missing value is never a target
        keep = test.target_starts != missing
        test = test.some(keep)
    made = examples(windows(range(3), outputs=1), dataclasses.replace(test, targets=targets))
    found = baselines(made, 4)
    assert set(found) == {"last value", "seasonal"}
    assert all(np.isfinite(error) for figures in found.values() for error in figures.values())
    assert found["last value"]["mae"] >= 1


def test_a_missing_class_is_not_forecast():
    """The last class known is the one before a missing one, which is -1 and never right."""
    classes = np.array([0, 1] * 12, np.int32)
    test = dataclasses.replace(windows([4, 6], outputs=1), targets=classes)
    classes[6] = -1
    made = examples(dataclasses.replace(windows(range(3), outputs=1), targets=classes), test, ("a", "b"))
    assert baselines(made, 0)["last value"]["error_rate"] == 0.5
