"""`unroll models`: what is served; versions and moves need a registry (supervisor/test_listing.py, the README)."""

import json

import numpy as np

from tests.service.support import R3_INPUTS


def test_list(unroll):
    """Every version has a row with its aliases, and the default is marked."""
    run, _ = unroll
    (model,) = run("models", "list", "--json")
    assert (model["name"], model["default_version"], model["aliases"]) == ("reference", "1", {"champion": "1"})
    status, text = run("models", "list")
    assert status == 0
    assert "1 (default)" in text
    assert "@champion" in text


def test_show(unroll):
    """A model is shown layer by layer, with what it reads and predicts; of one that is not there the server says so."""
    run, _ = unroll
    status, text = run("models", "show")
    assert status == 0
    for word in ("serving version 1", "simpleRNN", "SimpleRNN", "28"):
        assert word in text
    for line in ("reads: flow, month; 3 timesteps", "predicts: level; 2 steps", "classes: level"):
        assert line in text
    status, text = run("models", "show", "--model", "none")
    assert status != 0
    assert "no model 'none'" in text


def test_examples(unroll):
    """The examples of a version are JSON that the other commands take."""
    run, client = unroll
    status, printed = run("models", "examples", "--sequences", "2")
    assert status == 0
    np.testing.assert_array_equal(json.loads(printed), R3_INPUTS[:2])
    predicted = run("predict", printed.strip(), "--json")
    np.testing.assert_allclose(predicted["outputs"]["output"], client.predict(R3_INPUTS[:2]).output, rtol=1e-6)
