"""training.data.sources: a table is the same table in a file, in a folder of files, and behind a URI."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, dataset, feather, ipc, orc

from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training.data import sources
from training.options import Format, Source

OPTIONS = {"target": ("level",), "time": "day", "group": "place", "window": 7}


def opened(where, **how):
    """A table that is open."""
    return sources.open_table(str(where), Format(**how))


def rows(table, columns):
    """All rows of some columns, as text."""
    batches = list(table.batches(columns, {}, lambda *_: None))
    return pa.Table.from_batches(batches).to_pydict()


def hive(table, folder, column, count=1):
    """A table in a folder, partitioned by the values of a column, each in so many files."""
    for value in table[column].unique().to_pylist():
        part = table.filter(pa.compute.equal(table[column], value)).drop_columns([column])
        into = folder / f"{column}={value}"
        into.mkdir(parents=True)
        size = -(-part.num_rows // count)
        for i in range(count):
            pq.write_table(part.slice(i * size, size), into / f"part-{i}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["arrow", "feather", "orc", "pq", "hive", "folder", "uri", "folder by uri"])
def test_the_same_table_in_any_place(table, tmp_path, kind):
    """Windows, parts and layout are those of the CSV file, in whatever format, folder or file system the table is."""
    content = csv.read_csv(table)
    where = str(tmp_path / ("table.pq" if kind == "uri" else f"table.{kind}"))
    if kind == "arrow":
        with ipc.new_file(where, content.schema) as writer:
            writer.write_table(content)
    elif kind == "feather":
        feather.write_feather(content, where)
    elif kind == "orc":
        orc.write_table(content, where)
    elif kind in ("pq", "uri"):
        pq.write_table(content, where)
    elif kind in ("hive", "folder by uri"):
        hive(content, tmp_path / f"table.{kind}", "place", 3)
    else:
        dataset.write_dataset(content, where, format="ipc", max_rows_per_group=32, max_rows_per_file=64)
    place = f"file://{where.replace(' ', '%20')}" if "uri" in kind else where
    expected, (found, _) = load(Source(table, **OPTIONS))[0], load(Source(place, **OPTIONS))
    assert set(found.layout.features) == set(expected.layout.features) == {"level", "wind"}
    order = [found.layout.features.index(name) for name in expected.layout.features]
    np.testing.assert_array_equal(found.parts.train.values[:, order], expected.parts.train.values)
    for name, part in found.parts.named().items():
        np.testing.assert_array_equal(part.starts, expected.parts.named()[name].starts)
        np.testing.assert_array_equal(part.expected(), expected.parts.named()[name].expected())
    assert found.name == "table"
    assert re.fullmatch("[0-9a-f]{64}", found.digest)


def test_numbers_in_names_are_numbers(tmp_path):
    """Files are read in the order of their names, where the tenth month follows the ninth."""
    months = pa.table({"month": list(range(1, 13)), "y": np.arange(12.0)})
    found = rows(opened(hive(months, tmp_path / "t", "month")), ["month", "y"])
    assert found == {"month": list(range(1, 13)), "y": list(range(12))}


def test_columns_of_all_files(tmp_path):
    """Columns that only some files have are empty in the others, and a column is as wide as its widest."""
    pq.write_table(pa.table({"y": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": [1.5], "x": ["new"]}), tmp_path / "b.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "notes.txt").write_text("not a table")
    assert rows(opened(tmp_path), ["y", "x"]) == {"y": [1, 2, 1.5], "x": [None, None, "new"]}


def test_the_digest_is_of_what_a_folder_holds(tmp_path):
    """The digest of a folder follows from names and contents of its files, wherever it lies; a change changes it."""
    table = pa.table({"place": ["a", "a", "b"], "y": [1.0, 2.0, 3.0]})
    one, other = (opened(hive(table, tmp_path / name, "place")) for name in ("one", "other"))
    assert one.digest() == other.digest() == opened(f"file://{tmp_path}/one").digest()
    (tmp_path / "one" / "place=b").rename(tmp_path / "one" / "place=c")
    assert opened(tmp_path / "one").digest() != other.digest()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("none", "data: there is no file "),
        ("empty", "data: the folder .*empty holds no files that end in .parquet, "),
        ("mixed", "data: the folder .*mixed mixes ipc and parquet files"),
        ("torn", "data: torn cannot be read: .*torn.parquet"),
        ("ftp://host/file", "data: ftp://host/file cannot be opened: "),
        ("s3://key:secret@bucket/file", "data: a URI is recorded with the run, so it must not hold credentials"),
    ],
)
def test_a_place_without_a_table_is_one_line(tmp_path, where, message):
    """What is not there, holds no table, or cannot be opened is said in one line."""
    for name in ("empty", "mixed", "torn"):
        (tmp_path / name).mkdir()
    for name in ("mixed/a.parquet", "torn/torn.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    feather.write_feather(pa.table({"y": [1]}), str(tmp_path / "mixed" / "b.arrow"))
    place = where if "://" in where else str(tmp_path / where)
    with pytest.raises((InvalidArgumentError, OSError)) as caught:
        sources.open_table(place, Format())
    assert re.match(message, str(caught.value))
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.integers(-9, 9), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=40), st.data())
@settings(max_examples=25, deadline=None)
def test_a_table_in_pieces_is_the_table(tmp_path_factory, numbers, data):
    """However a table is cut into files and row groups, its rows are read once and in order."""
    folder = tmp_path_factory.mktemp("pieces")
    table = pa.table({"a": [a for a, _ in numbers], "b": pa.array([b for _, b in numbers], pa.float32())})
    cuts = sorted(data.draw(st.sets(st.integers(1, len(numbers)), max_size=12)) | {len(numbers)})
    for i, (begin, end) in enumerate(zip([0, *cuts], cuts, strict=False)):
        pq.write_table(table.slice(begin, end - begin), folder / f"{i}.parquet", row_group_size=3)
    assert rows(opened(folder), ["a", "b"]) == table.to_pydict()


@pytest.mark.parametrize(
    ("where", "name"),
    [("a/wells.csv", "wells"), ("wells.csv.gz", "wells"), ("s3://b/deep%20wells.pq", "deep wells"), ("wells", "wells")],
)
def test_a_model_is_called_as_its_table(where, name):
    """The name of a table has no folder, and nothing of how it is stored."""
    assert sources.stem(where) == name


def test_a_parquet_file_is_not_kept_in_memory_while_it_is_read(tmp_path):
    """However long a file is, no more of it than some row groups is held at once."""
    columns = {name: np.random.default_rng(0).normal(size=2_000_000) for name in ("a", "b")}
    pq.write_table(pa.table(columns), tmp_path / "long.parquet", row_group_size=100_000)
    del columns
    before, most = pa.total_allocated_bytes(), 0
    for _ in sources.open_table(tmp_path / "long.parquet", Source()).batches(["a", "b"], {}, lambda *_: None):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < (tmp_path / "long.parquet").stat().st_size / 2
