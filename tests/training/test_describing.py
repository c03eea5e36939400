"""training.describing: names and descriptions in MLflow's UI; those of whole jobs are in test_job.py."""

from registry.description import LONGEST
from training import config, describing
from training.evaluation.errors import Measured
from training.evaluation.gate import Champion


def test_names_tell_runs_apart():
    """The name of a run has its network, its window, and every option that is not the usual one."""
    usual = {"data": "wells.csv", "window": 48, "horizon": 24, "target": "level"}
    names = [
        describing.run_name(config.job_of({**usual, **more}))
        for more in ({}, {"network": "gru", "units": [8, 4]}, {"learning-rate": 0.1, "residual": True}, {"seed": 3})
    ]
    assert names == [
        "wells: simple-rnn 32, window 48, horizon 24, seed 0",
        "wells: gru 8+4, window 48, horizon 24, seed 0",
        "wells: simple-rnn 32, window 48, horizon 24, residual, learning rate 0.1, seed 0",
        "wells: simple-rnn 32, window 48, horizon 24, seed 3",
    ]


def test_the_table_of_the_gate():
    """Version, champion and baselines have a row each; the version one more where the champion predicts less."""
    measured = Measured("rmse", {"rmse": 2.0, "mae": 1.0}, {"mean": {"rmse": 3.0, "mae": 2.0}})
    columns, rows = describing.gate(measured, Champion("4", 2.5, 1.5))
    assert columns == ["on held-out data", "rmse", "mae"]
    assert rows == [
        ["this version", 2.0, 1.0],
        ["champion, version 4", 2.5, None],
        ["this version, on what the champion predicts too", 1.5, None],
        ["baseline: mean", 3.0, 2.0],
    ]
    assert len(describing.gate(measured, Champion("4", None, None, "why not"))[1]) == 2


def test_a_sweep():
    """A sweep lists the values of its best trials with their errors, and is never too long."""
    text = describing.sweep([({"units": (8,), "window": 24}, 1.25), ({"units": (4,), "window": 12}, 2.5)])
    assert text.startswith("validation error 1.25, best of 2 trials\n")
    assert "| (8,) | 24 | &emsp;1.25 |" in text
    assert len(describing.sweep([({"x" * 5000: 1}, 1.0)])) == LONGEST
