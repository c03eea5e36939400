"""Tables in files for the tests of data."""

import numpy as np

from training.data import examples as data


def write(path, **columns):
    """A CSV file of columns."""
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def load(source):
    """The examples, and what was found."""
    found = []
    return data.load(source, lambda *_: None, found.append), found


def numbers(count, *, seed=0):
    """Numbers that differ."""
    return np.round(np.random.default_rng(seed).normal(size=count), 3).tolist()


HOLES = [*numbers(30), "", *numbers(5, seed=1), "nan", *numbers(63, seed=2)]  # rows 30 and 36 of 100
