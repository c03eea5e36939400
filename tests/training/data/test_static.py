"""training.data.static: columns that have one value in each series."""

import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.options import Source

PLACES = ["a"] * 60 + ["b"] * 60


def test_static_columns_are_inputs(tmp_path):
    """A number becomes a feature, a text an input of its own."""
    path = write(
        tmp_path / "t.csv", place=PLACES, y=numbers(120), x=numbers(120, seed=1),
        depth=[3] * 60 + [5] * 60, kind=["sand"] * 60 + ["clay"] * 60,
    )  # fmt: skip
    source = Source(path, target=("y",), group="place", features=("y",), static=("depth", "kind"), window=3)
    examples, _ = load(source)
    assert (examples.layout.features, examples.layout.categories) == (("y", "depth"), ("kind",))
    feeds = examples.parts.train.feeds()
    assert {(depth, kind) for depth, kind in zip(feeds["sequence"][:, 0, 1], feeds["kind"][:, 0], strict=True)} == {
        (3, "sand"), (5, "clay"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"depth": [3] * 59 + [4] + [5] * 60}, {}, "static: column 'depth' has '3.0' and '4.0' in the series 'a'"),
        ({"depth": ["x"] * 60 + ["y"] * 59 + ["z"]}, {}, "static: column 'depth' has 'y' and 'z' in the series 'b'"),
        ({}, {}, "static: there is no column 'depth'; there are: place, y"),
        ({"depth": PLACES}, {"group": ""}, "static: name the column of series with --group"),
        ({"depth": PLACES}, {"static": ("y",)}, "static: column 'y' is what is to be predicted"),
    ],
)
def test_mistakes_are_one_line(tmp_path, columns, options, message):
    """A column that changes within a series, or cannot be static, is refused in one line that names it."""
    path = write(tmp_path / "t.csv", place=PLACES, y=numbers(120), **columns)
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(path, **{"target": ("y",), "group": "place", "static": ("depth",), "window": 3, **options}))
    assert caught.value.message.startswith(message)
