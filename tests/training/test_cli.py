"""`unroll train` as it is typed: what it shows, what it leaves, and errors in one line."""

import os
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from tests.service.support import eventually
from training import cli
from training.options import Options

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(cli.train)


@pytest.fixture(scope="module")
def folder(registry):
    """Where commands are typed, on a console of known width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.console, "_width", 120)
        yield registry


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
    assert typed.index("Weights before") < typed.index("epoch    100 of 130   loss ") < typed.index("Weights after")


def test_it_says_what_was_registered_and_what_to_do_next(typed):
    """The version and its alias are named as they are in the registry, with the command that serves them."""
    assert "registered typed version 1, and typed@newest points at it" in typed
    assert "proof: our own network gives what Keras gives, within " in typed
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
        **{name: str(value) for name, value in Options().as_params().items()}, **given, "return_sequences": "True"
    }  # fmt: skip
    assert Store().describe("other").aliases == {"champion": "1"}


def test_its_defaults_are_the_reference_network():
    """Nothing typed means the reference network, and the help says so."""
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "Without options: the reference network" in result.output
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
        eventually(lambda: process.poll() is not None or "Weights before" in log.read_text(), timeout=90)
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert status == 130, log.read_text()
    assert log.read_text().splitlines()[-1] == "interrupted: nothing was registered, the run is marked KILLED"
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("cut").experiment_id])
    assert run.info.status == "KILLED"
    assert not client.search_registered_models("name = 'cut'")


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
    assert result.output == f"typed@newest is there: version {before}\n"
    assert Store().resolve(parse("models:/typed@newest")).number == before
