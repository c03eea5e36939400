"""Columns that are known ahead, from training to the forecast."""

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model import proof as proofs
from service.snapshot import VersionEntry
from tests.service.support import entry, serving
from tests.training.commands import run
from tests.training.data.tables import load, numbers, write
from training import config, job, scoring
from training.data.layout import Layout
from training.options import Source

OPTIONS = {
    "time": "t", "target": "y", "group": "place", "categorical": "kind", "future": "plan,free", "window": 4,
    "horizon": 3, "units": 4, "epochs": 12, "name": "plans", "promote": "always", "learning-rate": 0.03,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of two places whose values follow a plan, and a version trained on it."""
    folder = tmp_path_factory.mktemp("plans")
    days = np.arange("2024-01-01", "2024-07-19", dtype="datetime64[D]").astype(str).tolist()
    plan = np.array(numbers(400))
    y = np.round(100 + 10 * plan + 0.1 * np.array(numbers(400, seed=1)), 3)
    free = np.where(np.arange(400) % 7 > 4, "true", "false")
    kind = np.where(plan[::-1] > 0, "a", "b")
    write(folder / "plans.csv", t=days * 2, place=["n"] * 200 + ["s"] * 200, y=y, plan=plan, free=free, kind=kind)
    job.run(config.job_of({"data": str(folder / "plans.csv"), **OPTIONS}), job.Listener())
    table = pd.read_csv(folder / "plans.csv")
    table.loc[table["t"] >= "2024-07-16", ["y", "kind"]] = np.nan
    table.to_csv(folder / "open.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def version(folder):
    """The version, its folder, and the digest of its file."""
    version = Store().resolve(parse("models:/plans@champion"))
    return version, *Cache(folder / "cache").fetch(Store(), version)


def test_what_is_known_ahead_is_an_input(version):
    """The input `future` holds the horizon's rows; the proof and the layout know it, and so does the error."""
    network = keras_file.read(version[1] / MODEL_FILE)
    assert [(spec.name, spec.shape) for spec in network.declared] == [
        ("sequence", (None, 4, 3)), ("kind", (None, 4)), ("future", (None, 3, 2)),
    ]  # fmt: skip
    assert 0 <= proofs.replay(network, proofs.load(version[1] / PROOF_FILE)) <= 1
    layout = Layout.loads(version[0].tags[tag.DATA])
    assert (layout.features, layout.future) == (("y", "plan", "free"), ("plan", "free"))
    assert float(version[0].tags[tag.ERROR]) < 0.5 * float(version[0].tags[tag.BASELINE_ERROR])


def test_windows_see_the_rows_of_their_targets_and_no_later_ones(folder):
    """What a window knows of the future is the plan in the rows of its targets; all else ends with the window."""
    data = {
        "data": str(folder / "plans.csv"),
        "target": ("y",),
        "time": "t",
        "group": "place",
        "categorical": ("kind",),
    }
    examples, _ = load(Source(**data, future=("plan", "free"), window=4, horizon=3))
    for part in examples.parts.named().values():
        feeds = part.feeds()
        for i, start in enumerate(part.starts):
            np.testing.assert_array_equal(feeds["future"][i], part.values[start + 4 : start + 7, 1:])
            np.testing.assert_array_equal(feeds["sequence"][i], part.values[start : start + 4])


def test_planned_rows_are_left_out_of_training(folder, tmp_path):
    """A table that goes on with planned rows trains what it trains without them; a missing value before is an error."""
    options = {"target": ("y",), "time": "t", "group": "place", "future": ("plan",), "window": 4, "horizon": 3}
    table = pd.read_csv(folder / "plans.csv")[["t", "place", "y", "plan"]].assign(depth=1.5 + np.arange(400) // 100)
    planned = table["t"] >= "2024-07-16"
    table[~planned].to_csv(tmp_path / "past.csv", index=False)
    table.loc[planned, "y"] = np.nan
    table.to_csv(tmp_path / "all.csv", index=False)
    past, _ = load(Source(str(tmp_path / "past.csv"), **options))
    both, found = load(Source(str(tmp_path / "all.csv"), **options))
    assert "6 rows behind the last value of 'y' are planned ones: left out" in found
    for name, part in past.parts.named().items():
        np.testing.assert_array_equal(part.feeds()["future"], both.parts.named()[name].feeds()["future"])
        np.testing.assert_array_equal(part.expected(), both.parts.named()[name].expected())
    table.loc[7, "y"] = np.nan
    table.to_csv(tmp_path / "hole.csv", index=False)
    with pytest.raises(InvalidArgumentError, match="missing: no value for 'y' in 1 of 394 rows"):
        load(Source(str(tmp_path / "hole.csv"), **options))


def test_scores_and_forecasts_agree(folder, version):
    """The forecast of a table that goes on with the plan alone is the score of the last row with all values."""
    held, path, digest = version
    loaded = scoring.load("models:/plans@champion", folder / "cache")
    steps = [f"prediction_{step}" for step in (1, 2, 3)]
    done = scoring.score(loaded, folder / "plans.csv", folder / "s.csv", lambda *_: None)
    assert (done.rows, done.predicted) == (400, 2 * (200 - 3 - 3))
    scored = pyarrow.csv.read_csv(folder / "s.csv").to_pandas()
    expected = scored[scored["t"].astype(str) == "2024-07-15"][steps].to_numpy().ravel()
    held = VersionEntry("1", digest, str(path), data=held.tags[tag.DATA], engines=("numpy", "numpy"))
    given = ["--model", "models:/plans@champion", "--level", "80", "--out", folder / "f.csv"]
    with serving(entry("plans", "champion", v1=held)) as (_, client):
        assert list(client.model("plans").versions[0].data.future) == ["plan", "free"]
        for more in (["--address", client.address], ["--cache", folder / "cache"]):
            run("forecast", "--data", folder / "open.csv", *given, *more)
            made = pyarrow.csv.read_csv(folder / "f.csv").to_pandas()
            np.testing.assert_allclose(made["prediction"], expected, rtol=1e-5)
            assert made["t"].astype(str).tolist() == ["2024-07-16", "2024-07-17", "2024-07-18"] * 2
    needed = (
        "data: series 'n': the network needs 'plan', 'free' in the 3 rows behind the last value, and the file has 0"
    )
    with pytest.raises(InvalidArgumentError, match=f"{needed}; missing: 2024-07-19 to 2024-07-21"):
        run("forecast", "--data", folder / "plans.csv", *given, "--cache", folder / "cache")


def test_predictions_depend_on_later_rows_by_the_plan_alone(folder, tmp_path):
    """Of the rows behind a window a prediction sees the declared columns, for its own steps, and nothing else."""
    loaded = scoring.load("models:/plans@champion", folder / "cache")

    def predicted(**changes):
        table = pd.read_csv(folder / "plans.csv")
        later = np.tile(np.arange(200) >= 120, 2)
        for name, value in changes.items():
            table.loc[later, name] = value
        table.to_csv(tmp_path / "t.csv", index=False)
        scoring.score(loaded, tmp_path / "t.csv", tmp_path / "s.csv", lambda *_: None)
        return pyarrow.csv.read_csv(tmp_path / "s.csv").to_pandas()["prediction_3"].to_numpy().reshape(2, 200)

    plain, others, plan = predicted(), predicted(y=5.0, kind="new"), predicted(plan=3.0)
    np.testing.assert_array_equal(plain[:, :120], others[:, :120])
    np.testing.assert_array_equal(plain[:, :117], plan[:, :117])
    assert (plain[:, 117:120] != plan[:, 117:120]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"future": ("y",)}, "future: column 'y' is what is to be predicted"),
        ({"future": ("paln",)}, "future: there is no column 'paln'; did you mean 'plan'?"),
        ({"future": ("kind",)}, "future: column 'kind' holds text, or numbers and text; expected numbers"),
        ({"future": ("plan",), "horizon": 0}, "future: with horizon 0 nothing lies ahead"),
    ],
)
def test_mistakes_are_one_line(folder, options, message):
    """Columns that cannot be known ahead are refused in one line."""
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(str(folder / "plans.csv"), **{"target": ("y",), "window": 3, "group": "place", **options}))
    assert caught.value.message.startswith(message)
