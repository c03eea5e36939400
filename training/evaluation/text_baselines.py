"""Baselines for texts: of labels a bag of words, of characters how often each occurs, alone and after another."""

import warnings
from importlib.util import find_spec

import numpy as np

from training.data.windows import Windows
from training.evaluation.errors import TINY, Figures, errors

MOST_FITTED = 100_000  # texts that a bag of words learns from
MOST_WORDS = 50_000  # that it tells apart


def of_labels(train: Windows, test: Windows, classes: int) -> dict[str, Figures]:
    """The errors of logistic regression on weighted counts of words; none where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        return {}
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    learned = train.some(slice(None, None, -(-len(train) // MOST_FITTED)))
    bag = TfidfVectorizer(max_features=MOST_WORDS)
    try:
        counts = bag.fit_transform(learned.inputs()[:, 0])
    except ValueError:  # no text has a word in it
        return {}
    regression = LogisticRegression(max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fit that is not quite finished: it is a baseline all the same
        regression.fit(counts, learned.expected()[:, 0])
    found = np.zeros((len(test), classes), np.float32)
    found[:, regression.classes_] = regression.predict_proba(bag.transform(test.inputs()[:, 0]))
    return {"bag of words": errors(found, test.expected(), classes)}


def of_characters(train: Windows, test: Windows, classes: int) -> dict[str, Figures]:
    """The errors of the frequencies of characters, and of those after each other character.

    Frequencies are those of the part to train on. An unseen pair is as probable as its second character by itself, in
    a row that has one occurrence more.
    """
    before, following = _pairs(train)
    single = (np.bincount(following, minlength=classes) + 1.0) / (len(following) + classes)
    pairs = np.bincount(before * classes + following, minlength=classes**2).reshape(classes, classes)
    after = (pairs + single) / (pairs.sum(axis=1, keepdims=True) + 1)
    before, following = _pairs(test)
    return {
        "most frequent": _judged(single[following], single.argmax() != following),
        "after the one before": _judged(after[before, following], after.argmax(axis=1)[before] != following),
    }


def _pairs(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Each character that is to be predicted, and the one before it."""
    places = (windows.target_starts[:, None] + np.arange(windows.outputs)).ravel()
    return windows.targets[places - 1].astype(np.int64), windows.targets[places].astype(np.int64)


def _judged(likelihood: np.ndarray, wrong: np.ndarray) -> Figures:
    return {
        "error_rate": float(np.mean(wrong)),
        "log_loss": float(-np.mean(np.log(np.clip(likelihood, TINY, 1)))),
    }
