"""Several targets in one network, from training to the forecast."""

import numpy as np
import pyarrow.csv
import pytest

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import intervals, keras_file
from service.model import proof as proofs
from service.snapshot import VersionEntry
from tests.service.support import entry, serving
from tests.training.commands import run
from tests.training.data.tables import numbers, write
from training import config, job, scoring
from training.data.examples import load
from training.data.layout import Layout
from training.evaluation.errors import predict

QUICK = {"units": 4, "epochs": 2, "window": 6, "horizon": 3, "time": "t", "name": "both", "promote": "always"}


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """A table of two series in units of their own, and one beside them."""
    folder = tmp_path_factory.mktemp("targets")
    days = np.arange("2021-01-01", "2021-07-20", dtype="datetime64[D]")
    steps = np.arange(len(days))
    noise = np.array(numbers(len(days)))
    heat = np.round(5000 + 300 * np.sin(steps / 5) + 20 * noise, 2)
    rain = np.round(0.5 + 0.1 * np.cos(steps / 5) + 0.01 * noise[::-1], 4)
    write(folder / "both.csv", t=days, heat=heat, z=noise, rain=rain, kind=np.where(noise > 0, "a", "b"))
    return folder


def wanted(folder, **options):
    """A job that predicts both series, not in the order of the table."""
    return config.job_of({"data": str(folder / "both.csv"), "target": "rain,heat", **QUICK, **options})


@pytest.fixture(scope="module")
def first(folder):
    """The first version: what the job gave."""
    return job.run(wanted(folder, residual=True, conformal="adaptive"), job.Listener())


@pytest.fixture(scope="module")
def fetched(first, folder):
    """The version, and its folder."""
    version = Store().version("both", first.version)
    return version, Cache(folder / "cache").fetch(Store(), version)[0]


def test_each_target_is_an_output_in_its_own_units(first, fetched, folder):
    """The output is (batch, horizon, targets); the proof, the layout and the intervals say so too."""
    version, path = fetched
    network = keras_file.read(path / MODEL_FILE)
    assert network.outputs[0].shape == (None, 3, 2)
    assert 0 <= proofs.replay(network, proofs.load(path / PROOF_FILE)) <= 1
    layout = Layout.loads(version.tags[tag.DATA])
    assert (layout.target, layout.targets, layout.features) == ("rain", ("rain", "heat"), ("heat", "z", "rain"))
    predicted = predict(network, load(wanted(folder).source, lambda *_: None, lambda _: None).parts.test)
    assert (np.abs(predicted.mean(axis=(0, 1)) - [0.5, 5000]) < [1, 1000]).all()
    assert intervals.intervals_of(path, network).half_widths[80].shape == (3, 2)
    assert set(first.measured.coverage) >= {50, 80}
    scaled = intervals.intervals_of(path, network).adaptive
    assert (scaled.quantiles[80].shape, scaled.floor.shape) == ((3, 2), (2,))
    of_each = [one.adaptive_coverage[80] for one in first.measured.by_target.values()]
    assert first.measured.adaptive_coverage[80] == pytest.approx(np.mean(of_each))


def test_errors_by_target_and_as_one(first):
    """Each target has its own errors and baselines; one number, relative to the deviations, decides."""
    from mlflow import MlflowClient

    measured, expected = first.measured, first.examples.parts.test.expected()
    assert (measured.metric, set(measured.network), list(measured.by_target)) == (
        "nrmse", {"nrmse", "nmae"}, ["rain", "heat"],
    )  # fmt: skip
    units = expected.astype(np.float64).std(axis=(0, 1))
    for figures, each in (
        (measured.network, [one.network for one in measured.by_target.values()]),
        (measured.baselines["last value"], [one.baselines["last value"] for one in measured.by_target.values()]),
    ):
        assert figures["nrmse"] == pytest.approx(np.mean([e["rmse"] / u for e, u in zip(each, units, strict=True)]))
    metrics = MlflowClient().get_run(first.run_id).data.metrics
    assert metrics["held_out_rmse.heat"] == measured.by_target["heat"].network["rmse"]
    described = MlflowClient().get_model_version("both", first.version).description
    assert "| target | rmse | mae | best baseline | its rmse | its mae |" in described
    assert f"| heat | &emsp;{metrics['held_out_rmse.heat']:.5g} | " in described


def test_a_residual_follows_each_target_by_itself(fetched):
    """With `residual`, what is added to a target's past is added to its own forecast and to no other."""
    network = keras_file.read(fetched[1] / MODEL_FILE)
    windows = np.random.default_rng(0).normal([5000, 0, 0.5], [100, 1, 0.1], (4, 6, 3)).astype(np.float32)
    higher = windows + np.array([64, 0, 0], np.float32)
    one, other = (network.forward({"sequence": x}).outputs["output"] for x in (windows, higher))
    np.testing.assert_allclose(other - one, np.broadcast_to([0, 64], (4, 3, 2)), atol=2e-2)


def test_the_gate_compares_versions_of_the_same_targets(first, folder):
    """A later version is compared by the one number; a version of other targets is not compared."""
    outcome = job.run(wanted(folder, epochs=0, promote="better", window=4), job.Listener())
    assert outcome.champion.version == first.version
    assert outcome.champion.error == pytest.approx(first.measured.network["nrmse"], rel=0.2)
    other = job.run(wanted(folder, epochs=0, promote="better", target="heat"), job.Listener())
    assert other.champion.reason == "its target is rain, heat, not heat"


def test_scores_and_forecasts_agree(first, folder):
    """A score has a column for each target and step; the last row's predictions are the forecast."""
    reference = f"models:/both/{first.version}"
    scoring.score(scoring.load(reference, folder / "cache"), folder / "both.csv", folder / "s.csv", lambda *_: None)
    scored = pyarrow.csv.read_csv(folder / "s.csv").to_pandas()
    steps = [f"prediction_{name}_{step}" for name in ("rain", "heat") for step in (1, 2, 3)]
    assert list(scored.columns) == ["t", *steps]
    assert scored[steps].iloc[5:].notna().all().all()
    version = Store().resolve(parse(reference))
    path, digest = Cache(folder / "cache").fetch(Store(), version)
    held = VersionEntry(first.version, digest, str(path), data=version.tags[tag.DATA], engines=("numpy", "numpy"))
    given = ["--data", folder / "both.csv", "--model", reference, "--level", "50,80"]
    given += ["--out", folder / "f.csv", "--plot", folder / "f.png"]
    with serving(entry("both", "champion", **{f"v{first.version}": held})) as (_, client):
        assert list(client.model("both").versions[0].data.targets) == ["rain", "heat"]
        printed = [run("forecast", *given, *more) for more in (["--address", client.address], [])]
    assert printed[0] == printed[1]
    assert "2021-07-20" in printed[0]
    made = pyarrow.csv.read_csv(folder / "f.csv").to_pandas()
    assert list(made.columns[:3]) == ["target", "t", "prediction"]
    np.testing.assert_allclose(made["prediction"], scored[steps].iloc[-1], rtol=1e-5)
    assert (made["lower_50"] >= made["lower_80"]).all()
    assert (folder / "f.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "heat,kind"}, "target: several targets have to be numbers, but column 'kind' holds text"),
        ({"target": "heat,snow"}, "target: there is no column 'snow'; there are: t, heat"),
        ({"target": "heat,heat"}, "target: 'heat' is named twice"),
        ({"residual": True, "features": "heat"}, "residual: the target 'rain' has to be a number and among"),
        ({"horizon": 0, "features": "heat,z"}, "features: column 'heat' is a target, and with horizon 0 not known"),
    ],
)
def test_mistakes_are_one_line(folder, options, message):
    """Targets that cannot be predicted together are refused in one line that names the column."""
    with pytest.raises(InvalidArgumentError) as caught:
        job.run(wanted(folder, **options), job.Listener())
    assert caught.value.message.startswith(message)
