"""Sequences of ids in an `.npz` file: embedded inside the network, served and scored as ids."""

import numpy as np
import pytest

from registry.store import Store
from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training import config, job, scoring
from training.options import Source

IDS, LENGTH = 30, 6


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """Sequences of ids, with the class that the last one decides."""
    folder = tmp_path_factory.mktemp("ids")
    x = np.random.default_rng(0).integers(0, IDS, (400, LENGTH))
    x[0, 0] = IDS - 1
    np.savez(folder / "ids.npz", x=x, y=np.where(x[:, -1] % 2, "odd", "even"))
    return folder


def trained(folder, **options):
    """What a job makes of the file."""
    asked = {"data": str(folder / "ids.npz"), "name": "ids", "units": 4, "epochs": 3, "promote": "always"}
    return job.run(config.job_of(asked | options), job.Listener())


def test_ids_are_embedded_inside_the_network(folder):
    """A network of ids begins with an Embedding, has a proof, is scored, and is compared with the champion."""
    outcome = trained(folder)
    assert (outcome.examples.layout.features, outcome.examples.layout.ids) == (("id",), IDS)
    model = scoring.load("models:/ids@champion", folder / "cache")
    (spec,) = model.network.inputs
    assert (len(spec.shape), np.dtype(spec.dtype).kind) == (2, "i")
    assert model.network.weights["embedding/embeddings"].shape == (IDS, round(IDS**0.5))
    assert outcome.fitted.parity < 1
    scoring.score_arrays(model, folder / "ids.npz", folder / "out.csv", lambda *_: None)
    assert len((folder / "out.csv").read_text().splitlines()) == 401
    again = trained(folder, seed=1, promote="better", epochs=0)
    assert again.champion.error is not None
    assert Store().describe("ids").aliases["champion"] in {"1", "2"}


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1, -1]] * 9), "data: x holds ids from -1 to 1; expected 0 to 999999"),
        (np.array([[1, 1_000_000]] * 9), "data: x holds ids from 1 to 1000000; expected 0 to 999999"),
        (np.array([[1.5, 2.0]] * 9), r"data: x is float64 of shape \[9, 2\]; expected numbers \(sequences, "),
    ],
)
def test_what_is_no_id_is_refused(tmp_path, x, message):
    """Negative ids, ids beyond the largest Embedding, and numbers that are no ids are named."""
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(9) % 2 == 0)
    with pytest.raises(InvalidArgumentError, match=message):
        load(Source(str(tmp_path / "x.npz")))
