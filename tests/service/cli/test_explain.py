"""`unroll explain`, `unroll memory`, `trace --summary` and `weights show --gates`, against a real server."""

import json
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.service.support import R3_INPUTS, entry, serving

SEQUENCES = json.dumps((R3_INPUTS / 5).tolist())
ONE = json.dumps((R3_INPUTS[:1] / 5).tolist())


@pytest.fixture(scope="module")
def run(versions):
    """Runs a command against a server of the reference network; gives what it prints."""
    with serving(entry("reference", "champion", v1=versions["r3-1"])) as (_, client):

        def run(*arguments, status=0):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = CliRunner().invoke(app, [*arguments, "--address", client.address], env={"COLUMNS": "120"})
            assert done.exit_code == status, (done.output, done.exception)
            return done.output if status == 0 else str(done.exception)

        yield run


def test_explain_prints_scores_by_timestep(run, tmp_path):
    """A row for each timestep, how far the scores are from adding up, and a picture."""
    printed = run("explain", ONE, "--plot", str(tmp_path / "explain.png"))
    rows = [line.split()[0] for line in printed.splitlines() if line.strip()[:1].isdigit()]
    assert rows == ["0", "1", "2"]
    assert "the scores differ from the change since the baseline by" in printed
    assert (tmp_path / "explain.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        ("gradient_input", (3, 3, 2)),
        ("occlude_timesteps", (3, 3)),
        ("occlude_features", (3, 2)),
        ("ablate_units", (3, 4)),
    ],
)
def test_every_method_prints_json_and_draws(run, tmp_path, method, shape):
    """JSON has the scores of all sequences; every method has a table and a picture."""
    found = json.loads(run("explain", SEQUENCES, "--method", method, "--json"))
    (scores,) = found["scores"].values()
    assert np.shape(scores) == shape
    assert len(found["value"]) == 3
    printed = run("explain", SEQUENCES, "--sequence", "2", "--method", method, "--plot", str(tmp_path / "it.png"))
    assert "sequence 2" in printed
    assert (tmp_path / "it.png").stat().st_size > 5_000


def test_explain_takes_a_baseline(run):
    """A baseline as JSON counts for the one input; at the input itself nothing is left to explain."""
    found = json.loads(run("explain", ONE, "--baseline", json.dumps(json.loads(ONE)[0]), "--json"))
    assert np.abs(found["scores"]["x"]).max() == 0


def test_memory_prints_horizons(run, tmp_path):
    """A row for each recurrent layer, a note on the radius, and a picture."""
    printed = run("memory", ONE, "--plot", str(tmp_path / "memory.png"))
    assert "simpleRNN  SimpleRNN" in printed
    assert "it does not say how long the layer" in " ".join(printed.split())
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(run("memory", ONE, "--json"))
    assert found["layers"]["simpleRNN"]["by_states"][-1] == pytest.approx(1)


def test_summary_of_a_trace(run):
    """Units over all sequences, as a table and as JSON; other options are refused with it."""
    printed = run("trace", SEQUENCES, "--summary")
    assert "hidden state over 3 sequences" in printed
    assert json.loads(run("trace", SEQUENCES, "--summary", "--json"))["sequences"] == "3"
    assert "--summary takes none of" in run("trace", SEQUENCES, "--summary", "--plot", "x.png", status=1)


def test_weights_by_gate(run):
    """Recurrent weights block by block; weights without a recurrent kernel are refused by name."""
    printed = run("weights", "show", "--gates")
    assert "simpleRNN/recurrent_kernel, candidate" in printed
    assert "output/kernel" not in printed
    (kernel, recurrent, bias) = json.loads(run("weights", "show", "--gates", "--json"))
    assert recurrent["spectral_radius"] > 0
    assert kernel["spectral_radius"] is bias["spectral_radius"] is None
    assert "belongs to a recurrent layer" in run("weights", "show", "output/kernel", "--gates", status=1)


def test_mistakes_are_one_line(run):
    """A method, an element or a sequence that there is not is an error that says what there is."""
    assert "there are: gradient_input" in run("explain", ONE, "--method", "magic", status=1)
    assert "1 is not within the 1 elements" in run("explain", ONE, "--element", "1", status=1)
    assert "the batch has 1" in run("explain", ONE, "--sequence", "1", status=1)
    assert "expected one sequence, got 3" in run("memory", SEQUENCES, status=1)
