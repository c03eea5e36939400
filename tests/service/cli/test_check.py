"""`unroll check`: what it prints of files that can be served; tests/service/model/test_check.py has the others."""

import json

from typer.testing import CliRunner

from service.cli import app
from tests.data.hostile import build
from tests.fuzz import targets
from tests.service.convert.keras2 import FOLDER


def checked(path, *options):
    """What the command prints, as one line, and how it ends."""
    result = CliRunner().invoke(app, ["check", str(path), *options], env={"COLUMNS": "200"})
    return " ".join(result.output.split()), result.exit_code


def test_cost_of_a_prediction(tmp_path):
    """Of a file that can be served, time and numbers of a prediction are told, and how many a call may hold."""
    build.write(tmp_path / "m.keras")
    text, status = checked(tmp_path / "m.keras")
    assert status == 0
    assert "for one sequence of 3 timesteps here" in text
    numbers = "one sequence of 3 timesteps makes 5 numbers in all layers together: a server computes up to 16384 in one"
    assert numbers in text
    text, status = checked(tmp_path / "m.keras", "--json")
    assert (json.loads(text)["elements"], status) == (5, 0)


def test_a_prediction_that_servers_refuse(tmp_path):
    """Where a single prediction makes more than a server computes unless told to, that is said, with the number."""
    config = build.multiplying(200)
    build.write(tmp_path / "m.keras", config, targets.fitting_weights(config))
    text, status = checked(tmp_path / "m.keras")
    assert status == 0
    assert f"a server refuses it, unless started with --max-computed {3 * 200 * 65536} or more" in text


def test_a_file_that_is_converted():
    """A file of Keras 2 can be served once it is converted: what is rewritten, what it costs, and the command."""
    text, status = checked(FOLDER / "lstm.h5")
    assert status == 0
    assert "lstm.h5 can be served once it is converted: " in text
    assert "hard_sigmoid is Keras 2's" in text
    assert f"unroll register {FOLDER / 'lstm.h5'} --name NAME" in text
    document = json.loads(checked(FOLDER / "lstm.h5", "--json")[0])
    assert (document["road"], document["supported"]) == ("convert", True)


def test_a_folder(tmp_path):
    """The models of a folder are listed with their roads; one that has none is shown with why, and ends with 1."""
    build.write(tmp_path / "m.keras")
    assert checked(tmp_path) == ("m.keras: as it is", 0)
    (tmp_path / "text.h5").write_text("text")
    text, status = checked(tmp_path)
    assert status == 1
    assert "text.h5: not it is not a zip file, or a damaged one" in text
    assert [one["road"] for one in json.loads(checked(tmp_path, "--json")[0])] == ["as it is", "not"]
    (tmp_path / "empty").mkdir()
    assert checked(tmp_path / "empty") == (f"no models in {tmp_path / 'empty'}", 1)
