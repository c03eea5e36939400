"""`unroll weights`: see and compare; overrides need a registry (supervisor/test_supervisor.py, the README)."""

import json

import numpy as np

from service.cli.weights import _print_gates


def test_show(unroll):
    """Values and statistics are those that a client gets; `--statistics` leaves the values out."""
    run, client = unroll
    shown = run("weights", "show", "output/bias", "--json")
    (weight,) = shown["weights"]
    np.testing.assert_allclose(weight["value"], client.weights()["output/bias"], rtol=1e-6)
    (weight,) = run("weights", "show", "output/bias", "--json", "--statistics")["weights"]
    assert "value" not in weight
    status, text = run("weights", "show")
    assert status == 0
    assert "simpleRNN/recurrent_kernel" in text


def test_compare(unroll):
    """Each weight that differs has a row; a version differs from itself in none."""
    run, client = unroll
    largest = {
        name: np.abs(client.weights(version="2")[name] - value).max()
        for name, value in client.weights(version="1").items()
    }
    for difference in run("weights", "compare", "1", "2", "--json")["differences"]:
        np.testing.assert_allclose(difference["max_change"], largest[difference["name"]], rtol=1e-5)
    same = run("weights", "compare", "1", "1", "--json")["differences"]
    assert not any(int(difference.get("changed", 0)) for difference in same)


def test_gates_of_convolutions(capsys):
    """The gates of a ConvLSTM1D are the four of an LSTM, whatever its window, and have no spectral radius."""
    rng = np.random.default_rng(0)
    weights = {"c/kernel": rng.normal(size=(3, 2, 36)), "c/recurrent_kernel": rng.normal(size=(3, 9, 36))}
    _print_gates(weights, "", json=True)
    found = json.loads(capsys.readouterr().out)
    assert [one["gate"] for one in found] == ["input", "forget", "candidate", "output"] * 2
    assert {one["spectral_radius"] for one in found} == {None}
