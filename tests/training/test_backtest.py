"""Backtests end to end: what is forecast, that no future is seen, the runs in MLflow, and the command."""

import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from registry.store import Store
from service.cli import backtest as cli
from service.errors import InvalidArgumentError
from training import backtest, config, job
from training.evaluation import picture
from training.evaluation.backtested import NETWORK

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(cli.command)
QUICK = {"units": 3, "epochs": 2, "window": 6, "horizon": 2, "time": "t", "target": "y", "season": 12}


def write(folder, name, change=None):
    """A wave of 200 rows for each of two places; from row `change` on it is another one."""
    t = np.arange(200)
    rows = ["t,place,y"]
    for place, level in (("a", 50), ("b", 80)):
        y = level + 10 * np.sin(t * 2 * np.pi / 12) + np.random.default_rng(level).normal(size=200)
        y[slice(change, None) if change else slice(0, 0)] *= -3
        rows += [f"{when},{place},{value:.4f}" for when, value in zip(t, y, strict=True)]
    (folder / name).write_text("\n".join(rows) + "\n")
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """Where data and checkpoints lie."""
    folder = tmp_path_factory.mktemp("backtest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLL_CHECKPOINTS", str(folder / "checkpoints"))
        yield folder


def run(data, listener=None, folds=3, **plan):
    """A backtest of both places; options of the job in capitals of none."""
    options = {name: plan.pop(name) for name in list(plan) if name in config.DEFAULTS}
    wanted = config.job_of({**QUICK, "name": "waves", "group": "place", "data": data, **options})
    return backtest.run(wanted, backtest.Plan(folds, **plan), listener or job.Listener())


@pytest.fixture(scope="module")
def once(folder):
    """A backtest whose network is fitted once; what was said of it."""
    told = []

    class Heard(job.Listener):
        def found(self, text):
            """Keeps it."""
            told.append(text)

    return run(write(folder, "waves.csv"), Heard(), stride=8), told


def test_every_fold_is_forecast_beside_its_baselines(once):
    """Each fold holds the forecasts of both series that lie in it wholly; errors are by fold, step and series."""
    outcome, told = once
    found = outcome.found
    assert found.origins == (146, 154, 162)
    assert np.bincount(found.folds).tolist() == [14, 14, 14]
    assert set(found.predicted) == {NETWORK, "last value", "seasonal", "seasonal mean", "drift", "mean"}
    assert set(found.errors()[NETWORK]) == {"rmse", "mae", "mase", "smape"}
    assert list(found.by("fold")) == ["146", "154", "162"]
    assert list(found.by("step")) == ["1", "2"]
    assert list(found.by("series")) == ["a", "b"]
    squares = [found.by("step")[step]["drift"]["rmse"] ** 2 for step in ("1", "2")]
    assert found.errors()["drift"]["rmse"] ** 2 == pytest.approx(np.mean(squares))
    assert found.errors()["seasonal mean"]["rmse"] < 2 < found.errors()["mean"]["rmse"]
    assert (found.cutoffs[:, None] < found.times).all()
    assert [line.partition(":")[0] for line in told[1:]] == [
        f"fold {i + 1}, from {o}" for i, o in enumerate(found.origins)
    ]


def test_no_legend_covers_a_curve(once):
    """The legends of the picture lie outside the axes, and name the network and the best baselines."""
    drawn = picture.draw(once[0].found, "title")
    drawn.draw_without_rendering()
    (names,) = drawn.legends
    assert len(names.get_texts()) == 1 + picture.BASELINES
    legends = [names, *filter(None, (axes.get_legend() for axes in drawn.axes))]
    for legend in legends:
        place = legend.get_window_extent()
        assert not any(place.padded(-1).overlaps(axes.get_window_extent()) for axes in drawn.axes)


def test_runs_and_a_table_are_in_mlflow(once, tmp_path):
    """A run holds the errors over all folds, a table of all errors and the picture; a run within it each fold."""
    from mlflow import MlflowClient

    outcome, _ = once
    client, store = MlflowClient(), Store()
    parent = client.get_run(outcome.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["network_rmse"] == outcome.found.errors()[NETWORK]["rmse"]
    assert parent.data.metrics["seasonal_mean_mase"] == outcome.found.errors()["seasonal mean"]["mase"]
    assert parent.data.params["folds"] == "3"
    assert len(client.get_metric_history(outcome.run_id, "val_loss")) == 2
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{outcome.run_id}'")
    assert {run.data.params["origin"] for run in children} == {"146", "154", "162"}
    assert all(run.data.metrics["drift_rmse"] > 0 for run in children)
    table = json.loads(store.run_file(outcome.run_id, backtest.TABLE, tmp_path).read_text())
    assert table["columns"] == ["by", "which", "forecast", "rmse", "mae", "mase", "smape"]
    assert len(table["data"]) == 6 * (1 + 3 + 2 + 2)
    assert store.run_file(outcome.run_id, backtest.PICTURE, tmp_path).stat().st_size > 10_000
    assert parent.info.run_name.startswith("waves backtest: ")
    assert parent.info.run_name.endswith("seed 0")
    described, drift = parent.data.tags["mlflow.note.content"], outcome.found.errors()["drift"]
    assert described.startswith(f"rmse {outcome.found.errors()[NETWORK]['rmse']:.4g}, ")
    assert f"get-artifact?path={backtest.PICTURE}&run_uuid={outcome.run_id}" in described
    assert f"| drift | &emsp;{drift['rmse']:.5g} | &emsp;{drift['mae']:.5g} | " in described


def test_the_table_has_a_row_for_every_value(once):
    """Each forecast value stands beside what came, with its series, fold, cutoff, time and step."""
    found = once[0].found
    table = found.as_table()
    assert table.column_names[:6] == ["place", "fold", "cutoff", "t", "step", "actual"]
    assert table.num_rows == found.expected.size == 84
    assert set(table["place"].to_pylist()) == {"a", "b"}
    assert table["t"].to_pylist()[:2] == [146, 147]
    np.testing.assert_array_equal(table[NETWORK].to_numpy(), found.predicted[NETWORK].reshape(-1))


@pytest.mark.parametrize("refit", [False, True])
def test_no_future_is_seen(folder, once, refit):
    """With other data from the second origin on, every forecast of the first fold is the same to the last bit.

    The same holds for forecasts of the second fold whose window ends before the change.
    """
    first = run(str(folder / "waves.csv"), stride=8, refit=True, folds=2).found if refit else once[0].found
    change = int(first.origins[1])
    changed = run(write(folder, "changed.csv", change), stride=8, refit=refit, folds=len(first.origins)).found
    assert changed.origins == first.origins
    same = first.cutoffs < change
    assert np.count_nonzero(same) == 16
    for who, predicted in first.predicted.items():
        np.testing.assert_array_equal(predicted[same], changed.predicted[who][same], who)
    assert (first.predicted[NETWORK][~same] != changed.predicted[NETWORK][~same]).any()
    assert (first.expected[~same] != changed.expected[~same]).all()


def test_with_refit_each_fold_has_its_own_network(folder):
    """The networks are fitted in the runs of the folds, on more and more rows; classes are forecast too."""
    from mlflow import MlflowClient

    rows = [f"{t},{np.sin(t / 3):.3f},{'up' if np.cos(t / 3) > 0 else 'down'}" for t in range(200)]
    (folder / "ways.csv").write_text("\n".join(["t,x,way", *rows]) + "\n")
    outcome = run(str(folder / "ways.csv"), folds=2, refit=True, target="way", group="", name="ways")
    found = outcome.found
    assert set(found.predicted) == {NETWORK, "last value", "seasonal", "seasonal most frequent", "most frequent"}
    assert set(found.errors()[NETWORK]) == {"error_rate", "log_loss", "calibration_error"}
    assert found.as_table()[NETWORK].to_pylist()[0] in ("up", "down")
    client = MlflowClient()
    experiment = client.get_run(outcome.run_id).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{outcome.run_id}'")
    assert all(len(client.get_metric_history(child.info.run_id, "loss")) == 2 for child in children)
    assert not client.get_metric_history(outcome.run_id, "loss")


def test_of_several_targets_each_is_a_series(folder):
    """Targets of other units are judged by errors without a unit, each beside its own baselines."""
    rows = [f"{t},{np.sin(t / 3):.3f},{1000 * np.cos(t / 3):.1f}" for t in range(150)]
    (folder / "two.csv").write_text("\n".join(["t,y,z", *rows]) + "\n")
    found = run(str(folder / "two.csv"), folds=1, target="y,z", group="", name="two", epochs=0, stride=10).found
    assert list(found.by("series")) == ["y", "z"]
    assert set(found.errors()[NETWORK]) == {"mase", "smape"}
    last = [found.by("series")[target]["last value"]["mase"] for target in ("y", "z")]
    assert found.errors()["last value"]["mase"] == pytest.approx(np.mean(last))
    assert last[0] == pytest.approx(last[1], rel=0.2)
    table = found.as_table()
    assert table.column_names[:3] == ["target", "fold", "cutoff"]
    assert set(table["target"].to_pylist()) == {"y", "z"}


def test_autoets_and_autotheta_are_baselines(folder):
    """With the extra `baselines`, both models of statsforecast are compared as well; of classes they are refused."""
    pytest.importorskip("statsforecast")
    data = str(folder / "waves.csv")
    found = run(data, stride=2, folds=1, epochs=0, statsforecast=True).found
    assert found.errors()["AutoETS"]["rmse"] < found.errors()["mean"]["rmse"]
    assert found.errors()["AutoTheta"]["mase"] < found.errors()["mean"]["mase"]
    with pytest.raises(InvalidArgumentError, match=r"^statsforecast: AutoETS and AutoTheta forecast numbers"):
        run(str(folder / "ways.csv"), folds=1, statsforecast=True, target="way", group="")


def test_mistakes_leave_no_run(folder):
    """Sequences, which have no order in time, and too many folds are refused before a run begins."""
    np.savez(folder / "sequences.npz", x=np.zeros((10, 6, 1)), y=np.zeros(10))
    with pytest.raises(InvalidArgumentError, match=r"^data: a backtest needs a table"):
        run(str(folder / "sequences.npz"), name="none", window=0, horizon=1)
    with pytest.raises(InvalidArgumentError, match=r"^folds: 3 folds with a stride of 90 take 270 steps"):
        run(str(folder / "waves.csv"), name="none", stride=90)
    from mlflow import MlflowClient

    assert MlflowClient().get_experiment_by_name("none") is None


def test_errors_are_shown_and_forecasts_written(folder, monkeypatch):
    """Errors over all folds, by fold and by step are tables; --out has a row for each value, --plot is a picture."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cli.console, "_width", 120)
    rows = [f"{t},{100 + 10 * np.sin(t / 2):.3f}" for t in range(150)]
    (folder / "wave.csv").write_text("\n".join(["t,y", *rows]) + "\n")
    (folder / "wave.yaml").write_text(
        "data: wave.csv\ntime: t\ntarget: y\nwindow: 6\nhorizon: 2\nepochs: 1\nunits: 3\n"
    )
    typed = [
        "--config",
        "wave.yaml",
        "--folds",
        "2",
        "--stride",
        "5",
        "--seed",
        "3",
        "--out",
        "f.csv",
        "--plot",
        "f.png",
    ]
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 0, result.output
    for shown in (
        "Backtest, 2 folds",
        "smape",
        "rmse by fold",
        "rmse by step",
        "last value",
        "drift",
        "fold 2, from 123",
    ):
        assert shown in result.output
    with (folder / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 2
    assert all(len(row["last_value"]) <= len("109.123") for row in rows)  # three decimals, as in the table
    assert rows[0].keys() == {"fold", "cutoff", "t", "step", "actual", "network", "last_value", "drift", "mean"}
    assert (folder / "f.png").stat().st_size > 10_000


def test_options_of_train_are_taken_but_those_of_a_version(folder):
    """Data, network and fitting are named as for `unroll train`; aliases and promotion are no options here."""
    shown = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    for option in ("--window", "--units", "--patience", "--season", "--refit", "--config"):
        assert option in shown
    for option in ("--promote", "--alias", "--resume", "--dense-units"):
        assert option not in shown
    typed = ["--data", str(folder / "waves.csv"), "--time", "t", "--target", "z", "--window", "3"]
    result = CliRunner().invoke(app, typed)
    assert isinstance(result.exception, InvalidArgumentError)
    assert "there is no column 'z'" in str(result.exception)
