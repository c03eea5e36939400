"""The reference sequences, which need no file."""

import numpy as np

from training.data.layout import Layout
from training.data.windows import Parts, Windows


def reference() -> tuple[Layout, Parts]:
    """Three short sequences that count upwards, with the targets 10, 20 and 30. Nothing of them is held out."""
    sequences = [[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]]
    values = np.array(sequences, np.float32).reshape(-1, 2)
    targets = np.array([10, 20, 30], np.float32)
    everything = Windows(values, targets, np.arange(3) * 3, np.arange(3), window=3, outputs=1)
    nothing = everything.some(slice(0))
    return Layout(("x0", "x1"), "y", everything.window, everything.outputs), Parts(everything, nothing, nothing)
