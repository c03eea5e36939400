"""service.supervisor.fetching: what a version goes through on its way into service, and what is remembered of it."""

import sys
import time
from dataclasses import replace

import pytest

from registry.cache import Cache
from registry.errors import RegistryNotFoundError
from service.config import ServerConfig
from service.errors import NotFoundError
from service.serving.host import MODEL_FILE
from service.supervisor.fetching import UNKNOWN_SECONDS, Versions


@pytest.fixture
def fetching(registry, tmp_path):
    """What a supervisor fetches with."""
    made = Versions(Cache(tmp_path / "cache"), ServerConfig(("models:/tried@champion",)))
    made.store = registry.store
    return made


def test_what_was_tried_is_not_tried_again(registry, fetching, tmp_path, monkeypatch):
    """A version that came through its trial, and lies in the cache still, is back without another; others are not."""
    number = registry.register("tried", "r3-1")
    other = registry.register("tried", "r3-2")
    first = fetching.fetch("tried", number)
    assert set(first.engines) <= {"scalar", "numpy", "onnxruntime"}
    assert len(first.engines) == 2
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))  # no process can be started from here on
    assert fetching.fetch("tried", number, on_demand=True) == replace(first, on_demand=True)
    with pytest.raises(OSError, match="none"):
        fetching.fetch("tried", other)
    (tmp_path / "cache" / "versions" / first.digest / MODEL_FILE).unlink()
    with pytest.raises(OSError, match="none"):
        fetching.fetch("tried", number)


@pytest.mark.parametrize("text", ["01", "0", "", "champion", "1 ", "٣", "9" * 30, "1" * 10])
def test_one_form_of_a_version(fetching, text):
    """What is no version number in its one form is not asked for in the registry."""
    fetching.store = None
    with pytest.raises(NotFoundError, match="no version"):
        fetching.check_named("tried", text)


def test_unknown_versions_are_remembered(registry, fetching, monkeypatch):
    """A version that the registry does not know is not asked for again for a moment; then it is."""
    number = registry.register("remembered", "r3-1")
    unknown = str(int(number) + 1)
    fetching.check_named("remembered", unknown)
    with pytest.raises(RegistryNotFoundError):
        fetching.fetch_named("remembered", unknown)
    with pytest.raises(NotFoundError, match=f"no version {unknown} of remembered"):
        fetching.check_named("remembered", unknown)
    assert fetching.fetch("remembered", registry.register("remembered", "r3-1")).number == unknown
    fetching.check_named("remembered", unknown)  # it has come to be
    with pytest.raises(RegistryNotFoundError):
        fetching.fetch_named("remembered", "99")
    later = time.monotonic() + UNKNOWN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    fetching.check_named("remembered", "99")
