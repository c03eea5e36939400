"""A table for the tests of data."""

import numpy as np
import pytest

from tests.training.data.tables import numbers, write


@pytest.fixture
def table(tmp_path):
    """Two series of a hundred days."""
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str).tolist()
    return write(
        tmp_path / "table.csv",
        day=days * 2, place=["a"] * 100 + ["b"] * 100, level=numbers(200), wind=numbers(200, seed=1),
        weather=["wet" if value > 0 else "dry" for value in numbers(200, seed=2)],
    )  # fmt: skip
