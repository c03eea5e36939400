"""Errors of numbers and of classes."""

import numpy as np
import pytest

from training.evaluation import errors as measure


def test_errors_of_numbers_and_classes():
    """Root mean square and mean absolute error; share of wrong classes, log loss and calibration error."""
    found = measure.errors(np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [5.0]]), 0)
    assert found == {"rmse": pytest.approx(np.sqrt(4.5)), "mae": 1.5}
    probabilities = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    found = measure.errors(probabilities, np.array([[0], [1]]), 2)
    assert found == {
        "error_rate": 0.5,
        "log_loss": pytest.approx(-(np.log(0.8) + np.log(0.1)) / 2),
        "calibration_error": pytest.approx((0.2 + 0.9) / 2),
    }
