"""`unroll predict`: what is typed and what is printed."""

import numpy as np

X = "[[[1,2],[2,3],[3,4]]]"


def test_a_prediction(unroll):
    """The command prints what a client gets, with the version that answered."""
    run, client = unroll
    shown = run("predict", X, "--json", "--version", "2", "--state")
    expected = client.predict([[[1, 2], [2, 3], [3, 4]]], version="2", return_state=True)
    assert (shown["model"], shown["version"]) == ("reference", "2")
    np.testing.assert_allclose(shown["outputs"]["output"], expected.output, rtol=1e-6)
    np.testing.assert_allclose(
        shown["final_state"]["simpleRNN/hidden_state"], expected.final_state["simpleRNN/hidden_state"], rtol=1e-6
    )


def test_what_if(unroll):
    """With a change, both predictions stand next to each other."""
    run, _ = unroll
    shown = run("predict", X, "--json", "--what-if", "output/bias+=1")
    difference = np.subtract(shown["what_if"]["outputs"]["output"], shown["outputs"]["output"])
    np.testing.assert_allclose(difference, 1, atol=1e-5)
    status, text = run("predict", X, "--what-if", "output/bias+=1")
    assert status == 0
    assert "as served" in text
    assert "what if output/bias+=1" in text


def test_classes(unroll):
    """With --top, the classes with the largest scores are shown by label, also beside those with a change."""
    run, client = unroll
    ((expected,),) = client.predict([[[1, 2], [2, 3], [3, 4]]], top_classes=1).classes["output"]
    shown = run("predict", X, "--json", "--top", "1", "--what-if", "output/bias+=1")
    assert shown["classes"] == {"output": [[{"label": "level", "index": 0, "score": expected.score}]]}
    assert shown["what_if"]["classes"]["output"][0][0]["score"] > expected.score
    status, text = run("predict", X, "--top", "1")
    assert status == 0
    assert f"level {expected.score:.6g}" in text
    status, text = run("predict", X, "--top", "2")
    assert (status, "output output has 1 classes, got 2" in text) == (1, True)


def test_a_mistake_is_the_servers_sentence(unroll):
    """What the server refuses ends the command with its sentence."""
    run, _ = unroll
    status, text = run("predict", "[[[1,2,3]]]")
    assert status != 0
    assert "expected shape" in text
