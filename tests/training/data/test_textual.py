"""training.data.textual: numbers that a file holds as text are numbers, or the value that spoils them is named."""

import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.options import Source

SPOILED = [*numbers(40), "n.a.", *numbers(59, seed=1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ("y",)}, "target: column 'y' holds numbers, but 'n.a.' in line 42"),
        ({"target": ("z",), "features": ("y",)}, "features: column 'y' holds numbers, but 'n.a.' in line 42"),
        ({"target": ("word",)}, "features: no column is left that holds numbers: 'y' does but for 'n.a.' in line 42"),
    ],
)
def test_the_value_that_spoils_a_column_is_named(tmp_path, options, message):
    """A column of numbers with a single text in it is no column of classes: the text and its line are named."""
    columns = {"y": SPOILED, "word": ["a", "b"] * 50} | ({"z": numbers(100, seed=2)} if "features" in options else {})
    with pytest.raises(InvalidArgumentError) as refused:
        load(Source(write(tmp_path / "d.csv", **columns), window=4, **options))
    assert refused.value.message == message


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
