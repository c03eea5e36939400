"""The files of Keras 2 with its numbers, for the tests of conversion."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "data" / "keras2"
NUMBERS = {**np.load(FOLDER / "numbers.npz"), **np.load(FOLDER / "numbers_first.npz")}
# By name: the files to convert, and the name of their numbers.
FILES = {
    path.name: ([path], path.stem)
    for path in sorted([*FOLDER.glob("*.h5"), *FOLDER.glob("*.keras")])
    if not path.name.startswith("architecture")
} | {
    name: ([FOLDER / "architecture.json", FOLDER / name], "architecture")
    for name in ("architecture.h5", "architecture.weights.h5")
}


def numbers(name, what):
    """The inputs (x) or outputs (y) of Keras 2, in order."""
    found, key = [], FILES[name][1]
    while f"{key}/{what}{len(found)}" in NUMBERS:
        found.append(NUMBERS[f"{key}/{what}{len(found)}"])
    return found


def outputs(network, name):
    """What a network makes of the inputs."""
    given = {spec.name: x.astype(spec.dtype) for spec, x in zip(network.inputs, numbers(name, "x"), strict=True)}
    return list(network.forward(given).outputs.values())


def error(network, name):
    """The largest difference of a network's outputs from the numbers of Keras 2."""
    pairs = zip(outputs(network, name), numbers(name, "y"), strict=True)
    return max(float(np.abs(found - wanted).max()) for found, wanted in pairs)
