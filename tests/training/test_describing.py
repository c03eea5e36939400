"""training.describing: names and descriptions in MLflow's UI; those of whole jobs are in test_job.py."""

import pytest

from registry.description import LONGEST
from training import config, describing
from training.evaluation.errors import Measured
from training.evaluation.gate import Champion


def run_name(**more):
    """The name of a run with these options."""
    asked = {"data": "wells.csv", "window": 48, "horizon": 24, "target": "level"} | more
    return describing.run_name(config.job_of({name.replace("_", "-"): value for name, value in asked.items()}))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "simple-rnn 32, window 48, horizon 24, target level, seed 0"),
        ({"network": "gru", "units": [8, 4]}, "gru 8+4, window 48, horizon 24, target level, seed 0"),
        (
            {"learning_rate": 0.1, "residual": True},
            "simple-rnn 32, window 48, horizon 24, target level, residual, learning rate 0.1, seed 0",
        ),
        ({"seed": 3}, "simple-rnn 32, window 48, horizon 24, target level, seed 3"),
        (
            {"calendar": "month", "time": "t", "season": 12},
            "simple-rnn 32, window 48, horizon 24, target level, calendar month, seed 0",
        ),
        (
            {"target": "a,b,c,d", "features": "x,y", "missing": "ffill", "gaps": "split"},
            "simple-rnn 32, window 48, horizon 24, target 4 columns, features x+y, missing ffill, gaps split, seed 0",
        ),
        (
            {"units": 8, "group": "w", "group_embedding": 4, "static": "depth", "future": "a,b", "epochs": 1234},
            "simple-rnn 8, window 48, horizon 24, target level, future a+b, group embedding 4, static depth, "
            "epochs 1…, seed 0",
        ),
    ],
)
def test_names_tell_runs_apart(more, expected):
    """The name of a run has its network, its window, every option that is not the usual one, and always its seed."""
    assert run_name(**more) == f"wells: {expected}"
    assert len(run_name(**more)) <= describing.LONGEST_NAME


def test_a_name_has_no_window_where_the_data_has_its_own():
    """Sequences have a length of their own, and texts have no horizon."""
    assert describing.run_name(config.job_of({"data": "a.npz"})) == "a: simple-rnn 32, seed 0"
    texts = {"data": "a.csv", "text": "review", "text-unit": "char", "target": "label", "window": 60}
    assert describing.run_name(config.job_of(texts)) == "a: gru 32, window 60, text unit char, target label, seed 0"


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
