"""Writes data/reviews.csv: short reviews of places to stay and eat, made from templates with a fixed seed.

    python examples/make_reviews.py reviews.csv

The label says whether the writer would come again. It depends on the order of words: what follows "but" counts more
than what comes before it, and "not" turns round the word behind it. A bag of words sees neither. One label in twelve is
wrong, as labels of people are, so that no network can be sure.
"""

import csv
import random
import sys

THINGS = ("room", "breakfast", "service", "view", "pool", "coffee", "dinner", "music", "garden", "bed", "staff", "bar")
WRONG = 1 / 12  # of the labels
GOOD = ("good", "great", "lovely", "excellent", "friendly", "clean", "wonderful", "pleasant")
BAD = ("bad", "poor", "dirty", "awful", "terrible", "dull", "noisy", "cold")
OPENINGS = (
    "",
    "",
    "We stayed two nights. ",
    "It was our second visit. ",
    "Booked at the last minute. ",
    "Family of four. ",
)
CLOSINGS = ("", "", " Easy to find.", " We paid by card.", " It rained all week.", " Parking is behind the house.")


def opinion(chance: random.Random, *, good: bool) -> str:
    """A clause about something, such as `the room was not clean`."""
    thing, turned = chance.choice(THINGS), chance.random() < 0.2
    words = GOOD if good != turned else BAD
    verb = chance.choice(("was", "was", "is", "seemed"))
    return f"the {thing} {verb} {'not ' if turned else chance.choice(('', 'very ', 'really '))}{chance.choice(words)}"


def review(chance: random.Random) -> tuple[str, str]:
    """A text and its label."""
    good = chance.random() < 0.5
    kind = chance.random()
    if kind < 0.4:
        body = opinion(chance, good=good)
    elif kind < 0.7:
        body = f"{opinion(chance, good=good)} and {opinion(chance, good=good)}"
    else:
        body = f"{opinion(chance, good=not good)}, but {opinion(chance, good=good)}"
    text = chance.choice(OPENINGS) + body[0].upper() + body[1:] + "." + chance.choice(CLOSINGS)
    wrong = chance.random() < WRONG
    return text, "again" if good != wrong else "never"


def main(path: str, count: int = 2000) -> None:
    """Writes a file with so many different reviews."""
    chance = random.Random(20261127)  # noqa: S311  # nothing here is secret
    made: dict[str, str] = {}
    while len(made) < count:
        text, label = review(chance)
        made[text] = label
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["review", "label"])
        writer.writerows(made.items())


if __name__ == "__main__":
    main(sys.argv[1])
