"""service.supervisor.fetching: what a version goes through on its way into service."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from registry.cache import Cache
from registry.errors import RegistryError
from service.config import ServerConfig
from service.errors import UnavailableError
from service.serving.loaded import MODEL_FILE
from service.supervisor.fetching import Versions


@pytest.fixture
def fetching(registry, tmp_path):
    """What a supervisor fetches with."""
    made = Versions(Cache(tmp_path / "cache"), ServerConfig(("models:/tried@champion",)))
    made.open_store(lambda: registry.store)
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


def test_requests_wait_for_the_client_of_the_registry(registry, tmp_path):
    """A request that comes while the client of the registry is imported is answered when it is there."""
    versions = Versions(Cache(tmp_path / "cache"), ServerConfig(("models:/tried@champion",)))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: versions.registry)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        versions.open_store(lambda: registry.store)
        assert waiting.result(30) is registry.store


def test_requests_do_not_wait_for_a_registry_that_cannot_be_opened(tmp_path):
    """Where the registry cannot be opened, requests are refused at once, until it can be."""
    versions = Versions(Cache(tmp_path / "cache"), ServerConfig(("models:/tried@champion",)))

    def fail():
        raise RegistryError("no such database")

    with pytest.raises(RegistryError):
        versions.open_store(fail)
    with pytest.raises(UnavailableError, match="not reached yet"):
        _ = versions.registry
