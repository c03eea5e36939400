"""The job end to end on a real registry: what a run leaves there, and what it does not where it ends early."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.errors import RegistryError, RegistryNotFoundError
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model import proof as proofs
from training import config, job
from training.config import Job
from training.data.reference import reference
from training.options import Options, Registration, Source

EPOCHS = 130
PNG = b"\x89PNG\r\n\x1a\n"


class Notes(job.Listener):
    """Writes down what a job tells, and may end it."""

    def __init__(self, error=None):
        self.error, self.told = error, []

    def built(self, summary, weights):
        """The network."""
        self.told.append("built")
        self.summary, self.weights = summary, weights

    def learning(self, epoch, share, progress):
        """So many epochs."""
        self.told.append(epoch)
        if self.error:
            raise self.error

    def fitted(self, seconds):
        """The end."""
        self.told.append("fitted")
        assert seconds > 0


@pytest.fixture(scope="module")
def trained(registry):  # noqa: ARG001 - it must be there
    """A job that went well: what it gave, what it told, and its run."""
    notes = Notes()
    outcome = job.run(Job(Options(epochs=EPOCHS), Source(), Registration("reference", "champion", "papers")), notes)
    return outcome, notes, run_of("papers")


def client():
    """MLflow's own client, to see what there is."""
    from mlflow import MlflowClient

    return MlflowClient()


def run_of(experiment):
    """The only run of an experiment."""
    (run,) = client().search_runs([client().get_experiment_by_name(experiment).experiment_id])
    return run


def artifacts(run):
    """The files of a run by their paths."""
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def versions(name):
    """The versions under a name."""
    return {str(version.version) for version in client().search_model_versions(f"name = '{name}'")}


def test_the_run_has_every_option_as_a_parameter(trained):
    """A finished run says with which options, the chosen loss among them, and which packages it was made."""
    _, _, run = trained
    asked = {**Options(epochs=EPOCHS).as_params(), "promote": "better"}
    assert (run.info.status, run.info.run_name) == ("FINISHED", "reference: simple-rnn 4, epochs 130, seed 0")
    assert run.data.params == {name: str(value) for name, value in asked.items()}
    assert run.data.params["loss"] == "mean_squared_error"
    assert {"unroll.unroll", "unroll.keras", "unroll.tensorflow"} <= set(run.data.tags)


def test_the_run_has_the_loss_of_every_epoch(trained):
    """The curve has one point for each epoch, in order, and the final loss stands by itself."""
    outcome, _, run = trained
    history = sorted((point.step, point.value) for point in client().get_metric_history(run.info.run_id, "loss"))
    assert history == list(enumerate(outcome.fitted.progress.losses))
    assert len(history) == EPOCHS
    assert run.data.metrics["final_loss"] == outcome.fitted.progress.losses[-1]


def test_the_run_has_figures_that_can_be_looked_at(trained):
    """Weights, loss, predictions and hidden states are there as pictures."""
    _, _, run = trained
    figures = {path: file for path, file in artifacts(run).items() if path.startswith("figures/")}
    names = ("weights", "loss", "predictions", "hidden_states_simpleRNN")
    assert set(figures) == {f"figures/{name}.png" for name in names}
    for file in figures.values():
        content = file.read_bytes()
        assert content.startswith(PNG)
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        assert min(width, height) > 200
        assert content.rstrip().endswith(b"IEND\xaeB`\x82")


def test_what_the_ui_says_of_the_reference(trained):
    """The descriptions of model, version and run say what was learned."""
    outcome, _, run = trained
    for text in (
        client().get_registered_model("reference").description,
        client().get_model_version("reference", outcome.version).description,
        run.data.tags["mlflow.note.content"],
    ):
        assert "Learns three short reference sequences" in text
    assert "reference version 1, promoted" in run.data.tags["mlflow.note.content"]


def test_the_run_can_be_repeated_from_its_config(trained, tmp_path):
    """The run keeps a file that asks for the same job again."""
    _, _, run = trained
    again = config.job_of(config.load(Store().run_file(run.info.run_id, config.FILE, tmp_path)))
    assert again == Job(Options(epochs=EPOCHS), Source(), Registration("reference", "champion", "papers"))


def test_the_run_has_the_weights_before_and_after(trained):
    """The weights before and after training are there as arrays, the ones that the job gave."""
    outcome, notes, run = trained
    for when, expected in (("before", outcome.fitted.before), ("after", outcome.fitted.after)):
        with np.load(artifacts(run)[f"weights/{when}.npz"], allow_pickle=False) as archive:
            arrays = {name.replace(".", "/"): archive[name] for name in archive.files}
        assert arrays.keys() == expected.keys()
        assert all(np.array_equal(arrays[name], expected[name]) for name in arrays)
    assert expected["simpleRNN/kernel"].shape == (2, 4)
    assert not np.array_equal(outcome.fitted.before["simpleRNN/kernel"], outcome.fitted.after["simpleRNN/kernel"])
    assert all(np.array_equal(notes.weights[name], outcome.fitted.before[name]) for name in outcome.fitted.before)


def test_the_listener_hears_how_it_goes(trained):
    """The network is told first, then progress up to the last epoch, then the end."""
    _, notes, _ = trained
    assert notes.told == ["built", 100, 130, "fitted"]
    assert "simpleRNN" in notes.summary


def test_the_version_is_tagged_and_the_alias_points_at_it(trained):
    """The version belongs to the run, carries its kind, file's digest and proof's origin; the alias means it."""
    outcome, _, run = trained
    version = Store().resolve(parse("models:/reference@champion"))
    assert (version.number, version.run_id) == (outcome.version, run.info.run_id)
    assert version.tags.keys() == {tag.KIND, tag.DIGEST, tag.PROOF, tag.DECISION, tag.DECISION_REASON}
    assert (version.tags[tag.KIND], version.tags[tag.PROOF]) == ("trained", "keras")


def test_the_version_is_what_was_trained(trained, tmp_path):
    """What is served from the registry reproduces its proof and predicts what the job reported."""
    outcome, _, _ = trained
    store = Store()
    path, digest = Cache(tmp_path).fetch(store, version := store.resolve(parse("models:/reference@champion")))
    assert digest == version.tags[tag.DIGEST]
    served = keras_file.read(path / MODEL_FILE)
    parity = proofs.replay(served, proofs.load(path / PROOF_FILE))
    assert parity == pytest.approx(outcome.fitted.parity)
    assert 0 <= parity <= 1
    assert np.array_equal(outcome.examples.parts.train.inputs(), reference()[1].train.inputs())
    assert outcome.fitted.targets.tolist() == [[10], [20], [30]]
    result = served.forward({"sequence": outcome.examples.parts.train.inputs()})
    np.testing.assert_allclose(result.outputs["output"], outcome.fitted.predictions, rtol=1e-5)


def test_initial_weights_can_be_registered(trained):  # noqa: ARG001 - after it
    """Zero epochs register the network as chance made it, without a curve; the experiment is named like the model."""
    outcome = job.run(Job(Options(epochs=0, units=(3,)), Source(), Registration("untrained", "first")), job.Listener())
    assert outcome.fitted.progress.losses == []
    assert all(np.array_equal(outcome.fitted.after[name], value) for name, value in outcome.fitted.before.items())
    run = run_of("untrained")
    assert run.info.status == "FINISHED"
    assert not run.data.metrics
    assert "figures/loss.png" not in artifacts(run)
    assert Store().resolve(parse("models:/untrained@first")).number == outcome.version == "1"


def test_a_classifier_is_registered(trained):  # noqa: ARG001 - after it
    """A classifier with outputs at every timestep goes the same way, though its outputs are not like its targets."""
    options = Options(epochs=0, dense_units=3, dense_activation="softmax", return_sequences=True)
    outcome = job.run(Job(options, Source(), Registration("classifier")), job.Listener())
    assert outcome.fitted.predictions.shape == (3, 3, 3)
    assert 0 <= outcome.fitted.parity <= 1
    assert "figures/predictions.png" not in artifacts(run_of("classifier"))


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_job_that_ends_early_leaves_no_version(trained, error, status):
    """A job that is interrupted or fails says so in its run, registers nothing and leaves the alias where it was."""
    outcome, _, _ = trained
    before = versions("reference")
    notes = Notes(error("for a test"))
    with pytest.raises(error, match="for a test"):
        job.run(Job(Options(epochs=100), Source(), Registration("reference", "champion", f"ended-{status}")), notes)
    assert notes.told == ["built", 100]
    run = run_of(f"ended-{status}")
    assert run.info.status == status
    assert run.data.params["epochs"] == "100"
    assert set(artifacts(run)) == {"config.yaml"}  # from which it can be resumed
    assert versions("reference") == before
    assert Store().describe("reference").aliases == {"champion": outcome.version}


def test_options_that_make_no_sense_leave_no_run(trained):  # noqa: ARG001 - after it
    """A network that cannot be built is refused before a run or a model is made."""
    for options in (Options(activation="no_such_thing"), Options(dense_activation="softmax")):
        with pytest.raises(InvalidArgumentError):
            job.run(Job(options, Source(), Registration("refused")), job.Listener())
    assert client().get_experiment_by_name("refused") is None
    with pytest.raises(RegistryNotFoundError):
        Store().describe("refused")


def test_a_version_that_cannot_be_registered_leaves_the_alias(trained, registry):
    """Where the registry refuses the version at the very last, the run is failed and the alias stays."""
    outcome, _, _ = trained
    before = versions("reference")
    with sqlite3.connect(registry / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON model_versions BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
    try:
        with pytest.raises(RegistryError, match="Model Version creation error"):
            job.run(
                Job(Options(epochs=0), Source(), Registration("reference", "champion", "refused-late")), job.Listener()
            )
    finally:
        with sqlite3.connect(registry / "mlflow.db") as database:
            database.execute("DROP TRIGGER refuse")
    assert run_of("refused-late").info.status == "FAILED"
    assert versions("reference") == before
    assert Store().describe("reference").aliases == {"champion": outcome.version}


def test_the_alias_stays_where_that_is_asked_for(trained):
    """With `promote: never` the reference network is registered as challenger, and the champion stays."""
    outcome, _, _ = trained
    made = job.run(config.job_of({"epochs": 0, "seed": 3, "promote": "never"}), job.Listener())
    assert made.alias == "challenger"
    assert Store().describe("reference").aliases == {"champion": outcome.version, "challenger": made.version}
