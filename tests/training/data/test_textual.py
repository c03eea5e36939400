"""training.data.textual: numbers that a file holds as text are numbers, or the value that spoils them is named."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.options import Source

SPOILED = [*numbers(40), "n.a.", *numbers(59, seed=1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ("y",)}, "target: column 'y' holds numbers, but 'n.a.' in line 42; leave missing values empty"),
        (
            {"target": ("z",), "features": ("y",)},
            "features: column 'y' holds numbers, but 'n.a.' in line 42; leave missing values empty",
        ),
        (
            {"target": ("z",)},
            "features: column 'y' holds numbers, but 'n.a.' in line 42; leave missing values empty; to leave the "
            "column out, name the others in --features",
        ),
    ],
)
def test_the_value_that_spoils_a_column_is_named(tmp_path, options, message):
    """A column of numbers with a single text in it is no text, and is not left out: the text and its line are named."""
    columns = {"y": SPOILED, "word": ["a", "b"] * 50, "z": numbers(100, seed=2)}
    with pytest.raises(InvalidArgumentError) as refused:
        load(Source(write(tmp_path / "d.csv", **columns), window=4, **options))
    assert refused.value.message == message
    named, _ = load(Source(write(tmp_path / "d.csv", **columns), target=("z",), features=("z",), window=4))
    assert named.layout.features == ("z",)


@pytest.mark.parametrize(("words", "refused"), [(49, True), (50, False)])
def test_most_values_decide_what_a_column_holds(tmp_path, words, refused):
    """A column holds numbers if more than half of its values are some; empty fields do not count."""
    column = [*["n.a."] * words, *range(100 - words), *["", "NA", "n/a"] * 30]
    source = Source(write(tmp_path / "d.csv", x=column, y=numbers(190)), target=("y",), window=4)
    if refused:
        with pytest.raises(InvalidArgumentError, match=r"features: column 'x' holds numbers, but 'n.a.' in line 2;"):
            load(source)
    else:
        assert load(source)[0].layout.features == ("y",)


def test_a_text_input_with_many_numbers_is_one(tmp_path):
    """A column that is named as a text may be a number in most rows."""
    lines = ["3", "4", "5", "5A"] * 25
    path = write(tmp_path / "d.csv", line=lines, y=numbers(100))
    examples, _ = load(Source(path, target=("y",), categorical=("line",), window=4))
    assert (examples.layout.features, examples.layout.categories) == (("y",), ("line",))


@pytest.mark.parametrize(
    ("lines", "doubtful"),
    [
        (["n;y", "7;0.000", "8;0,143", "9;1.286", "9;1,429"], "'0.000' in line 2 and '0,143' in line 3"),
        (["n;y", *["7;0,143"] * 30, "8;0.429"], "'0,143' in line 2 and '0.429' in line 32"),
        (["y", "10.101", '"10,041"', "10.103"], "'10.101' in line 2 and '10,041' in line 3"),
        (["y", "999.5", '"1,234"'], "'999.5' in line 2 and '1,234' in line 3"),
        (["y;x", "1,234;1.286", "2,345;1.429"], "'1,234' in line 2"),
        (["y;x", "0,5;12.30", "0,7;11.15"], "'0,5' in line 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_decimal_mark_in_doubt_is_refused(tmp_path, lines, doubtful):
    """Numbers that contradict each other, or can be read in two ways, are refused with values and lines."""
    path = tmp_path / "d.csv"
    path.write_text("\n".join([lines[0], *lines[1:] * 25]) + "\n")
    with pytest.raises(InvalidArgumentError) as refused:
        load(Source(str(path), target=("y",), window=4))
    expected = f"the decimal mark of {doubtful} is in doubt; write all numbers alike, or choose --decimal '.' or ','"
    assert refused.value.message == f"target: column 'y' holds numbers, but {expected}"


@pytest.mark.parametrize(
    ("lines", "given", "values"),
    [
        (["y", '"1,234"', "999", '"2,345"'], "", [1234, 999, 2345]),
        (["y", '"1,234.50"', "999.25", '"2,345"'], "", [1234.5, 999.25, 2345]),
        (["y", '"1,234,567"', "999.25", '"2,345"'], "", [1234567, 999.25, 2345]),
        (["y", '"0,143"', '"1,000"', '"2,143"'], "", [0.143, 1, 2.143]),
        (["y;x", "1,234;0.25", "2,345;0.75"], "", [1234, 2345]),
        (["y;x", "1.234;0,25", "2.345;0,75"], ",", [1234, 2345]),
        (["y", '"1,234"', "999.5", '"2,345"'], ".", [1234, 999.5, 2345]),
    ],
    ids=str,
)
def test_numbers_without_doubt_are_read(tmp_path, lines, given, values):
    """Numbers that have one reading together, or whose decimal mark is given, are read."""
    path = tmp_path / "d.csv"
    path.write_text("\n".join([lines[0], *lines[1:] * 40]) + "\n")
    examples, _ = load(Source(str(path), target=("y",), window=4, decimal=given))
    np.testing.assert_array_equal(examples.parts.train.values[: len(values), 0], np.float32(values))


def test_marks_that_separate_no_thousands_are_refused(tmp_path):
    """Where the decimal mark is given, a value that is no number with it is refused, and not read without its mark."""
    path = tmp_path / "d.csv"
    path.write_text("\n".join(["n;y", *["7;0,5", "8;0.286", "9;1,7"] * 30]) + "\n")
    with pytest.raises(InvalidArgumentError, match=r"column 'y' holds numbers, but '0.286' in line 3"):
        load(Source(str(path), target=("y",), window=4, decimal=","))


def test_a_column_of_words_stays_one(tmp_path):
    """Words are classes, also where some of them look like numbers with marks."""
    words = ["1,000", "many", "few", "2,000"] * 25
    path = write(tmp_path / "d.csv", y=numbers(100), word=[f'"{word}"' for word in words])
    assert load(Source(path, target=("word",), window=4))[0].classes == ("1,000", "2,000", "few", "many")


def test_two_columns_of_one_name(tmp_path):
    """A table with two columns of one name is refused by that name."""
    path = tmp_path / "d.csv"
    path.write_text("y,x,y\n1,2,3\n")
    with pytest.raises(InvalidArgumentError, match="data: there are two columns 'y'; rename one"):
        load(Source(str(path), target=("y",), window=4))
