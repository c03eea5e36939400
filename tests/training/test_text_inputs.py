"""Columns of text and the names of series as inputs, from training to the forecast."""

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.references import parse
from registry.store import Store
from service.model import keras_file
from service.model import proof as proofs
from service.snapshot import VersionEntry
from tests.service.support import entry, serving
from tests.training.commands import run
from tests.training.data.tables import numbers, write
from training import config, job, scoring
from training.data.layout import Layout

OPTIONS = {
    "time": "t", "target": "y", "group": "well id", "categorical": "kind", "group-embedding": 3, "window": 4,
    "horizon": 2, "units": 4, "epochs": 3, "name": "wells", "promote": "always",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of two wells with a kind of each day, and a version trained on it."""
    folder = tmp_path_factory.mktemp("wells")
    days = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]").astype(str).tolist()
    noise = np.array(numbers(200))
    kinds = np.where(noise > 0.5, "wet", np.where(noise < -0.5, "dry", "")).tolist()
    y = np.round(noise + np.repeat([10, 500], 100), 3)
    write(folder / "wells.csv", t=days * 2, **{"well id": ["a"] * 100 + ["b"] * 100}, y=y, kind=kinds)
    job.run(config.job_of({"data": str(folder / "wells.csv"), **OPTIONS}), job.Listener())
    return folder


@pytest.fixture(scope="module")
def version(folder):
    """The version, its folder, and the digest of its file."""
    version = Store().resolve(parse("models:/wells@champion"))
    return version, *Cache(folder / "cache").fetch(Store(), version)


def test_texts_are_inputs_with_their_vocabulary_in_the_file(version):
    """Each column is an input of strings; the file knows the words, and the proof holds texts."""
    network = keras_file.read(version[1] / MODEL_FILE)
    assert [(spec.name, spec.shape) for spec in network.declared] == [
        ("sequence", (None, 4, 1)), ("kind", (None, 4)), ("well_id", (None, 4)),
    ]  # fmt: skip
    assert 0 <= proofs.replay(network, proofs.load(version[1] / PROOF_FILE)) <= 1
    assert network.weights["well_id_embedding/embeddings"].shape == (3, 3)
    assert Layout.loads(version[0].tags[tag.DATA]).categories == ("kind", "well id")


def test_texts_that_training_did_not_see_share_a_row(version):
    """A series or kind that is not in the vocabulary is predicted, like any other that is not."""
    network = keras_file.read(version[1] / MODEL_FILE)
    sequence = np.full((3, 4, 1), 20, np.float32)
    wells = np.array([["a"] * 4, ["c"] * 4, ["d"] * 4], object)
    output = network.forward({"sequence": sequence, "kind": np.full((3, 4), "wet", object), "well_id": wells})
    known, *others = output.outputs["output"]
    assert (others[0] == others[1]).all()
    assert (known != others[0]).any()


def test_keras_and_mlflow_open_the_version(version):
    """MLflow loads the version and computes its input example, texts included."""
    import mlflow.keras

    model = mlflow.keras.load_model("models:/wells@champion")
    proof = proofs.load(version[1] / PROOF_FILE)
    found = model([proof.inputs[tensor.name] for tensor in model.inputs])
    np.testing.assert_allclose(found, proof.outputs["output"], rtol=1e-5)


def test_scores_and_forecasts_agree(folder, version):
    """Scores, forecasts of the registry and of a server, and the client's own windows give the same."""
    held, path, digest = version
    loaded = scoring.load("models:/wells@champion", folder / "cache")
    scoring.score(loaded, folder / "wells.csv", folder / "s.csv", lambda *_: None)
    scored = pyarrow.csv.read_csv(folder / "s.csv").to_pandas()
    last = scored.iloc[[99, 199]][["prediction_1", "prediction_2"]].to_numpy()
    table = pd.read_csv(folder / "wells.csv", keep_default_na=False)
    rows = np.array([99, 199])[:, None] + np.arange(-3, 1)
    feeds = {"sequence": table["y"].to_numpy(np.float32)[rows][..., None]}
    feeds |= {"kind": table["kind"].to_numpy(object)[rows], "well_id": table["well id"].to_numpy(object)[rows]}
    held = VersionEntry("1", digest, str(path), data=held.tags[tag.DATA], engines=("numpy", "numpy"))
    given = ["--data", folder / "wells.csv", "--model", "models:/wells@champion", "--out", folder / "f.csv"]
    with serving(entry("wells", "champion", v1=held)) as (_, client):
        assert list(client.model("wells").versions[0].data.categories) == ["kind", "well id"]
        own = client.predict(feeds, model="wells", levels=[80])
        assert own.intervals[80][0].shape == (2, 2)
        made = []
        for more in (["--address", client.address], ["--cache", folder / "cache"]):
            run("forecast", *given, *more)
            made.append(pyarrow.csv.read_csv(folder / "f.csv").to_pandas()["prediction"].to_numpy().reshape(2, 2))
    for found in (last, *made):
        np.testing.assert_allclose(found, own.output, rtol=1e-5)


def test_no_prediction_depends_on_later_rows(folder, tmp_path):
    """Whatever stands in later rows, numbers, texts or times, a row's prediction is the same."""
    loaded = scoring.load("models:/wells@champion", folder / "cache")
    table = pd.read_csv(folder / "wells.csv", keep_default_na=False)
    predicted = []
    for change in (False, True):
        if change:
            later = np.flatnonzero(np.tile(np.arange(100) >= 60, 2))
            table.loc[later, "y"] = table.loc[later, "y"].to_numpy()[::-1] * 3
            table.loc[later, "kind"] = "new"
        table.to_csv(tmp_path / "t.csv", index=False)
        scoring.score(loaded, tmp_path / "t.csv", tmp_path / "s.csv", lambda *_: None)
        predicted.append(pyarrow.csv.read_csv(tmp_path / "s.csv").to_pandas()["prediction_2"].to_numpy())
    before = np.tile(np.arange(100) < 60, 2)
    np.testing.assert_array_equal(predicted[0][before], predicted[1][before])
    assert (predicted[0][~before] != predicted[1][~before]).any()
