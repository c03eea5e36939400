"""The job on the data of a file, end to end on a real registry: what it leaves, the gate, resuming, the same bits."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml

from registry import artifact, tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.errors import RegistryNotFoundError
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import intervals, keras_file
from service.model import proof as proofs
from service.model.check import check
from tests.service.support import eventually
from training import checkpoints, config, job
from training.data.examples import load
from training.data.layout import Layout
from training.evaluation.errors import errors, predict

QUICK = {"units": 6, "epochs": 3, "window": 8, "time": "t", "target": "y"}


@pytest.fixture(scope="module")
def folder(registry, tmp_path_factory):  # noqa: ARG001 - it must be there
    """Where data and checkpoints lie; a wave in real units, far from zero."""
    folder = tmp_path_factory.mktemp("data")
    t = np.arange(400)
    noise = np.random.default_rng(0).normal(size=400)
    y = np.round(5000 + 300 * np.sin(t / 5) + 10 * noise, 2)
    lines = [
        f"{a},{b},{c:.3f},{'up' if d > 0 else 'down'}" for a, b, c, d in zip(t, y, noise, np.gradient(y), strict=True)
    ]
    (folder / "wave.csv").write_text("\n".join(["t,y,z,way", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLL_CHECKPOINTS", str(folder / "checkpoints"))
        yield folder


def wanted(folder, **options):
    """A job on the wave."""
    return config.job_of({"data": str(folder / "wave.csv"), **QUICK, **options})


@pytest.fixture(scope="module")
def first(folder):
    """The first version of a model: what the job gave."""
    return job.run(wanted(folder, name="wave", epochs=8, dropout=0.1, promote="always"), job.Listener())


def client():
    """MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient()


def fetched(version, tmp_path):
    """The folder of a version."""
    path, _ = Cache(tmp_path).fetch(Store(), version)
    return path


def test_what_is_served_takes_and_gives_real_units(first, folder, tmp_path):
    """The version's file alone turns rows of the table into numbers like those in it, as its proof says."""
    version = Store().resolve(parse("models:/wave@champion"))
    path = fetched(version, tmp_path)
    assert check(path / MODEL_FILE).supported
    network = keras_file.read(path / MODEL_FILE)
    assert 0 <= proofs.replay(network, proofs.load(path / PROOF_FILE)) <= 1
    examples = load(wanted(folder).source, lambda *_: None, lambda _: None)
    predicted = predict(network, examples.parts.test)
    assert np.abs(predicted - examples.parts.test.expected()).mean() < 200
    assert first.measured.network == errors(predicted, examples.parts.test.expected(), 0)


def test_the_measure_is_compared_with_baselines(first):
    """The errors of network and baselines are metrics of the run, and the network beats the mean."""
    metrics = client().get_run(first.run_id).data.metrics
    assert set(first.measured.baselines) == {"last value", "drift", "mean"}
    assert metrics["held_out_rmse"] == first.measured.network["rmse"]
    assert metrics["baseline_last_value_rmse"] == first.measured.baselines["last value"]["rmse"]
    assert metrics["held_out_rmse"] < metrics["baseline_mean_rmse"]
    assert len(client().get_metric_history(first.run_id, "val_loss")) == first.fitted.progress.epoch == 8
    assert first.fitted.progress.best_loss == min(first.fitted.progress.validation_losses)


def test_what_the_ui_says(first):
    """Version and run are described by figure, picture, task, data and the table of the gate, which is a file too."""
    run = client().get_run(first.run_id)
    version = client().get_model_version("wave", first.version).description
    rmse, other = (figures["rmse"] for figures in (first.measured.network, first.measured.baselines["last value"]))
    assert run.info.run_name == "wave: simple-rnn 6, window 8, horizon 1, target y, dropout 0.1, epochs 8, seed 0"
    picture = f"get-artifact?path=figures/predictions_over_time.png&run_uuid={first.run_id}"
    for text in (version, run.data.tags["mlflow.note.content"]):
        assert text.startswith(f"rmse {rmse:.4g}, ")
        assert "promoted: --promote always\n" in text
        assert all(part in text for part in (picture, "from 8 rows of `y`, `z`", "`wave.csv`", "95 %"))
        assert f"| baseline: last value | &emsp;{other:.5g} | " in text
    assert f"version {first.version}, promoted: --promote always" in run.data.tags["mlflow.note.content"]
    assert client().get_registered_model("wave").description.startswith("Predicts the next value of `y` from 8 rows")
    table = client().load_table(run.info.experiment_id, "gate.json", [first.run_id])
    assert table["rmse"].tolist()[0] == pytest.approx(rmse, rel=1e-5)
    names = {file.path for file in client().list_artifacts(first.run_id, "figures")}
    assert "figures/predictions_over_time.png" in names


def test_the_data_is_linked_with_its_digest(first, folder):
    """The run names the file, the beginning of its digest, and what it is like; MLflow finds the file by it."""
    import mlflow.data

    run = client().get_run(first.run_id)
    (entry,) = run.inputs.dataset_inputs
    digest = artifact.digest(folder / "wave.csv")
    assert digest.startswith(entry.dataset.digest)
    assert json.loads(entry.dataset.profile)["train_windows"] == 272
    assert mlflow.data.get_source(entry).load() == str(folder / "wave.csv")
    version = Store().resolve(parse("models:/wave@champion"))
    assert version.tags[tag.DATA_DIGEST] == digest
    assert version.run_id == first.run_id


def test_what_ran_can_be_run_again_bit_for_bit(first, folder, tmp_path):
    """The run's own config gives the same weights to the last bit."""
    file = Store().run_file(first.run_id, "config.yaml", tmp_path)
    again = config.job_of(config.load(file) | {"name": "again"})
    assert again.options == wanted(folder, epochs=8, dropout=0.1, promote="always").options
    outcome = job.run(again, job.Listener())
    assert outcome.fitted.progress == first.fitted.progress
    digests = [Store().resolve(parse(f"models:/{name}@champion")) for name in ("wave", "again")]
    one, other = (keras_file.read(fetched(version, tmp_path) / MODEL_FILE) for version in digests)
    assert one.digest == other.digest


# The gate.


def test_a_worse_network_stays_challenger(first, folder):
    """What does worse on the same held-out data is registered as challenger, with both figures and the reason."""
    outcome = job.run(wanted(folder, name="wave", epochs=0), job.Listener())
    assert (outcome.alias, outcome.decision.promoted) == ("challenger", False)
    assert Store().describe("wave").aliases == {"champion": first.version, "challenger": outcome.version}
    tags = Store().version("wave", outcome.version).tags
    assert tags[tag.DECISION] == "challenger"
    assert float(tags[tag.ERROR]) > float(tags[tag.CHAMPION_ERROR])
    assert float(tags[tag.CHAMPION_ERROR]) == pytest.approx(first.measured.network["rmse"])
    assert tags[tag.CHAMPION_VERSION] == first.version
    assert tags[tag.DECISION_REASON].startswith("held-out error ")


def test_a_better_network_is_promoted_if_it_is_better_enough(first, folder):
    """What does better becomes champion, unless it is not better by as much as was asked for."""
    better = {"name": "wave", "epochs": 25, "window": 12}  # another window, the same targets
    held = job.run(wanted(folder, **better, **{"min-improvement": 0.99}), job.Listener())
    assert held.alias == "challenger"
    assert "wanted is 0.99 less" in held.decision.reason
    assert held.champion.challenger_error < held.champion.error
    outcome = job.run(wanted(folder, **better), job.Listener())
    assert outcome.alias == "champion"
    assert outcome.champion.version == first.version
    assert Store().describe("wave").aliases["champion"] == outcome.version
    assert Store().version("wave", outcome.version).tags[tag.DECISION] == "promoted"


def test_what_cannot_be_compared_is_not_promoted_unasked(folder):
    """A network of another target stays challenger, says why, and becomes champion where that is asked for."""
    first = job.run(wanted(folder, name="others", epochs=0, promote="always"), job.Listener())
    other = {"name": "others", "target": "z", "epochs": 1}
    outcome = job.run(wanted(folder, **other), job.Listener())
    assert outcome.alias == "challenger"
    assert "cannot be compared: its target is y, not z" in outcome.decision.reason
    assert Store().describe("others").aliases["champion"] == first.version
    always = job.run(wanted(folder, **other, promote="always"), job.Listener())
    assert Store().describe("others").aliases["champion"] == always.version


@pytest.mark.parametrize(
    "options",
    [
        {"network": "gru", "units": [5, 4], "horizon": 3, "season": 31},
        {"network": "lstm", "bidirectional": True, "dropout": 0.2},
        {"target": "way", "network": "gru"},
    ],
)
def test_every_kind_of_network_can_be_served(folder, options, tmp_path):
    """Stacks, both directions, dropout and classes are registered with a proof that our own network reproduces."""
    outcome = job.run(wanted(folder, **{"name": "kinds", "promote": "always", "epochs": 1, **options}), job.Listener())
    version = Store().version("kinds", outcome.version)
    path = fetched(version, tmp_path)
    assert 0 <= proofs.replay(keras_file.read(path / MODEL_FILE), proofs.load(path / PROOF_FILE)) <= 1
    layout = Layout.loads(version.tags[tag.DATA])
    if options.get("target"):
        assert layout.classes == ("down", "up")
        assert set(outcome.measured.network) == {"error_rate", "log_loss", "calibration_error"}
        assert set(outcome.measured.baselines) == {"last value", "most frequent"}
    else:
        of_season = {"seasonal", "seasonal mean"} if "season" in options else set()
        assert set(outcome.measured.baselines) == {"last value", "drift", "mean"} | of_season


def test_mistakes_leave_no_run(folder):
    """Data that cannot be learned from is refused before there is an experiment."""
    with pytest.raises(InvalidArgumentError, match="did you mean 'y'"):
        job.run(wanted(folder, name="mistake", target="yy"), job.Listener())
    assert client().get_experiment_by_name("mistake") is None


# Ending early, and going on.


class Interrupted(job.Listener):
    """Ends the fit after some epochs."""

    def started(self, run_id, epochs):
        """The run."""
        self.run_id = run_id

    def learning(self, epoch, share, progress):
        """Ctrl-C in the middle of the fourth epoch."""
        if epoch == 3 and share:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(first, folder, tmp_path):
    """Ctrl-C leaves a run marked KILLED and no version; resumed, it ends with the bits of one that ran through."""
    listener = Interrupted()
    before = {version.version for version in client().search_model_versions("name = 'wave'")}
    with pytest.raises(KeyboardInterrupt):
        job.run(wanted(folder, name="wave", epochs=8, dropout=0.1, promote="never"), listener)
    assert client().get_run(listener.run_id).info.status == "KILLED"
    assert {version.version for version in client().search_model_versions("name = 'wave'")} == before
    outcome = job.resume(listener.run_id, job.Listener())
    assert outcome.run_id == listener.run_id
    assert client().get_run(listener.run_id).info.status == "FINISHED"
    assert outcome.fitted.progress == first.fitted.progress
    one, other = (
        keras_file.read(fetched(Store().version("wave", number), tmp_path) / MODEL_FILE)
        for number in (first.version, outcome.version)
    )
    assert one.digest == other.digest
    assert not checkpoints.Checkpoints(listener.run_id, "").folder.exists()
    with pytest.raises(InvalidArgumentError, match=rf"^resume: run {listener.run_id} is finished"):
        job.resume(listener.run_id, job.Listener())


def test_a_run_on_a_relative_path_is_resumed(folder, monkeypatch):
    """A run whose file was named relative to the working directory goes on, from another one too."""
    monkeypatch.chdir(folder)
    listener = Interrupted()
    relative = config.job_of({"data": "wave.csv", **QUICK, "name": "relative", "epochs": 5})
    with pytest.raises(KeyboardInterrupt):
        job.run(relative, listener)
    monkeypatch.chdir(folder.parent)
    outcome = job.resume(listener.run_id, job.Listener())
    assert outcome.fitted.progress.epoch == 5
    assert client().get_run(listener.run_id).data.params["data"] == str(folder / "wave.csv")


def test_a_version_that_a_baseline_beats_is_not_the_first_champion(folder):
    """Without a champion, what does worse than a baseline becomes challenger, and its tags name the baseline."""
    outcome = job.run(wanted(folder, name="worse", epochs=0), job.Listener())
    assert (outcome.alias, outcome.decision.promoted) == ("challenger", False)
    tags = Store().version("worse", outcome.version).tags
    assert tags[tag.BASELINE] == "last value"
    assert float(tags[tag.ERROR]) > float(tags[tag.BASELINE_ERROR])
    assert "the baseline 'last value' is better" in tags[tag.DECISION_REASON]


def test_the_gate_can_ask_for_folds(folder):
    """With --gate-folds the errors in each fold are curves of the run, and decide beside the error on everything."""
    made = job.run(wanted(folder, name="folds", promote="always", **{"gate-folds": 3}), job.Listener())
    folds = made.measured.folds
    assert set(folds) == {"network", *made.measured.baselines}
    history = client().get_metric_history(made.run_id, "fold_network_rmse")
    assert [point.value for point in history] == folds["network"]
    worse = job.run(wanted(folder, name="folds", epochs=0, **{"gate-folds": 3}), job.Listener())
    assert [theirs for theirs, _ in worse.champion.folds] == pytest.approx(folds["network"])
    assert not worse.decision.promoted
    with pytest.raises(InvalidArgumentError, match=r"^gate_folds: the held-out part with its 60 windows"):
        job.run(wanted(folder, name="folds", **{"gate-folds": 61}), job.Listener())
    with pytest.raises(InvalidArgumentError, match=r"^gate_folds: expected 1 to 200, got 201"):
        job.run(wanted(folder, name="folds", **{"gate-folds": 201}), job.Listener())


def test_a_killed_process_is_resumed(folder):
    """A process that was killed outright leaves a checkpoint, from which the run goes on by its id."""
    document = wanted(folder, name="killed", epochs=100000, patience=0, units=2).document()
    (folder / "killed.yaml").write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "service.cli", "train", "--config", str(folder / "killed.yaml")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = folder / "checkpoints"
    before = set(found.glob("*/state.npz"))
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        eventually(lambda: process.poll() is not None or set(found.glob("*/state.npz")) - before, timeout=90)
    finally:
        process.send_signal(signal.SIGKILL)
        error = process.communicate()[1]
    states = set(found.glob("*/state.npz")) - before
    assert states, error.decode()
    run_id = states.pop().parent.name
    assert client().get_run(run_id).info.status == "RUNNING"
    with pytest.raises(RegistryNotFoundError):
        Store().describe("killed")

    class Resumed(job.Listener):
        """Notes where it goes on, and ends there."""

        def learning(self, epoch, share, progress):
            """The first step."""
            self.epoch, self.losses = epoch, list(progress.losses)
            raise KeyboardInterrupt

    resumed = Resumed()
    with pytest.raises(KeyboardInterrupt):
        job.resume(run_id, resumed)
    assert resumed.epoch > 0
    assert len(resumed.losses) == resumed.epoch
    assert client().get_run(run_id).info.status == "KILLED"
    (folder / "wave.csv").rename(folder / "kept.csv")
    try:
        (folder / "wave.csv").write_text((folder / "kept.csv").read_text() + "400,1,1,up\n")
        with pytest.raises(InvalidArgumentError, match=r"^resume: the data has changed"):
            job.resume(run_id, job.Listener())
    finally:
        (folder / "kept.csv").rename(folder / "wave.csv")


def test_a_forecast_has_prediction_intervals(first, tmp_path):
    """A version that forecasts numbers has intervals; its tags and run say how many held-out values they cover."""
    version = Store().resolve(parse(f"models:/wave/{first.version}"))
    path = fetched(version, tmp_path)
    found = intervals.load(path / intervals.FILE, (1,))
    assert found.count == len(first.examples.parts.validation)
    assert version.tags[f"{tag.COVERAGE}.80"] == f"{first.measured.coverage[80]:.4f}"
    assert 0 <= first.measured.coverage[80] <= first.measured.coverage[95] <= 1
    assert client().get_run(first.run_id).data.metrics["held_out_coverage_80"] == first.measured.coverage[80]
