"""Calibration of probabilities: one temperature for all classes, and how far off probabilities are.

Temperature scaling divides the logits by a number T before softmax (Guo, Pleiss, Sun and Weinberger, On Calibration of
Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2). T minimizes the mean negative log likelihood on data that
the network did not learn from. It changes how sure a network is, not what it answers.

The expected calibration error (section 2 there; Naeini, Cooper and Hauskrecht, 2015) sorts predictions by their
confidence, the probability of the class that is answered, into bins of equal width, and is the mean distance between
the confidence in a bin and the share of right answers in it, weighted by how many predictions the bin holds.
"""

import math

import numpy as np
import numpy.typing as npt

BINS = 15  # as in the paper
LEAST, MOST = 0.05, 20.0  # temperatures that are considered
STEPS = 60  # each halves the interval in which the best temperature lies

Array = npt.NDArray[np.generic]


def temperature(logits: Array, labels: npt.NDArray[np.integer]) -> float:
    """The temperature with the least negative log likelihood; 1 where no other is better.

    logits: (examples, classes); labels: (examples,). The likelihood is concave in 1/T, so its slope has one zero at
    most. There is none where every answer is right: then each lower temperature would be better than the last one, and
    the data say nothing about how sure to be.
    """
    scores = logits.astype(np.float64)
    right = scores[np.arange(len(labels)), labels]
    if not np.isfinite(scores).all() or (right >= scores.max(axis=1)).all():
        return 1.0
    low, high = 1 / MOST, 1 / LEAST  # of 1/T
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        expected = (softmax(middle * scores) * scores).sum(axis=1)
        if float(np.mean(right - expected)) > 0:
            low = middle
        else:
            high = middle
    found = 1 / math.sqrt(low * high)
    return found if log_loss(scores / found, labels) < log_loss(scores, labels) else 1.0


def calibration_error(probabilities: Array, labels: npt.NDArray[np.integer]) -> float:
    """The expected calibration error of probabilities, (examples, classes)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)  # (l, u]
    sums = np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(sums).sum() / len(labels))


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    """Probabilities, (examples, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return made


def log_loss(logits: Array, labels: npt.NDArray[np.integer]) -> float:
    """The mean negative log likelihood of labels."""
    largest = logits.max(axis=1, keepdims=True)
    total = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return float(np.mean(total - logits[np.arange(len(labels)), labels]))
