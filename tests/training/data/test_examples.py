"""training.data.examples: the examples of a table, and the one line that each mistake gets."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import HOLES, load, numbers, write
from training.options import Source


def test_what_is_held_out_does_not_reach_the_scales(tmp_path):
    """The rows by which inputs are normalised are those of training windows alone."""
    path = write(tmp_path / "jump.csv", t=range(100), level=[*numbers(70), *(1e6 + i for i in range(30))])
    train = load(Source(path, target=("level",), time="t", window=5))[0].parts.train
    assert train.values[train.rows()].max() < 10
    assert train.expected().max() < 10


def test_horizon_0_and_classes(table):
    """A class may be that of the window's last row; classes are sorted, and are no feature."""
    examples, _ = load(Source(table, target=("weather",), time="day", group="place", window=4, horizon=0))
    train = examples.parts.train
    assert examples.classes == ("dry", "wet")
    assert examples.layout.features == ("level", "wind")
    assert (train.target_starts - train.starts == 3).all()
    assert train.expected().dtype == np.int32
    ahead, _ = load(Source(table, target=("weather",), time="day", group="place", window=4, horizon=2))
    assert (ahead.parts.train.target_starts - ahead.parts.train.starts == 5).all()
    assert ahead.parts.train.expected().shape[1] == 1


def test_numbers_can_be_classes(tmp_path):
    """Whole numbers are classes where that is asked for, in the order of their values."""
    path = write(tmp_path / "n.csv", x=numbers(90), kind=[(2, 10, 1)[i % 3] for i in range(90)])
    assert load(Source(path, target=("kind",), window=3, task="classification"))[0].classes == ("1", "2", "10")
    assert load(Source(path, target=("kind",), window=3))[0].classes == ()


GOOD = {"t": list(range(60)), "y": numbers(60), "x": numbers(60, seed=1)}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"target": ("yy",)}, "target: there is no column 'yy'; did you mean 'y'?"),
        ({}, {"target": ("y",), "time": "hour"}, "time: there is no column 'hour'; there are: t, y, x"),
        ({}, {"target": ("y",), "features": ("x", "zz")}, "features: there is no column 'zz'; there are: t, y, x"),
        ({}, {"target": ()}, "target: name the column to predict"),
        ({}, {"target": ("y",), "window": 0}, "window: give the number of timesteps that the network reads"),
        ({"x": [7] * 60}, {"target": ("y",)}, "features: column 'x' is constant (7) in the part to"),
        ({"y": [7] * 60}, {"target": ("y",), "features": ("x",)}, "target: column 'y' is constant (7) in the part"),
        ({"x": ["a"] * 60}, {"target": ("y",), "features": ("x",)}, "features: column 'x' holds text, or numbers"),
        ({"y": [*numbers(59), "lots"]}, {"target": ("y",)}, "target: column 'y' holds numbers, but 'lots' in line 61"),
        ({}, {"target": ("y",), "window": 80}, "window: 80 timesteps and horizon 1 need 81 rows in a row; the longest"),
        ({}, {"target": ("y",), "window": 50}, "window: no window of 50 timesteps with horizon 1 is left for train"),
        ({"t": [*range(59), 3]}, {"target": ("y",), "time": "t"}, "time: column 't' has 3 more than once"),
        ({"t": ["noon"] * 60}, {"target": ("y",), "time": "t"}, "time: column 't' holds 'noon' in line 2; expected"),
        ({"t": [*range(59), 90]}, {"target": ("y",), "time": "t"}, "gaps: column 't' has 1 uneven step, the first"),
        ({"y": HOLES[:60]}, {"target": ("y",)}, "missing: no value for 'y' in 2 of 60 rows; choose --missing drop"),
        ({"y": ["up"] * 60}, {"target": ("y",)}, "target: column 'y' is always 'up' in the part to train on"),
        ({"y": ["a", "b"] * 30}, {"target": ("y",), "task": "regression"}, "task: column 'y' holds text or truth"),
        ({}, {"target": ("y",), "task": "classification", "features": ("y",)}, "features: column 'y' holds the class"),
        ({"y": ["2020-01-01"] * 60}, {"target": ("y",)}, "target: column 'y' holds times, not numbers or classes"),
        ({"g": ["", *"a" * 59]}, {"target": ("y",), "group": "g"}, "group: column 'g' has rows without a value"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_column(tmp_path, columns, options, message):
    """What cannot be learned from is refused in one line that says which column or option, and why."""
    path = write(tmp_path / "bad.csv", **{**GOOD, **columns})
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(path, **{"window": 3, **options}))
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("path", ["bad.csv", "bad.parquet"])
def test_what_single_precision_does_not_hold_is_said_as_it_is(tmp_path, path):
    """Numbers too close together or too large for float32 are not called constant or missing."""
    close = [1e9 + i % 7 for i in range(80)]
    large = [1e39 * (1 + i) for i in range(80)]
    for columns, target, message in (
        ({"t": range(80), "y": close}, "y", "column 'y' has numbers from 1000000000 to 1000000006 in the part to"),
        ({"t": range(80), "y": large, "x": close}, "y", "data: column 'y' has the value 1e+39; networks compute in"),
    ):
        file = write(tmp_path / "bad.csv", **columns)
        if path.endswith("parquet"):
            from pyarrow import csv

            pq.write_table(csv.read_csv(file), tmp_path / path)
        with pytest.raises(InvalidArgumentError) as caught:
            load(Source(str(tmp_path / path), target=(target,), time="t", window=3))
        assert message in caught.value.message
