"""The reference sequences, which need no file."""

from dataclasses import dataclass

import numpy as np

from training.data.windows import Array


@dataclass(frozen=True)
class Dataset:
    """Sequences and what is to be predicted of each."""

    name: str
    inputs: Array  # (sequences, timesteps, features)
    targets: Array  # (sequences,)


def reference() -> Dataset:
    """Three short sequences that count upwards, with the targets 10, 20 and 30."""
    sequences = [[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]]
    return Dataset("reference", np.array(sequences, np.float32), np.array([10, 20, 30], np.float32))
