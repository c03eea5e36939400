"""Data from a file: what is read from files, how it is cut by time, and the one line that each mistake gets."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError
from training.data import examples as data
from training.data import files
from training.data.layout import Layout
from training.data.windows import parts_by_place, parts_by_time, slide
from training.options import Source


def write(path, **columns):
    """A CSV file of columns."""
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def load(source):
    """The examples, and what was found."""
    found = []
    return data.load(source, lambda *_: None, found.append), found


def numbers(count, *, seed=0):
    """Numbers that differ."""
    return np.round(np.random.default_rng(seed).normal(size=count), 3).tolist()


@pytest.fixture
def table(tmp_path):
    """Two series of a hundred days."""
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str).tolist()
    return write(
        tmp_path / "table.csv",
        day=days * 2, place=["a"] * 100 + ["b"] * 100, level=numbers(200), wind=numbers(200, seed=1),
        weather=["wet" if value > 0 else "dry" for value in numbers(200, seed=2)],
    )  # fmt: skip


# Windows.


def test_windows_are_gathered_from_one_array(table):
    """A window holds the rows before its targets, of one series, and nothing is copied for it."""
    examples, _ = load(Source(table, target="level", time="day", group="place", window=7, horizon=3))
    for part in examples.parts.named().values():
        assert part.values is examples.parts.train.values
        assert part.values.shape == (200, 2)
        inputs, expected = part.inputs(), part.expected()
        assert inputs.shape == (len(part), 7, 2)
        assert expected.shape == (len(part), 3)
        for i, start in enumerate(part.starts):
            np.testing.assert_array_equal(inputs[i, :, 0], part.values[start : start + 7, 0])
            np.testing.assert_array_equal(expected[i], part.values[start + 7 : start + 10, 0])
            assert start // 100 == (start + 9) // 100


@settings(deadline=None, max_examples=150)
@given(
    times=st.lists(st.integers(0, 60), min_size=4, max_size=80),
    series=st.integers(1, 4),
    window=st.integers(1, 6),
    first=st.integers(0, 4),
    outputs=st.integers(1, 4),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
    by_time=st.booleans(),
)
def test_nothing_leaks_from_the_future(times, series, window, first, outputs, shares, by_time):
    """All that a part sees of a moment, inputs and targets, is earlier than every target of the parts after it."""
    groups = np.sort(np.arange(len(times)) % series).astype(np.int32)
    clock = np.concatenate([np.sort(np.array(times)[groups == g]) for g in range(series)])
    part = parts_by_time(clock, *shares) if by_time else parts_by_place(groups, *shares)
    if not by_time:
        clock = np.arange(len(clock))
    values = np.arange(len(clock), dtype=np.float32)[:, None]
    usable = np.ones(len(clock), bool)
    made = slide(values, values[:, 0], groups, part, usable, window=window, first=first, outputs=outputs)
    seen = {}
    for name, windows in made.named().items():
        inputs, targets = windows.inputs()[..., 0].astype(int), windows.expected().astype(int)
        assert (groups[inputs] == groups[inputs[:, :1]]).all()
        assert (groups[targets] == groups[inputs[:, :1]]).all()
        assert (targets[:, 0] - inputs[:, -1] == first).all()
        seen[name] = inputs, targets
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for group in range(series):
            whose = slice(None) if by_time else group
            past = np.concatenate([_of(array, groups, whose) for array in seen[earlier]])
            future = _of(seen[later][1], groups, whose)
            if len(past) and len(future):
                assert clock[past].max() < clock[future].min()


def _of(places, groups, whose):
    """Places of one series, or of all."""
    flat = places.ravel()
    return flat if isinstance(whose, slice) else flat[groups[flat] == whose]


def test_equal_times_never_part(table):
    """Series are cut at one moment: no training row of one is as late as a held-out target of another."""
    examples, _ = load(Source(table, target="level", time="day", group="place", window=7))
    train, test = examples.parts.train, examples.parts.test
    assert (train.target_starts % 100).max() < (test.target_starts % 100).min()
    assert {0, 1} == set((test.starts // 100).tolist())


def test_what_is_held_out_does_not_reach_the_scales(tmp_path):
    """The rows by which inputs are normalised are those of training windows alone."""
    path = write(tmp_path / "jump.csv", t=range(100), level=[*numbers(70), *(1e6 + i for i in range(30))])
    train = load(Source(path, target="level", time="t", window=5))[0].parts.train
    assert train.values[train.rows()].max() < 10
    assert train.expected().max() < 10


def test_horizon_0_and_classes(table):
    """A class may be that of the window's last row; classes are sorted, and are no feature."""
    examples, _ = load(Source(table, target="weather", time="day", group="place", window=4, horizon=0))
    train = examples.parts.train
    assert examples.classes == ("dry", "wet")
    assert examples.layout.features == ("level", "wind")
    assert (train.target_starts - train.starts == 3).all()
    assert train.expected().dtype == np.int32
    ahead, _ = load(Source(table, target="weather", time="day", group="place", window=4, horizon=2))
    assert (ahead.parts.train.target_starts - ahead.parts.train.starts == 5).all()
    assert ahead.parts.train.expected().shape[1] == 1


def test_numbers_can_be_classes(tmp_path):
    """Whole numbers are classes where that is asked for, in the order of their values."""
    path = write(tmp_path / "n.csv", x=numbers(90), kind=[(2, 10, 1)[i % 3] for i in range(90)])
    assert load(Source(path, target="kind", window=3, task="classification"))[0].classes == ("1", "2", "10")
    assert load(Source(path, target="kind", window=3))[0].classes == ()


def test_parquet_gives_what_csv_gives(table, tmp_path):
    """The same table in either format gives the same windows."""
    from pyarrow import csv

    pq.write_table(csv.read_csv(table), tmp_path / "table.parquet", row_group_size=64)
    options = {"target": "level", "time": "day", "group": "place", "window": 7}
    one, other = (load(Source(str(path), **options))[0] for path in (table, tmp_path / "table.parquet"))
    np.testing.assert_array_equal(one.parts.train.values, other.parts.train.values)
    for name, part in one.parts.named().items():
        np.testing.assert_array_equal(part.starts, other.parts.named()[name].starts)
    assert one.digest != other.digest


def test_sequences_are_read(tmp_path):
    """Arrays x and y are windows as they are; the last ones are held out."""
    x = np.random.default_rng(0).normal(size=(40, 6, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(80).reshape(40, 2))
    parts = load(Source(str(tmp_path / "a.npz"), validation=0.25, test=0.25))[0].parts
    assert [len(part) for part in parts.named().values()] == [20, 10, 10]
    np.testing.assert_array_equal(parts.test.inputs(), x[30:].astype(np.float32))
    np.testing.assert_array_equal(parts.test.expected(), np.arange(60, 80).reshape(10, 2))
    np.savez(tmp_path / "b.npz", x=x, y=np.array(["up", "down"] * 20))
    examples, _ = load(Source(str(tmp_path / "b.npz")))
    assert examples.classes == ("down", "up")
    assert examples.parts.train.expected()[:2].tolist() == [[1], [0]]


# What is found, and what is done about it.


def test_rows_out_of_order_are_sorted(tmp_path):
    """Rows are put in order of time, and it is said that they were not."""
    times = np.random.default_rng(0).permutation(60)
    examples, found = load(Source(write(tmp_path / "t.csv", t=times, y=times**2), target="y", time="t", window=3))
    np.testing.assert_array_equal(examples.parts.train.values[:, 0], np.arange(60) ** 2)
    assert "rows were not in order of 't': sorted" in found


HOLES = [*numbers(30), "", *numbers(5, seed=1), "nan", *numbers(63, seed=2)]  # rows 30 and 36 of 100


@pytest.mark.parametrize("choice", ["drop", "ffill", "interpolate"])
def test_missing_values_are_treated_as_asked(tmp_path, choice):
    """They are counted; dropped rows break windows, others are filled; what was missing is never a target."""
    path = write(tmp_path / "h.csv", t=range(100), y=HOLES)
    examples, found = load(Source(path, target="y", time="t", window=4, missing=choice))
    assert any(line.startswith("no value for 'y' in 2 of 100 rows: ") for line in found)
    values = examples.parts.train.values
    assert np.isfinite(values).all()
    if choice == "drop":
        assert len(values) == 98
        assert all(not start < 30 <= start + 4 for start in examples.parts.train.starts)
    else:
        before, after = HOLES[29], HOLES[31]
        assert values[30, 0] == pytest.approx(before if choice == "ffill" else (before + after) / 2)
        assert not {30, 36} & set(examples.parts.train.target_starts.tolist())


def test_held_out_values_are_not_filled_from_their_future(tmp_path):
    """Where data is held out, a missing value becomes the one before it, even where training interpolates."""
    path = write(tmp_path / "h.csv", t=range(100), y=[*numbers(90), "", *numbers(9, seed=1)])
    values = load(Source(path, target="y", time="t", window=4, missing="interpolate"))[0].parts.test.values
    assert values[90] == values[89]


def test_the_layout_says_what_was_done(tmp_path):
    """Window, treatment of gaps and missing values, and the usual step travel with the version."""
    days = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype(str)
    path = write(tmp_path / "d.csv", t=days, y=numbers(100))
    layout = load(Source(path, target="y", time="t", window=4, missing="ffill", gaps="split"))[0].layout
    assert (layout.missing, layout.gaps, layout.step) == ("ffill", "split", 86400)
    assert Layout.loads(layout.dumps()) == layout
    older = '{"features":["y"],"target":"y","window":4,"horizon":1,"classes":[],"time":"t","group":"","later":1}'
    assert Layout.loads(older) == Layout(("y",), "y", 4, 1, (), "t")


def test_gaps_are_split_or_kept(tmp_path):
    """No window spans an uneven step, or all do, as asked; months of different lengths are even."""
    times = [*range(40), *range(50, 110)]
    path = write(tmp_path / "g.csv", t=times, y=numbers(100))
    split, found = load(Source(path, target="y", time="t", window=4, gaps="split"))
    kept, _ = load(Source(path, target="y", time="t", window=4, gaps="keep"))
    assert "column 't' has 1 uneven steps, the first from 39 to 50: no window spans one" in found
    assert len(kept.parts.train) - len(split.parts.train) == 4
    months = np.arange("2000-01", "2009-01", dtype="datetime64[M]").astype("datetime64[D]").astype(str)
    load(Source(write(tmp_path / "m.csv", t=months, y=numbers(108)), target="y", time="t", window=4))


# One line for each mistake.

GOOD = {"t": list(range(60)), "y": numbers(60), "x": numbers(60, seed=1)}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"target": "yy"}, "target: there is no column 'yy'; did you mean 'y'?"),
        ({}, {"target": "y", "time": "hour"}, "time: there is no column 'hour'; there are: t, y, x"),
        ({}, {"target": "y", "features": ("x", "zz")}, "features: there is no column 'zz'; there are: t, y, x"),
        ({}, {"target": ""}, "target: which column is to be predicted?"),
        ({}, {"target": "y", "window": 0}, "window: how many timesteps shall the network see?"),
        ({"x": [7] * 60}, {"target": "y"}, "features: column 'x' is constant (7) in the part to"),
        ({"y": [7] * 60}, {"target": "y", "features": ("x",)}, "target: column 'y' is constant (7) in the part"),
        ({"x": ["a"] * 60}, {"target": "y", "features": ("x",)}, "features: column 'x' holds text, or numbers"),
        ({"y": [*numbers(59), "lots"]}, {"target": "y"}, "target: column 'y' mixes numbers and text, 'lots'"),
        ({}, {"target": "y", "window": 80}, "window: 80 timesteps and horizon 1 need 81 rows in a row; the longest"),
        ({}, {"target": "y", "window": 50}, "window: no window of 50 timesteps with horizon 1 is left for train"),
        ({"t": [*range(59), 3]}, {"target": "y", "time": "t"}, "time: column 't' has 3 more than once"),
        ({"t": ["noon"] * 60}, {"target": "y", "time": "t"}, "time: column 't' holds 'noon'; expected numbers"),
        ({"t": [*range(59), 90]}, {"target": "y", "time": "t"}, "gaps: column 't' has 1 uneven steps, the first"),
        ({"y": HOLES[:60]}, {"target": "y"}, "missing: no value for 'y' in 2 of 60 rows; choose --missing drop"),
        ({"y": ["up"] * 60}, {"target": "y"}, "target: column 'y' is always 'up' in the part to train on"),
        ({"y": ["a", "b"] * 30}, {"target": "y", "task": "regression"}, "task: column 'y' holds text or truth"),
        ({}, {"target": "y", "task": "classification", "features": ("y",)}, "features: column 'y' holds the classes"),
        ({"y": ["2020-01-01"] * 60}, {"target": "y"}, "target: column 'y' holds times, not numbers or classes"),
        ({"g": ["", *"a" * 59]}, {"target": "y", "group": "g"}, "group: column 'g' has rows without a value"),
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
            load(Source(str(tmp_path / path), target=target, time="t", window=3))
        assert message in caught.value.message


def test_arrays_too_large_for_single_precision_are_refused(tmp_path):
    """An array with a number beyond float32 is refused with the number."""
    np.savez(tmp_path / "a.npz", x=np.full((30, 3, 1), 1e300), y=np.arange(30))
    with pytest.raises(InvalidArgumentError, match=r"column 'x' has the value 1e\+300"):
        load(Source(str(tmp_path / "a.npz")))


def test_a_word_far_down_is_found(tmp_path):
    """A column that turns from numbers to words after the beginning of the file is named, with the word."""
    count = files.BLOCK // 3
    path = write(tmp_path / "long.csv", y=[*(i % 1000 for i in range(count)), "oops"])
    with pytest.raises(InvalidArgumentError, match=r"^data: column 'y' mixes types: expected numbers, got 'oops'"):
        load(Source(path, target="y", window=3))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "data: there is no file "),
        ("empty.csv", b"", "data: empty.csv cannot be read: "),
        ("rows.csv", b"y,x\n", "features: no column is left that holds numbers"),
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
        load(Source(str(path), target="y", window=3))
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((4, 3, 1))}, "data: a.npz holds no array 'y'"),
        ({"x": np.ones((4, 3)), "y": np.ones(4)}, r"data: x is float64 of shape \[4, 3\]"),
        ({"x": np.ones((4, 3, 1)), "y": np.ones(5)}, r"data: y has the shape \[5\]"),
        ({"x": np.full((4, 3, 1), np.nan), "y": np.ones(4)}, "missing: 4 of 4 sequences have missing values"),
        ({"x": np.array([{}]), "y": np.ones(4)}, "data: a.npz cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    """Arrays of other shapes than sequences and targets are refused, and pickles are never read."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidArgumentError, match=message):
        load(Source(str(tmp_path / "a.npz")))


def test_a_table_in_parquet_keeps_its_times(tmp_path):
    """Times of any precision are times, and a column of nothing but nulls is no feature."""
    times = pa.array(np.arange("2020-01-01T00", "2020-01-04T12", dtype="datetime64[h]").astype("datetime64[ms]"))
    columns = {"t": times, "y": numbers(84), "gone": pa.nulls(84)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    examples, _ = load(Source(str(tmp_path / "t.parquet"), target="y", time="t", window=3))
    assert examples.layout.features == ("y",)
