"""`unroll convert`: what it prints and writes; tests/service/convert has the conversions themselves."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.model import keras_file
from tests.service.convert.keras2 import FOLDER, error


def run(*arguments):
    """What the command prints, as one line, and how it ends."""
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)], env={"COLUMNS": "200"})
    return " ".join(result.output.split()), result.exit_code


def test_a_file_is_written_for_keras_3(tmp_path):
    """The file is named with its origin, each rewriting is printed, and what is written computes what Keras 2 did."""
    target = tmp_path / "new.keras"
    text, status = run(FOLDER / "lstm.h5", target)
    assert status == 0
    assert f"lstm.h5 (Keras 2.0.8, .h5) is written to {target} for Keras 3:" in text
    assert "hard_sigmoid is Keras 2's, clip(0.2 x + 0.5, 0, 1), which Keras 3 has no name for (1 layer)" in text
    assert f" parameters, read back from it next: unroll register {target} --name NAME" in text
    assert error(keras_file.read(target), "lstm.h5") < 1e-6


def test_an_architecture_and_its_weights(tmp_path):
    """A JSON file and its weights become one file."""
    text, status = run(FOLDER / "architecture.json", FOLDER / "architecture.h5", tmp_path / "new.keras")
    assert status == 0
    assert "architecture.json (Keras 2.21.0, JSON and weights) is written to" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((FOLDER / "lstm.h5",), "expected what to convert and a .keras file to write"),
        ((FOLDER / "lstm.h5", FOLDER / "gru.h5"), "expected what to convert and a .keras file to write"),
        ((FOLDER / "first.keras", FOLDER / "first.keras"), "the file to write is one to convert"),
    ],
)
def test_arguments_that_do_not_fit(arguments, said):
    """A target that is no .keras file, or that is the source, is refused before anything is read."""
    text, status = run(*arguments)
    assert status == 2
    assert said in text.replace("│ ", "")


def test_errors_are_one_line(tmp_path):
    """A folder, and a file that is not there, end the command with one line and status 1."""
    for source, said in ((tmp_path, "is a folder; expected a file"), (tmp_path / "absent.h5", "No such file")):
        command = [sys.executable, "-m", "service.cli", "convert", str(source), str(tmp_path / "n.keras")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
