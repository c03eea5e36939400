"""training.data.dialect: a table is the same table however a CSV file writes it."""

import gzip

import numpy as np
import pytest
from pyarrow import fs

from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training.data.dialect import Dialect, find
from training.options import Format, Source

ROWS = [(i, round(10_000 + (i * 7919) % 1009 / 8, 3), f"Köln {i % 3}") for i in range(120)]


def found(path, **given):
    """The dialect of a file, where some of it may be given."""
    return find(fs.LocalFileSystem(), str(path), Format(**given))


def written(delimiter=",", decimal=".", thousands="", encoding="utf8", quote=""):
    """The rows as a CSV file in some dialect."""

    def number(value):
        text = f"{value:,.3f}" if thousands else f"{value:.3f}"
        return text.replace(",", "\0").replace(".", decimal).replace("\0", thousands)

    lines = [delimiter.join(["t", "y", "ort"])]
    lines += [delimiter.join([str(t), f"{quote}{number(y)}{quote}", place]) for t, y, place in ROWS]
    return ("\n".join(lines) + "\n").encode(encoding)


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        (written(), Dialect()),
        (written(encoding="utf-8-sig"), Dialect()),
        (written(encoding="latin-1"), Dialect(encoding="latin-1")),
        (written(encoding="utf-16"), Dialect(encoding="utf-16")),
        (written(delimiter="\t"), Dialect("\t")),
        (written(delimiter="|"), Dialect("|")),
        (written(delimiter=";"), Dialect(";")),
        (written(delimiter=";", decimal=","), Dialect(";", ",")),
        (written(delimiter=";", decimal=",", thousands="."), Dialect(";", ",")),
        (written(thousands=",", quote='"'), Dialect()),
        (written(thousands=" ", delimiter=";", decimal=","), Dialect(";", ",")),
        (written(thousands="\u202f", delimiter=";", decimal=","), Dialect(";", ",")),
        (written(thousands="'", delimiter=";"), Dialect(";")),
        (written(thousands=".", decimal=",", quote='"'), Dialect(decimal=",")),
        (gzip.compress(written()), Dialect(compressed=True)),
        (gzip.compress(written(delimiter=";", decimal=",", encoding="latin-1")), Dialect(";", ",", "latin-1", True)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Dialect) else "",
)
def test_the_same_table_in_any_dialect(tmp_path, content, dialect):
    """Delimiter, decimal mark, thousands, encoding and compression are found, and the numbers are the same."""
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert found(path) == dialect
    examples, _ = load(Source(str(path), target=("y",), time="t", window=4))
    assert examples.layout.features == ("y",)
    np.testing.assert_array_equal(examples.parts.train.values[:, 0], np.array([y for _, y, _ in ROWS], np.float32))


@pytest.mark.parametrize(
    "lines",
    [
        ["a,b", '"1;2",3', '"4;5",6'],
        ["a,b", '"1,200",3', '"10,041",6'],
        ["a;b,c", "1;2,3", "4;5,6"],
        ["y", "1,5", "2,5"],
        ["y", "1.5"],
        [""],
    ],
    ids=str,
)
def test_a_comma_separates_where_there_is_doubt(tmp_path, lines):
    """Where several marks could separate columns, or none does, it is the comma, and decimals have a point."""
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    assert found(path) == Dialect()


def test_what_is_given_is_not_looked_for(tmp_path):
    """Delimiter and decimal mark that are given win over what the file looks like."""
    path = tmp_path / "table.csv"
    path.write_text("\n".join(['a~b,"c"', '1~"2,500"', '2~"3,750"', '4~"4,125"']) + "\n")
    assert found(path, delimiter="~", decimal=",") == Dialect("~", ",")
    assert found(path, decimal=",").decimal == ","


def test_a_torn_compressed_file_is_one_line(tmp_path):
    """A compressed file that ends too early is an error that says so."""
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(written())[:-40])
    with pytest.raises((OSError, InvalidArgumentError), match=r"ends too early|cannot be read"):
        load(Source(str(path), target=("y",), time="t", window=4))
