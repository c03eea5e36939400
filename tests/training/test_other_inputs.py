"""A champion that reads other inputs than the new version: the gate compares both on the same held-out targets."""

import numpy as np
import pytest

from tests.training.data.tables import numbers, write
from training import config, job

TREND = {"target": "level", "time": "day", "group": "place", "features": "level", "window": 5, "units": 3, "epochs": 1}


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of two places with columns of every kind, and the same table with fewer."""
    folder = tmp_path_factory.mktemp("inputs")
    days = np.arange("2024-01-15", "2024-05-15", dtype="datetime64[D]").astype(str).tolist()
    count = 2 * len(days)
    level = np.array(numbers(count))
    columns = {
        "day": days * 2, "place": np.repeat(["n", "s"], len(days)), "level": level,
        "way": np.where(level > 0, "up", "down"),
    }  # fmt: skip
    more = {
        "wind": [*numbers(100, seed=1), "", *numbers(count - 101, seed=1)], "plan": numbers(count, seed=2),
        "kind": np.where(level[::-1] > 0, "a", "b"), "depth": np.repeat([3, 5], len(days)),
    }  # fmt: skip
    write(folder / "all.csv", **columns, **more)
    write(folder / "few.csv", **columns)
    return folder


def trained(folder, name, table="all.csv", **options):
    """What a job on a table gave, with three folds in its gate."""
    wanted = {"data": str(folder / table), "name": name, "gate-folds": 3, **TREND, **options}
    return job.run(config.job_of(wanted), job.Listener())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"calendar": "weekday,month"}, {}),
        ({}, {"calendar": "weekday"}),
        ({}, {"group-embedding": 2, "static": "depth"}),
        ({"categorical": "kind"}, {"horizon": 2, "window": 7}),
        ({"future": "plan", "horizon": 2}, {"horizon": 2}),
        ({"target": "way", "calendar": "weekday"}, {"target": "way", "categorical": "kind"}),
    ],
)
def test_a_champion_of_other_inputs_is_judged_on_the_same_targets(folder, before, after):
    """Whatever was added or left out, both have the errors that they have alone, on everything and in each fold."""
    name = "-".join(["other", *before, "to", *after])
    first = trained(folder, name, **before, promote="always")
    outcome = trained(folder, name, **after)
    champion, own = outcome.champion, outcome.measured
    assert champion.reason == ""
    assert None not in (champion.error, champion.challenger_error)
    if before.get("horizon") == after.get("horizon"):  # else fewer steps are compared
        assert champion.error == pytest.approx(first.measured.network[own.metric])
        assert champion.challenger_error == pytest.approx(own.network[own.metric])
        pairs = zip(first.measured.folds["network"], own.folds["network"], strict=True)
        assert champion.folds == tuple(map(pytest.approx, pairs))


def test_where_missing_values_were_left_out_both_have_the_remaining_targets(folder):
    """A champion whose feature has holes is asked for the targets of which it has a window, and so is the other."""
    wind = {"features": "level,wind", "missing": "drop", "test": 0.4}
    first = trained(folder, "holes", **wind, promote="always")
    outcome = trained(folder, "holes", test=0.4)
    assert len(first.examples.parts.test) < len(outcome.examples.parts.test)
    assert outcome.champion.error == pytest.approx(first.measured.network["rmse"])
    assert outcome.champion.challenger_error != outcome.measured.network["rmse"]


def test_a_column_that_only_the_champion_reads_has_to_be_in_the_table(folder):
    """Without it the two are not compared, the reason names the column, and the new version stays challenger."""
    trained(folder, "lost", features="level,plan", promote="always")
    outcome = trained(folder, "lost", table="few.csv")
    assert outcome.alias == "challenger"
    assert outcome.decision.reason == (
        "the champion, version 1, cannot be compared: it cannot read this data: features: there is no column 'plan'; "
        "did you mean 'place'?"
    )


def test_a_champion_of_another_task_is_not_compared(folder):
    """Another target, classes so far ahead, or numbers at the window's end: other inputs do not change that."""
    trained(folder, "task", target="way", calendar="weekday", promote="always")
    assert trained(folder, "task").champion.reason == "its target is way, not level"
    assert trained(folder, "task", target="way", horizon=2).champion.reason == "its horizon is 1, not 2"
