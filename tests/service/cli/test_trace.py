"""`unroll trace`: every layer of one sequence."""

import numpy as np

X = "[[[1,2],[2,3],[3,4]],[[5,6],[6,7],[7,8]]]"


def test_a_trace(unroll):
    """The command shows the states after each timestep, of the layers and the sequence that are asked for."""
    run, client = unroll
    shown = run("trace", X, "--json", "--layer", "simpleRNN")
    expected = client.trace([[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]]], layers=["simpleRNN"])
    assert list(shown["layers"]) == ["simpleRNN"]
    for name, values in expected.layers["simpleRNN"].tensors.items():
        np.testing.assert_allclose(shown["layers"]["simpleRNN"][name], values, rtol=1e-6)
    status, text = run("trace", X, "--sequence", "1")
    assert status == 0
    assert "output (Dense) of reference version 1, sequence 1" in text


def test_a_part_of_a_trace(unroll):
    """The command shows the tensors and the timesteps that are asked for."""
    run, _ = unroll
    shown = run("trace", X, "--json", "--tensor", "hidden_state", "--timesteps", "1:3")["layers"]
    assert {name: list(tensors) for name, tensors in shown.items()} == {"simpleRNN": ["hidden_state"], "output": []}
    assert np.shape(shown["simpleRNN"]["hidden_state"]) == (2, 2, 4)
    for wrong in ("3:1", "x", "0:9"):
        status, text = run("trace", X, "--timesteps", wrong)
        assert status == 1
        assert "START:STOP" in text or "timesteps: expected" in text


def test_a_sequence_that_is_not_there(unroll):
    """A sequence beyond the batch is refused before anything is asked of the server."""
    run, _ = unroll
    status, text = run("trace", X, "--sequence", "2")
    assert status != 0
    assert "the batch has 2, counted from 0; got 2" in text
