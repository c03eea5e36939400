"""service.serving.host: what a worker serves, and what it says of what it does not."""

import pytest

from service.errors import InvalidArgumentError, NotFoundError, UnavailableError
from service.serving.host import Host
from service.snapshot import ModelEntry
from tests.service.support import entry, show


def test_model_not_loaded_yet(versions):
    """A model that was asked for and is not loaded yet is unavailable, not unknown; the others are served."""
    host = Host()
    show(host, entry("reference", "champion", v1=versions["r3-1"]), ModelEntry("linear", ("models:/linear@champion",)))
    assert host.resolve("reference", "").entry.number == "1"
    with pytest.raises(UnavailableError, match="no version of linear is loaded yet"):
        host.resolve("linear", "")
    with pytest.raises(InvalidArgumentError, match="name one of linear, reference"):
        host.resolve("", "")
    with pytest.raises(NotFoundError):
        host.resolve("other", "")


def test_refused_snapshot_changes_nothing(versions, tmp_path):
    """A snapshot that cannot be loaded leaves what is served as it was."""
    host = Host()
    show(host, entry("reference", "champion", v1=versions["r3-1"]))
    before = host.snapshot()
    broken = versions["r3-2"].__class__("2", "0" * 64, str(tmp_path))
    with pytest.raises(OSError, match="No such file"):
        show(host, entry("reference", "champion", v2=broken))
    host.abort()
    assert host.snapshot() is before
