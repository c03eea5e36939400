"""service.cli.extras: a package that is missing is one line; tests/outside/test_install.py tries it for real."""

import pytest

from service.cli import extras


def test_what_is_there_is_not_imported():
    """An extra that is installed is no hindrance."""
    extras.require("serve")


def test_what_is_missing_is_named_with_its_extra(monkeypatch):
    """A command that needs what is not installed ends with one line that says what to install."""
    monkeypatch.setitem(extras.EXTRAS, "strange", ("json", "no_such_module", "no_other_module"))
    with pytest.raises(SystemExit) as caught:
        extras.require("strange")
    assert str(caught.value) == (
        "unroll: this needs no_such_module, no_other_module, which are not installed: "
        "pip install 'unroll-serving[strange]'"
    )
    assert extras.hint("no_such_module.part") == (
        "this needs no_such_module, which is not installed: pip install 'unroll-serving[strange]'"
    )
    assert extras.hint("another") == extras.hint(None) == ""
