"""service.supervisor.fetching: what a version goes through on its way into service."""

import sys
from dataclasses import replace

import pytest

from registry.cache import Cache
from service.config import ServerConfig
from service.serving.host import MODEL_FILE
from service.supervisor.fetching import fetch


def test_what_was_tried_is_not_tried_again(registry, tmp_path, monkeypatch):
    """A version that came through its trial, and lies in the cache still, is back without another; others are not."""
    info = registry.store.version("tried", registry.register("tried", "r3-1"))
    cache, config = Cache(tmp_path), ServerConfig(("models:/tried@champion",))

    def fetched(tried, *, on_demand=False):
        return fetch(registry.store, cache, info, config, on_demand=on_demand, tried=tried)

    first = fetched({})
    assert set(first.engines) <= {"scalar", "numpy", "onnxruntime"}
    assert len(first.engines) == 2
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))  # no process can be started from here on
    assert fetched({first.digest: first}, on_demand=True) == replace(first, on_demand=True)
    with pytest.raises(OSError, match="none"):
        fetched({})
    (cache.path(first.digest) / MODEL_FILE).unlink()
    with pytest.raises(OSError, match="none"):
        fetched({first.digest: first})
