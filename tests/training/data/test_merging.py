"""training.data.merging: rows of one time become one, wherever a table is cut into batches."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.files import Columns
from training.data.merging import merged

ROW = st.tuples(st.integers(0, 99), st.sampled_from("ab"), st.none() | st.integers(-9, 9) | st.just(float("nan")))


@pytest.mark.parametrize("how", ["mean", "last"])
@given(rows=st.lists(ROW, min_size=1, max_size=60), size=st.integers(1, 61), grouped=st.booleans())
@settings(max_examples=40, deadline=None)
def test_rows_of_one_time_become_one(how, rows, size, grouped):
    """Each series has each time once, in order, with the mean of its numbers or its last row, as pandas finds them."""
    rows.sort(key=lambda row: row[0])
    times, places, values = zip(*rows, strict=True)
    numbers = pa.array([None if value is None else float(value) for value in values], pa.float64())
    table = pa.table({"t": times, "place": places, "y": numbers, "text": [f"{i}" for i in range(len(rows))]})
    columns = Columns(("y",), time="t", group="place" if grouped else "")
    if not grouped:
        table = table.drop_columns("place")
    found = pa.Table.from_batches(list(merged(table.to_batches(max_chunksize=size), columns, how))).to_pandas()
    keys = ["place", "t"] if grouped else ["t"]
    frame = table.to_pandas()
    each = frame.groupby(keys)
    expected = pd.DataFrame(
        {
            "y": each["y"].mean() if how == "mean" else each["y"].apply(lambda series: series.iloc[-1]),
            "text": each["text"].apply(lambda series: series.iloc[-1]),
        }
    )
    assert all(series.is_monotonic_increasing for _, series in found.groupby(keys[:-1] or (lambda _: 0))["t"])
    found = found.set_index(keys).sort_index()
    assert found.index.is_unique
    np.testing.assert_allclose(found["y"].to_numpy(float), expected["y"].to_numpy(float))
    assert found["text"].tolist() == expected["text"].tolist()
