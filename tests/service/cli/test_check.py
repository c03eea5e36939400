"""`unroll check`: what it prints of files that can be served; tests/service/model/test_check.py has the others."""

import json

from typer.testing import CliRunner

from service.cli import app
from tests.data.hostile import build
from tests.fuzz import targets


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
