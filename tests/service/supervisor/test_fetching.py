"""service.supervisor.fetching: what a version goes through on its way into service."""

import sys
from dataclasses import replace

import pytest

from registry.cache import Cache
from service.config import ServerConfig
from service.serving.loaded import MODEL_FILE
from service.supervisor.fetching import Versions


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
