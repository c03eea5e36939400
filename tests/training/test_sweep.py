"""Sweeps: what is open in a file, trials as runs within a run, the best through the gate; and on a Ray cluster."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from registry.store import Store
from service.errors import InvalidArgumentError
from training import job, sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A small sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    rows = [f"{t},{100 + 10 * np.sin(t / 3):.3f}" for t in range(150)]
    (folder / "wave.csv").write_text("\n".join(["t,y", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLL_CHECKPOINTS", str(folder / "checkpoints"))
        yield {
            "data": str(folder / "wave.csv"), "time": "t", "target": "y", "window": 6, "epochs": 1, "units": 3,
            "promote": "always",
            "sweep": {"units": [[2], [3, 2]], "learning-rate": {"low": 0.001, "high": 0.1, "log": True}},
        }  # fmt: skip


def runs(experiment):
    """The runs of an experiment: the sweep's, and those within it."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    return parent, [run for run in found if run is not parent]


def test_trials_are_runs_within_the_sweep_and_the_best_is_registered(document):
    """Each trial is a nested run with its options and error; the best one, fitted again, is what is registered."""
    told = []
    named = {**document, "name": "swept"}
    outcome = sweep.run(named, 2, 2, "", job.Listener(), lambda trial, count: told.append((trial, count)))
    assert [count for _, count in told] == [1, 2]
    errors = [trial.error for trial in outcome.trials]
    assert errors == sorted(errors)
    assert all(0.001 <= trial.values["learning-rate"] <= 0.1 for trial in outcome.trials)
    parent, children = runs("swept")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.run_id for run in children} == {trial.run_id for trial in outcome.trials} | {outcome.best.run_id}
    tried = {run.info.run_id: run for run in children}
    for trial in outcome.trials:
        run = tried[trial.run_id]
        assert run.data.metrics["validation_rmse"] == trial.error
        assert run.data.params["units"] == ",".join(map(str, trial.values["units"]))
    assert Store().describe("swept").aliases == {"champion": outcome.best.version} == {"champion": "1"}
    assert tried[outcome.best.run_id].data.params["units"] == tried[outcome.trials[0].run_id].data.params["units"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (None, "config: there is no 'sweep', a mapping of options"),
        ({}, "config: there is no 'sweep', a mapping of options"),
        ({"unit": [1]}, "config: 'unit' cannot be tried in a sweep"),
        ({"data": ["a.csv"]}, "config: 'data' cannot be tried in a sweep"),
        ({"epochs": ["many"]}, "epochs: expected a whole number, got 'many'"),
        ({"network": {"low": 1, "high": 2}}, "config: network is not a number; list the choices"),
        ({"epochs": {"low": 3, "high": 2}}, "config: for epochs expected choices, [1, 2], or a range"),
        ({"epochs": 3}, "config: for epochs expected choices, [1, 2], or a range"),
    ],
)
def test_what_cannot_be_tried_is_one_line(document, space, message):
    """A sweep that makes no sense is refused before anything is run, by the option."""
    with pytest.raises(InvalidArgumentError) as caught:
        sweep.run({**document, "sweep": space}, 1, 1, "", job.Listener(), lambda *_: None)
    assert caught.value.message.startswith(message)


def test_trials_that_fail_are_told(document):
    """Where no trial can be fitted, the error of the first one is that of the sweep."""
    hopeless = {**document, "name": "hopeless", "sweep": {"window": [500]}}
    told = []
    with pytest.raises(InvalidArgumentError, match=r"^window: 500 timesteps and horizon 1 need 501 rows in a row"):
        sweep.run(hopeless, 1, 1, "", job.Listener(), lambda trial, _: told.append(trial))
    assert told[0].startswith("window: 500 timesteps")
    assert runs("hopeless")[0].info.status == "FAILED"


@pytest.fixture
def cluster():
    """A Ray cluster of two nodes on this machine; gives its address."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_a_cluster_runs_the_same_sweep(document, cluster, registry, tmp_path):
    """On a Ray cluster of two nodes the sweep gives the same trials; Ray Data scores as `unroll score` does."""
    outcome = sweep.run(
        {**document, "name": "spread", "sweep": {"units": [[2], [3]]}}, 2, 2, cluster, job.Listener(), lambda *_: None
    )
    assert len(outcome.trials) == 2
    assert len(runs("spread")[1]) == 3
    from pyarrow import parquet

    table, reference = document["data"], "models:/spread@champion"
    environment = {**os.environ, "RAY_ADDRESS": cluster, "PYTHONPATH": str(ROOT)}
    example = [sys.executable, str(ROOT / "examples/score_with_ray.py"), table, "y", "6", reference]
    ours = [sys.executable, "-m", "service.cli", "score", "--data", table, "--model", reference, "--out"]
    for command in ([*example, str(tmp_path / "ray.parquet")], [*ours, str(tmp_path / "ours.parquet")]):
        subprocess.run(command, env=environment, check=True, cwd=registry)
    theirs = np.array(parquet.read_table(tmp_path / "ray.parquet")["prediction"].to_pylist())[:, 0]
    own = parquet.read_table(tmp_path / "ours.parquet")["prediction"].to_numpy()[5:]
    np.testing.assert_allclose(theirs, own, rtol=1e-5)
