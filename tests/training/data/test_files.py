"""training.data.files: what is read of CSV, Parquet and NumPy's files, and what is no table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.data import sources
from training.options import Source


def test_parquet_gives_what_csv_gives(table, tmp_path):
    """The same table in either format gives the same windows."""
    from pyarrow import csv

    pq.write_table(csv.read_csv(table), tmp_path / "table.parquet", row_group_size=64)
    options = {"target": ("level",), "time": "day", "group": "place", "window": 7}
    one, other = (load(Source(str(path), **options))[0] for path in (table, tmp_path / "table.parquet"))
    np.testing.assert_array_equal(one.parts.train.values, other.parts.train.values)
    for name, part in one.parts.named().items():
        np.testing.assert_array_equal(part.starts, other.parts.named()[name].starts)
    assert one.digest != other.digest


def test_a_word_far_down_is_found(tmp_path):
    """A column that turns from numbers to words after the beginning of the file is named, with the word."""
    count = sources.BLOCK // 3
    path = write(tmp_path / "long.csv", y=[*(i % 1000 for i in range(count)), "oops"])
    with pytest.raises(
        InvalidArgumentError, match=r"^data: column 'y' mixes types: expected numbers, got 'oops'"
    ) as caught:
        load(Source(path, target=("y",), window=3))
    assert caught.value.message.endswith(f" in line {count + 2}")


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ("noon,1,a", {}, "time: column 't' holds 'noon' in line 8; expected numbers, or dates"),
        (",1,a", {"time_format": "%Y-%m-%d"}, "time: column 't' has no value in line 8"),
        ("2000-01-05,n.a.,a", {}, "target: column 'y' holds numbers, but 'n.a.' in line 8;"),
        ("2000-01-05,1,a,b", {}, "data: t.csv: expected 3 values in line 8, as many as columns, got 4"),
        ("2000-01-05", {}, "data: t.csv: expected 3 values in line 8, as many as columns, got 1"),
    ],
)
def test_errors_name_the_line_of_the_file(tmp_path, row, options, message):
    """Whatever is wrong with a row, its line is named as an editor counts lines: blank ones, and those in quotes."""
    path = tmp_path / "t.csv"
    before = [
        "t,y,note",
        "2000-01-01,1.5,a",
        "",
        '2000-01-02,2.5,"two',
        'lines"',
        "2000-01-03,3.5,a",
        "2000-01-04,4.5,a",
    ]
    path.write_text("\n".join([*before, row, "2000-01-06,5.5,a"]) + "\n")
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(str(path), target=("y",), time="t", window=3, **options))
    assert caught.value.message.startswith(message)


def test_errors_name_the_row_of_a_file_without_lines(tmp_path):
    """A Parquet file has rows, and no lines."""
    pq.write_table(pa.table({"t": ["2000-01-01", "noon"], "y": [1.0, 2.0]}), tmp_path / "t.parquet")
    with pytest.raises(InvalidArgumentError, match="column 't' holds 'noon' in row 2; expected"):
        load(Source(str(tmp_path / "t.parquet"), target=("y",), time="t", window=3))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "data: there is no file "),
        ("empty.csv", b"", "data: empty.csv is empty; expected a line with the names of the columns, and rows"),
        ("blank.csv", b"\n", "data: blank.csv is empty; expected a line with the names of the columns, and rows"),
        ("rows.csv", b"y,x\n", "data: rows.csv has no rows, only the names of columns"),
        ("torn.parquet", b"PAR1 and no more", "data: torn.parquet cannot be read: "),
        ("torn.npz", b"PK no zip", "data: torn.npz cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, message):
    """A file that is not there, empty or damaged is named."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(str(path), target=("y",), window=3))
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_a_table_in_parquet_keeps_its_times(tmp_path):
    """Times of any precision are times, and a column of nothing but nulls is no feature."""
    times = pa.array(np.arange("2020-01-01T00", "2020-01-04T12", dtype="datetime64[h]").astype("datetime64[ms]"))
    columns = {"t": times, "y": numbers(84), "gone": pa.nulls(84)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    examples, _ = load(Source(str(tmp_path / "t.parquet"), target=("y",), time="t", window=3))
    assert examples.layout.features == ("y",)
