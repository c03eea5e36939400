"""`unroll train` as it is typed: what it shows, what it leaves, and errors in one line."""

import io
import math
import os
import signal
import subprocess
import sys

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from registry.errors import RegistryNotFoundError
from registry.references import parse
from registry.store import Store
from service.cli import train as cli
from service.errors import InvalidArgumentError
from tests.service.support import eventually
from training.checkpoints import Progress
from training.options import Options
from training.progress import Shown

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(cli.train)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where commands are typed, with a registry of its own, on a console of known width."""
    home = tmp_path_factory.mktemp("typed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        patch.setattr(cli.console, "_width", 120)
        yield home


def environment():
    """For a process of its own, which is started in another folder than the packages are in."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def train(*arguments):
    """What the command gives in this process."""
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def typed(folder):  # noqa: ARG001 - it must be there
    """A short training, typed."""
    result = train("--epochs", "130", "--name", "typed", "--alias", "newest")
    assert result.exit_code == 0, result.output
    return result.output


def test_it_shows_the_network_the_weights_and_the_predictions(typed):
    """The table of layers, the weights before and after, progress, the time, predictions and the loss are shown."""
    for shown in (
        "simpleRNN (SimpleRNN)",
        "Weights before training",
        "simpleRNN/recurrent_kernel",
        "Weights after training",
        "fitted 130 epochs in ",
        "Predictions",
        "final loss ",
    ):
        assert shown in typed
    assert typed.index("Weights before") < typed.index("epoch 100 of 130: loss ") < typed.index("Weights after")


@pytest.mark.parametrize(
    ("epochs", "seconds", "expected"),
    [
        (1, 0.004, "fitted 1 epoch in less than 0.1 s"),
        (20, 1.26, "fitted 20 epochs in 1.3 s"),
    ],
)
def test_how_long_a_fit_took(epochs, seconds, expected):
    """One epoch is singular, and no time is 0.0 s."""
    out = io.StringIO()
    shown = Shown(Console(file=out))
    shown.started("run", epochs)
    shown.learning(epochs, 0.0, Progress(epochs))
    shown.fitted(seconds)
    assert out.getvalue().splitlines()[-1] == expected


def test_it_says_what_was_registered_and_what_to_do_next(typed):
    """The version and its alias are named as they are in the registry, with the command that serves them."""
    assert "registered typed version 1, and typed@newest points at it" in typed
    assert "proof: our network and Keras differ by at most " in typed
    assert typed.rstrip().endswith("next: unroll serve --model models:/typed@newest")
    assert Store().resolve(parse("models:/typed@newest")).number == "1"


def test_every_option_reaches_the_job(typed):  # noqa: ARG001 - after it
    """What is typed is what the run was made with."""
    given = {
        "units": "2", "activation": "relu", "dense_units": "2", "dense_activation": "sigmoid", "epochs": "0",
        "loss": "mean_absolute_error", "optimizer": "sgd", "learning_rate": "0.5", "seed": "7",
    }  # fmt: skip
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    result = train("--name=other", "--experiment=mine", "--return-sequences", *flags)
    assert result.exit_code == 0, result.output
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.data.params == {
        **{name: str(value) for name, value in Options().as_params().items()}, **given, "return_sequences": "True",
        "promote": "better",
    }  # fmt: skip
    assert Store().describe("other").aliases == {"champion": "1"}


def test_its_defaults_are_the_reference_network():
    """Nothing typed means the reference network, and the help says so."""
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "Without options, the command trains the reference network" in result.output
    assert Options().epochs == 2000
    assert Options().units == (4,)


@pytest.mark.parametrize(
    ("option", "value", "status"),
    [
        ("--units", "0", 1),
        ("--learning-rate", "nan", 1),
        ("--units", "four", 1),
        ("--epochs", "many", 2),
        ("--no-such-option", "1", 2),
    ],
)
def test_options_out_of_range_are_refused_at_once(option, value, status):
    """Numbers that make no sense end the command before TensorFlow is imported, typing errors before it begins."""
    result = train(option, value)
    assert result.exit_code == status
    assert "importing TensorFlow" not in result.output
    if status == 1:
        assert isinstance(result.exception, InvalidArgumentError)


def test_ctrl_c_ends_it_with_one_line_and_the_status_of_shells(typed, folder):  # noqa: ARG001 - after it
    """Ctrl-C while it fits ends the command with one line and status 130, and registers nothing."""
    command = [sys.executable, "-m", "service.cli", "train", "--name", "cut", "--epochs", "1000000"]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment(), cwd=folder)
    try:
        eventually(lambda: process.poll() is not None or "Weights before" in log.read_text(), timeout=150)
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert status == 130, log.read_text()
    assert log.read_text().splitlines()[-2] == "interrupted: nothing was registered, the run is marked KILLED"
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("cut").experiment_id])
    assert run.info.status == "KILLED"
    assert not client.search_registered_models("name = 'cut'")


@pytest.fixture(scope="module")
def wave(tmp_path_factory):
    """A small table, and where checkpoints of it lie."""
    folder = tmp_path_factory.mktemp("wave")
    rows = [f"{t},{100 + 10 * math.sin(t / 3):.3f}" for t in range(200)]
    (folder / "ripple.csv").write_text("\n".join(["t,y", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLL_CHECKPOINTS", str(folder / "checkpoints"))
        yield folder


ON_WAVE = ("--time=t", "--target=y", "--window=8", "--units=4,3")


def test_on_a_file_it_shows_the_measure_and_the_decision(folder, wave):  # noqa: ARG001 - it must be there
    """The errors of network and baselines stand in a table; what was decided, and why, is said, and the status is 0."""
    data = f"--data={wave / 'ripple.csv'}"
    missing = train(data, *ON_WAVE, "--epochs=0", "--name=none", "--if-missing")
    assert missing.exit_code == 1
    for shown in ("baseline: last value (better)", "this network is worse than the baseline 'last value'",
                  "--residual", "not promoted: there is no champion yet", "none@challenger"):  # fmt: skip
        assert shown in missing.output
    better = train(data, *ON_WAVE, "--epochs=3", "--promote=always")
    assert better.exit_code == 0, better.output
    for shown in ("features: y", "Error on held-out data", "this network", "baseline: last value", "baseline: mean",
                  "promoted: --promote always", "registered ripple version 1, and ripple@champion"):  # fmt: skip
        assert shown in better.output
    worse = train(data, *ON_WAVE, "--epochs=0")
    assert worse.exit_code == 0, worse.output
    assert "not promoted: held-out error " in worse.output
    assert "ripple version 2, and ripple@challenger points at it" in worse.output
    assert "champion, version 1" in worse.output


def test_what_is_typed_wins_over_the_file(folder, wave):  # noqa: ARG001 - it must be there
    """A YAML file says what is not typed; its data lies beside it; what it misspells is named."""
    file = wave / "job.yaml"
    file.write_text("data: ripple.csv\ntime: t\ntarget: y\nwindow: 8\nunits: [3, 2]\nepochs: 500\nname: filed\n")
    assert train("--config", str(file), "--epochs=1").exit_code == 0
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("filed").experiment_id])
    assert (run.data.params["units"], run.data.params["epochs"]) == ("3,2", "1")
    file.write_text("data: ripple.csv\nunit: 3\n")
    result = train("--config", str(file))
    assert result.exception.message == "config: there is no option 'unit'; did you mean 'units'?"


def test_ctrl_c_leaves_a_run_that_can_be_resumed(folder, wave):
    """Ctrl-C while it fits own data says how to go on, and going on registers what was trained."""
    command = [sys.executable, "-m", "service.cli", "train", "--data", str(wave / "ripple.csv"), *ON_WAVE]
    command += ["--name=resumed", "--epochs=100", "--patience=0", "--promote=always"]
    log = folder / "resumed-log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment(), cwd=folder)
    try:
        begun = wave / "checkpoints"
        eventually(lambda: process.poll() is not None or list(begun.glob("*/state.npz")), timeout=150)
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert status == 130, log.read_text()
    told, how = log.read_text().splitlines()[-2:]
    assert told == "interrupted: nothing was registered, the run is marked KILLED"
    run_id = how.removeprefix("resume with: unroll train --resume ")
    with pytest.raises(RegistryNotFoundError):
        Store().describe("resumed")
    refused = train("--resume", run_id, "--epochs=3")
    assert refused.exception.message == "resume: a run continues with its own options; no others are allowed"
    result = train("--resume", run_id)
    assert result.exit_code == 0, result.output
    assert Store().describe("resumed").aliases == {"champion": "1"}


def test_names_that_keras_does_not_know_are_refused(typed):  # noqa: ARG001 - after it
    """A name that Keras does not know ends the command with the error that becomes its one line."""
    result = train("--activation", "no_such_thing", "--name", "refused")
    assert isinstance(result.exception, InvalidArgumentError)
    assert result.exception.message == "Could not interpret activation function identifier: no_such_thing"
    assert result.exit_code == 1


def test_an_error_is_one_line_and_status_1(folder):
    """`unroll train` with an option that makes no sense ends with one line that says why, and no traceback."""
    command = [sys.executable, "-m", "service.cli", "train", "--units", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment(), cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["unroll: units: expected 1 or more, got 0"]
    assert done.stdout == ""


@pytest.mark.usefixtures("typed")
def test_it_trains_only_what_is_missing():
    """Where the alias is there, `--if-missing` names its version and leaves everything as it is."""
    before = Store().resolve(parse("models:/typed@newest")).number
    result = train("--name", "typed", "--alias", "newest", "--if-missing")
    assert result.exit_code == 0
    assert result.output == f"typed@newest exists: version {before}\n"
    assert Store().resolve(parse("models:/typed@newest")).number == before
