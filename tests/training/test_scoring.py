"""Scoring a file: what `unroll score` writes is what the network gives for each window, however the file is cut."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from registry.store import Store
from service.errors import InvalidArgumentError
from training import config, job, scoring
from training.data import sources
from training.data.layout import Layout
from training.data.output import write_table
from training.options import Format

ROWS = 150  # of each of two series


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of two series, one after the other, with versions trained on it."""
    folder = tmp_path_factory.mktemp("scoring")
    noise = np.random.default_rng(0).normal(size=(2 * ROWS, 2)).round(3)
    columns = {
        "t": list(range(ROWS)) * 2,
        "place": ["a"] * ROWS + ["b"] * ROWS,
        "y": noise[:, 0],
        "x": noise[:, 1],
        "kind": ["wet" if value > 0 else "dry" for value in noise[:, 0]],
    }
    csv.write_csv(pa.table(columns), folder / "table.csv")
    common = {"data": str(folder / "table.csv"), "time": "t", "group": "place", "window": 5, "epochs": 0, "units": 3}
    common["promote"] = "always"
    for name, options in (("scored_levels", {"target": "y", "horizon": 2}), ("scored_kinds", {"target": "kind"})):
        job.run(config.job_of({**common, "name": name, **options}), job.Listener())
    return folder


@pytest.fixture(scope="module")
def levels(folder):
    """The version that gives numbers."""
    return scoring.load("models:/scored_levels@champion", folder / "cache")


def scored(model, path, out):
    """What is written for a file."""
    done = scoring.score(model, str(path), out, lambda *_: None)
    return done, (csv.read_csv(out) if out.suffix == ".csv" else pq.read_table(out))


def test_every_row_gets_what_its_window_gives(folder, levels):
    """Each row has its time, its series, and the network's outputs for the window that ends there, if there is one."""
    done, table = scored(levels, folder / "table.csv", folder / "out.parquet")
    assert table.column_names == ["t", "place", "prediction_1", "prediction_2"]
    assert (done.rows, done.predicted) == (2 * ROWS, 2 * (ROWS - 4))
    source = csv.read_csv(folder / "table.csv")
    assert table["place"].to_pylist() == source["place"].to_pylist()
    rows = np.stack([source["y"].to_numpy(), source["x"].to_numpy()], axis=1).astype(np.float32)
    for end in (4, 77, ROWS - 1, ROWS + 4, 2 * ROWS - 1):
        (output,) = levels.network.forward({"sequence": rows[None, end - 4 : end + 1]}).outputs.values()
        given = [table[name][end].as_py() for name in ("prediction_1", "prediction_2")]
        np.testing.assert_allclose(given, output[0], rtol=1e-5)
    assert table["prediction_1"][3].as_py() is None
    assert table["prediction_1"][ROWS + 3].as_py() is None


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batches_of_any_size_give_the_same(folder, levels, size, monkeypatch):
    """Windows that span two pieces of the file, and series that alternate, are predicted as in one piece."""
    _, whole = scored(levels, folder / "table.csv", folder / "out.csv")
    source = csv.read_csv(folder / "table.csv")
    mixed = np.arange(2 * ROWS).reshape(2, ROWS).T.ravel()  # a, b, a, b, …
    pq.write_table(source.take(mixed), folder / "mixed.parquet")
    monkeypatch.setattr(sources, "ROWS", size)
    _, pieces = scored(levels, folder / "mixed.parquet", folder / "pieces.csv")
    assert pieces["place"].to_pylist()[:3] == ["a", "b", "a"]
    for name in ("prediction_1", "prediction_2"):
        expected = whole[name].take(mixed).to_pylist()
        assert pieces[name].to_pylist() == [pytest.approx(value, abs=1e-6) if value else value for value in expected]


def test_classes_are_written_by_name(folder):
    """A classifier's rows have the name of the likeliest class and its probability."""
    model = scoring.load("models:/scored_kinds@champion", folder / "cache")
    _, table = scored(model, folder / "table.csv", folder / "kinds.csv")
    assert set(table["prediction"].to_pylist()[4:]) - {None, ""} <= {"wet", "dry"}
    assert min(value for value in table["probability"].to_pylist() if value is not None) >= 0.5


def test_missing_values_have_no_prediction(folder, levels):
    """A row without a value leaves as many rows without a prediction as windows hold it."""
    source = csv.read_csv(folder / "table.csv")
    y = source["y"].to_pylist()
    y[50] = None
    csv.write_csv(source.set_column(2, "y", pa.array(y)), folder / "holes.csv")
    done, table = scored(levels, folder / "holes.csv", folder / "out.csv")
    assert done.predicted == 2 * (ROWS - 4) - 5
    gone = [i for i, value in enumerate(table["prediction_1"].to_pylist()) if value is None and 3 < i < ROWS]
    assert gone == [50, 51, 52, 53, 54]


@pytest.fixture(scope="module")
def hourly():
    """A network over hours that was trained with values filled, and no window across a gap."""
    import keras

    from service.model import keras_file

    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        keras.Sequential([keras.Input((5, 1)), keras.layers.SimpleRNN(3), keras.layers.Dense(1)]).save(path)
        return keras_file.read(path)


def hours(folder, *, gap=False, holes=()):
    """A table of 120 hours, with 30 hours missing after the 60th where asked for, and rows without a value."""
    times = np.arange("2024-01-01T00", "2024-01-06T00", dtype="datetime64[h]").astype("datetime64[s]")
    if gap:
        times[60:] += np.timedelta64(30, "h")
    values = [None if i in holes else float(np.sin(i / 3)) for i in range(120)]
    csv.write_csv(pa.table({"t": times, "y": values}), folder / "hours.csv")
    return folder / "hours.csv"


@pytest.mark.parametrize("size", [7, 65536])
@pytest.mark.parametrize(("gaps", "across"), [("split", 0), ("error", 0), ("keep", 4), ("", 4)])
def test_no_window_spans_a_gap_unless_training_kept_them(hourly, tmp_path, monkeypatch, gaps, across, size):
    """After a gap as many rows have no prediction as at the beginning, wherever the file is cut into pieces."""
    layout = Layout(("y",), "y", 5, 1, (), "t", "", "error", gaps, 3600.0)
    table = csv.read_csv(hours(tmp_path, gap=True))
    pq.write_table(table, tmp_path / "hours.parquet")
    monkeypatch.setattr(sources, "ROWS", size)
    done, table = scored(scoring.Model(hourly, layout, "m", "1"), tmp_path / "hours.parquet", tmp_path / "o.parquet")
    predictions = table["prediction"].to_pylist()
    assert sum(value is not None for value in predictions[60:64]) == across
    assert done.predicted == 120 - 8 + across
    assert done.gaps == (0 if across else 1)


@pytest.mark.parametrize("size", [7, 65536])
@pytest.mark.parametrize("missing", ["ffill", "interpolate", "drop", "error"])
def test_missing_values_are_filled_as_in_training(hourly, tmp_path, monkeypatch, missing, size):
    """Where training filled values, a missing one is the one before it; else windows that hold it give nothing."""
    layout = Layout(("y",), "y", 5, 1, (), "t", "", missing, "split", 3600.0)
    holes = (0, 41, 42, 99)
    pq.write_table(csv.read_csv(hours(tmp_path, holes=holes)), tmp_path / "hours.parquet")
    monkeypatch.setattr(sources, "ROWS", size)
    done, table = scored(scoring.Model(hourly, layout, "m", "1"), tmp_path / "hours.parquet", tmp_path / "o.parquet")
    if missing in ("drop", "error"):
        assert (done.predicted, done.filled) == (120 - 5 - 6 - 5, 0)
        return
    assert (done.predicted, done.filled) == (120 - 5, 3)  # nothing stands before the first row
    values = np.sin(np.arange(120) / 3).astype(np.float32)
    values[[41, 42]] = values[40]
    (output,) = hourly.forward({hourly.inputs[0].name: values[None, 39:44, None]}).outputs.values()
    assert table["prediction"][43].as_py() == pytest.approx(float(output[0, 0]), rel=1e-5)


@pytest.mark.parametrize(
    ("count", "seconds", "reason"),
    [
        (4, 3600, ""),
        (120, 60, ", and 119 steps are gaps; expected steps of 3600 s, as in training"),
    ],
)
def test_a_table_without_a_prediction_is_refused(hourly, tmp_path, count, seconds, reason):
    """Where no row has a whole window, such as in a table of minutes for a version of hours, nothing is written."""
    layout = Layout(("y",), "y", 5, 1, (), "t", "", "error", "split", 3600.0)
    times = np.datetime64("2024-01-01", "s") + np.arange(count) * np.timedelta64(seconds, "s")
    csv.write_csv(pa.table({"t": times, "y": np.sin(np.arange(count))}), tmp_path / "t.csv")
    with pytest.raises(InvalidArgumentError) as refused:
        scored(scoring.Model(hourly, layout, "m", "1"), tmp_path / "t.csv", tmp_path / "o.csv")
    needed = "the network reads 5 rows of a series without a gap or a missing value"
    assert refused.value.message == f"data: none of the {count} rows of t.csv can be predicted: {needed}{reason}"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_rows_of_one_time_are_scored_as_one(folder, levels):
    """Times that stand twice are an error, or become one row where that is asked for."""
    source = csv.read_csv(folder / "table.csv")
    csv.write_csv(source.take([*range(50), 49, *range(50, 2 * ROWS)]), folder / "twice.csv")
    with pytest.raises(InvalidArgumentError, match="column 't' has 49 more than once in a series"):
        scored(levels, folder / "twice.csv", folder / "no.csv")
    _, expected = scored(levels, folder / "table.csv", folder / "once.csv")
    for how in ("mean", "last"):
        done = scoring.score(
            levels, folder / "twice.csv", folder / "merged.csv", lambda *_: None, Format(duplicates=how)
        )
        found = csv.read_csv(folder / "merged.csv").sort_by([("place", "ascending"), ("t", "ascending")])
        assert (done.rows, found.equals(expected)) == (2 * ROWS, True)


def test_what_cannot_be_scored_leaves_no_file(folder, levels):
    """Times that go back, columns that are not there and other formats are one line each, and nothing is written."""
    source = csv.read_csv(folder / "table.csv")
    csv.write_csv(source.take(list(range(40, -1, -1))), folder / "back.csv")
    csv.write_csv(source.drop_columns(["x"]), folder / "less.csv")
    for path, out, message in (
        ("back.csv", "no.csv", "time: column 't' goes from 40 to 39; sort the file"),
        ("less.csv", "no.csv", "features: there is no column 'x'"),
        ("none.csv", "no.csv", "data: there is no file "),
        ("table.csv", "no.xlsx", "out: expected a name that ends in .csv or .parquet, got no.xlsx"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            scored(levels, folder / path, folder / out)
        assert caught.value.message.startswith(message)
    assert not list(folder.glob("no.*"))


def test_a_version_of_no_table_takes_arrays_only(folder):
    """A version that was not trained on a table is scored on an array with its input's name, and on no table."""
    job.run(config.job_of({"epochs": 0, "name": "none"}), job.Listener())
    model = scoring.load("models:/none@champion", folder / "cache")
    message = r"^model: version 1 of none was not trained with unroll train --data"
    for one in (model, replace(model, data=Layout((), "", 0, 0, ("labels", "alone")))):
        with pytest.raises(InvalidArgumentError, match=message):
            scored(one, folder / "table.csv", folder / "no.csv")
    x = np.random.default_rng(0).normal(size=(1_100, 3, 2)).astype(np.float32)
    np.savez(folder / "x.npz", sequence=x, other=x)
    told = []
    done = scoring.score_arrays(model, folder / "x.npz", folder / "x.parquet", lambda *args: told.append(args))
    assert (done.rows, done.predicted, told[-1]) == (1_100, 1_100, (1_100, 1_100, 1_100))
    (output,) = model.network.forward({"sequence": x}).outputs.values()
    np.testing.assert_allclose(pq.read_table(folder / "x.parquet")["prediction"].to_numpy(), output[:, 0], rtol=1e-6)


def test_sequences_are_scored_as_they_were_trained_on(folder):
    """A version trained on `.npz` is scored on such files, by the name `x` or its input's, with classes by name."""
    x = np.random.default_rng(0).normal(size=(60, 4, 2)).astype(np.float32)
    np.savez(folder / "train.npz", x=x, y=np.where(x[:, -1, 0] > 0, "wet", "dry"))
    options = {"data": str(folder / "train.npz"), "name": "scored_x", "epochs": 0, "units": 3, "promote": "always"}
    job.run(config.job_of(options), job.Listener())
    model = scoring.load("models:/scored_x@champion", folder / "cache")
    np.savez(folder / "named.npz", sequence=x)
    for name in ("train", "named"):
        scoring.score_arrays(model, folder / f"{name}.npz", folder / f"{name}.csv", lambda *_: None)
    one, other = (csv.read_csv(folder / f"{name}.csv") for name in ("train", "named"))
    assert one.equals(other)
    assert set(one["prediction"].to_pylist()) <= {"wet", "dry"}
    for arrays, message in (
        ({"z": x}, "data: bad.npz holds no array 'sequence'; it holds z"),
        ({"sequence": x[..., :1]}, r"data: sequence is float32 of shape \[60, 4, 1\]; expected numbers \(any, "),
        ({"sequence": x[:0]}, "data: the arrays hold "),
    ):
        np.savez(folder / "bad.npz", **arrays)
        with pytest.raises(InvalidArgumentError, match=message):
            scoring.score_arrays(model, folder / "bad.npz", folder / "no.csv", lambda *_: None)


def test_the_command_needs_no_tensorflow(folder):
    """`unroll score` writes the file and says how many rows it has, without TensorFlow or Keras."""
    code = (
        "import sys; from service.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    arguments = ["score", "--data", str(folder / "table.csv"), "--model", "models:/scored_levels@champion"]
    arguments += ["--out", str(folder / "typed.csv"), "--cache", str(folder / "cache")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scored 300 rows with version 1 of scored_levels" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
    assert csv.read_csv(folder / "typed.csv").num_rows == 2 * ROWS
    assert Store().describe("scored_levels").aliases == {"champion": "1"}
    assert Layout.loads(Store().version("scored_levels", "1").tags["unroll.data"]).window == 5


@pytest.mark.parametrize(
    ("times", "kind", "expected"),
    [
        (["2024-03-01", "2024-04-01"], pa.timestamp("us"), ["2024-03-01", "2024-04-01"]),
        (["2024-03-01", "2024-03-01T12:30"], pa.timestamp("ns"), ["2024-03-01 00:00:00", "2024-03-01 12:30:00"]),
        (["2024-03-01T12:30:00.5"], pa.timestamp("ms"), ["2024-03-01 12:30:00.500"]),
        (["2024-03-01"], pa.timestamp("us", "UTC"), ["2024-03-01 00:00:00Z"]),
    ],
)
def test_times_in_csv_are_short(times, kind, expected, tmp_path):
    """Dates are written without a time of day where all are at midnight, and seconds without empty fractions."""
    moments = pa.array(np.array(times, "datetime64[us]")).cast(pa.timestamp("us", kind.tz)).cast(kind)
    write_table(pa.table({"t": moments}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == ['"t"', *expected]
