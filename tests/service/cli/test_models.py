"""`unroll models`: what is served; moves need a registry (supervisor/test_supervisor.py, the README)."""


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
    """A model is shown layer by layer; one that is not there ends the command with the server's sentence."""
    run, _ = unroll
    status, text = run("models", "show")
    assert status == 0
    for word in ("serving version 1", "simpleRNN", "SimpleRNN", "28"):
        assert word in text
    status, text = run("models", "show", "--model", "none")
    assert status != 0
    assert "no model 'none'" in text
