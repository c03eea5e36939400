"""training.evaluation.calibration: the temperature of probabilities, and their expected calibration error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.evaluation.calibration import calibration_error, log_loss, softmax, temperature


def drawn(count, scale, seed=0):
    """Logits, and labels that are as probable as softmax of `scale` times the logits says."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, 3)) * 2
    chosen = softmax(scale * logits).cumsum(axis=1) > random.uniform(size=(count, 1))
    return logits, chosen.argmax(axis=1)


@pytest.mark.parametrize("sure", [0.25, 1.0, 4.0])
def test_the_temperature_of_a_network_that_is_too_sure_is_found(sure):
    """Logits that are so many times too large have that temperature, and are calibrated by it."""
    logits, labels = drawn(20_000, 1.0)
    found = temperature(sure * logits, labels)
    assert found == pytest.approx(sure, rel=0.05)
    assert calibration_error(softmax(sure * logits / found), labels) < 0.02
    if sure == 4:
        assert calibration_error(softmax(sure * logits), labels) > 0.1


LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 30), st.integers(2, 5)), elements=st.floats(-30, 30, width=32)
)


@given(LOGITS, st.data())
def test_a_temperature_changes_no_answer_and_never_harms(logits, data):
    """What was most probable still is, and the labels that the temperature is from become no less likely."""
    labels = data.draw(arrays.arrays(np.int64, len(logits), elements=st.integers(0, logits.shape[1] - 1)))
    found = temperature(logits, labels)
    assert found > 0
    scaled = softmax(logits.astype(np.float64) / found)
    before = logits.argmax(axis=1)
    assert (scaled[np.arange(len(scaled)), before] == scaled.max(axis=1)).all()
    wide = logits.astype(np.float64)
    assert log_loss(wide / found, labels) <= log_loss(wide, labels)


def test_a_network_that_is_always_right_keeps_its_probabilities():
    """Where every answer is right there is no best temperature, and none is applied."""
    assert temperature(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([0, 1])) == 1.0


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy():
    """Per bin of confidence, weighted by its predictions: computed by hand."""
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 1])  # 3 of 4 right at 0.9, 2 of 2 at 0.6
    assert calibration_error(probabilities, labels) == pytest.approx((4 * abs(0.75 - 0.9) + 2 * abs(1 - 0.6)) / 6)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
