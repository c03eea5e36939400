"""All kinds of inputs and targets together, in one network."""

import numpy as np
import pytest
from mlflow import MlflowClient

from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.store import Store
from service.model import keras_file
from service.model import proof as proofs
from tests.training.data.tables import numbers, write
from training import config, forecasting, job, scoring
from training.evaluation.errors import named

EVERYTHING = {
    "time": "t", "group": "place", "group-embedding": 2, "categorical": "kind", "future": "plan",
    "static": "depth,soil", "calendar": "weekday,month", "window": 5, "horizon": 2, "epochs": 0, "promote": "always",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of three places with columns of every kind."""
    folder = tmp_path_factory.mktemp("everything")
    days = np.arange("2024-01-15", "2024-05-15", dtype="datetime64[D]").astype(str).tolist()
    count = 3 * len(days)
    noise = np.array(numbers(count))
    write(
        folder / "all.csv", t=days * 3, place=np.repeat(["n", "s", "w"], len(days)), level=100 + noise,
        flow=noise[::-1], kind=np.where(noise > 0, "a", "b"), plan=numbers(count, seed=1),
        depth=np.repeat([3, 5, 8], len(days)), soil=np.repeat(["sand", "clay", "sand"], len(days)),
        state=np.where(noise[::-1] > 0, "up", "down"),
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {
            "target": "level,flow",
            "residual": True,
            "network": "gru",
            "units": "4,3",
            "bidirectional": True,
            "dropout": 0.1,
        },
        {"target": "state", "network": "lstm", "units": 3},
    ],
)
def test_everything_in_one_network(folder, options):
    """Such a network is proven, and its version scores and forecasts the table."""
    wanted = {"data": str(folder / "all.csv"), "name": "all", **EVERYTHING, **options}
    outcome = job.run(config.job_of(wanted), job.Listener())
    version = Store().version("all", outcome.version)
    path, _ = Cache(folder / "cache").fetch(Store(), version)
    network = keras_file.read(path / MODEL_FILE)
    assert [spec.name for spec in network.inputs] == ["sequence", "kind", "soil", "place", "future"]
    assert 0 <= proofs.replay(network, proofs.load(path / PROOF_FILE)) <= 1
    model = scoring.load(f"models:/all/{outcome.version}", folder / "cache")
    assert scoring.score(model, folder / "all.csv", folder / "s.csv", lambda *_: None).predicted == 3 * (121 - 4 - 2)
    described = MlflowClient().get_model_version("all", outcome.version).description
    assert (
        "`kind`, `soil`, and from which series it is (`place`); `plan` is known for the steps to predict. " in described
    )
    assert "\n\npromoted: --promote always\n\n" in described

    table = (folder / "all.csv").read_text().splitlines()
    opened = [line if line.split(",")[0] < "2024-05-13" else _only_plan(line) for line in table]
    (folder / "open.csv").write_text("\n".join([table[0], *opened[1:]]) + "\n")

    errors = []

    def predict(inputs, _levels, recent=None):
        errors.append(recent)
        return next(iter(network.forward(named(network, inputs)).outputs.values())), {}

    forecasts = forecasting.forecast(predict, model.layout, folder / "open.csv", levels=[80], adaptive=3)
    if len(model.layout.targets) > 1:  # numbers, whose past errors are known
        assert errors[-1].shape == (3, 2)
        assert np.isfinite(errors[-1]).all()
        assert not forecasts.plain
    found = forecasts.found
    assert [str(time.date()) for time in found[0].times][-1] == "2024-05-14"
    assert len(found) == 3 * len(model.layout.predicted)


def _only_plan(line):
    """A line of the table with nothing but what is known ahead, and what is constant."""
    t, place, _, _, _, plan, depth, soil, _ = line.split(",")
    return ",".join([t, place, "", "", "", plan, depth, soil, ""])
