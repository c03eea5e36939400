"""Texts for the tests of training: short reviews with labels, and a text that repeats itself."""

import numpy as np

GOOD, BAD = ("good", "lovely", "excellent", "fine"), ("bad", "awful", "poor", "dull")
THINGS = ("film", "meal", "hotel", "book", "concert", "walk")
BOOK = "".join(f"{n % 7} men went to mow, went to mow a meadow.\n" for n in range(60))


def reviews(count=240):
    """Reviews, (text, label) each, in no order."""
    random = np.random.default_rng(0)
    made = []
    for i in range(count):
        label = ("bad", "good")[i % 2]
        words = random.choice(GOOD if label == "good" else BAD), random.choice(THINGS), random.choice(THINGS)
        made.append((f"A {words[0]} {words[1]}, unlike the {words[2]} on day {i}.", label))
    return made


def write(path, rows=None):
    """A CSV file of reviews."""
    lines = [f'"{text}",{label}' for text, label in rows or reviews()]
    path.write_text("\n".join(["review,label", *lines]) + "\n")
    return str(path)
