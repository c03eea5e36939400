"""training.evaluation.text_baselines: what a bag of words, and the frequencies of characters, make of texts."""

import numpy as np
import pytest

from training.data.strings import Strings
from training.evaluation import text_baselines


def labelled(texts, labels):
    """Texts with the places of their labels."""
    places = np.arange(len(texts))
    return Strings(np.array(texts, object)[:, None], np.array(labels, np.int32), places, places, 1, 1)


def test_a_bag_of_words_learns_words_and_not_their_order():
    """Where a word decides, nothing is wrong; where only the order does, half is."""
    fruit = [f"{a} {b}" for a in ("red", "green", "ripe") for b in ("apple", "car")] * 5
    by_word = labelled(fruit, [int("car" in text) for text in fruit])
    assert text_baselines.of_labels(by_word, by_word, 2)["bag of words"]["error_rate"] == 0
    pairs = ["dog bites man", "man bites dog"] * 10
    by_order = labelled(pairs, [0, 1] * 10)
    assert text_baselines.of_labels(by_order, by_order, 2)["bag of words"]["error_rate"] == 0.5


def test_texts_without_words_have_no_bag():
    """Texts in which there is no word to count leave the baseline out."""
    nothing = labelled(["!", "?"] * 5, [0, 1] * 5)
    assert text_baselines.of_labels(nothing, nothing, 2) == {}


def test_frequencies_of_characters():
    """Of a text in which each character follows from the one before, pairs know everything and single ones nothing."""
    targets = np.array([1, 2, 3] * 200, np.int32)
    starts = np.arange(0, 500, 10)
    text = Strings(targets.astype(str)[:, None], targets, starts, starts + 1, 10, 10)
    found = text_baselines.of_characters(text, text, 4)
    assert found["most frequent"]["log_loss"] == pytest.approx(np.log(3), abs=0.01)
    assert found["after the one before"]["error_rate"] == 0
    assert found["after the one before"]["log_loss"] < 0.02
