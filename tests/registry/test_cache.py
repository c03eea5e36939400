"""The cache holds what its names say: what is damaged there is fetched anew, and what is wrong never gets there."""

import dataclasses
import hashlib
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import artifact, tag
from registry.cache import KEPT, MODEL_FILE, PROOF_FILE, Cache
from registry.errors import ArtifactCorruptError, ArtifactRefusedError, RegistryNotFoundError


@pytest.fixture
def cache(tmp_path):
    """An empty cache, whose folder does not exist yet."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def register(store, folder, request):
    """Registers a version of any bytes under a name of the test's own."""
    return lambda *args, **files: store.register(re.sub(r"\W", "_", request.node.name), folder(*args, **files), {})


def stored(version):
    """Where the registry itself keeps the files of a version."""
    from mlflow import MlflowClient

    client = MlflowClient()
    model_id = client.get_model_version(version.name, version.number).source.removeprefix("models:/")
    return Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


def content(cache):
    """All files of the cache, by their paths under the folder of versions."""
    root = cache.path("")
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_version_is_fetched_with_its_proof(cache, store, register):
    """A fetched version lies under the digest of its network, the proof beside it, and no other file is kept."""
    path, digest = cache.fetch(store, register(b"network", b"proof"))
    assert digest == sha256(b"network")
    assert path == cache.path(digest)
    assert (path / MODEL_FILE).read_bytes() == b"network"
    assert (path / PROOF_FILE).read_bytes() == b"proof"
    assert content(cache) == {digest, f"{digest}/{MODEL_FILE}", f"{digest}/{PROOF_FILE}"}
    assert cache.holds(digest)


def test_a_version_without_a_proof_is_fetched_without(cache, store, register):
    """A version that has no proof in the registry has none in the cache."""
    _, digest = cache.fetch(store, register(b"network", None))
    assert content(cache) == {digest, f"{digest}/{MODEL_FILE}"}


def test_a_version_in_the_cache_is_not_downloaded_again(cache, store, register):
    """What the cache holds is served though the registry has lost its files."""
    version = register()
    path, digest = cache.fetch(store, version)
    shutil.rmtree(stored(version))
    assert cache.fetch(store, version) == (path, digest)
    with pytest.raises((RegistryNotFoundError, ArtifactCorruptError)):
        cache.fetch(store, dataclasses.replace(version, tags={}))


def test_versions_with_the_same_network_are_kept_once(cache, store, register):
    """The same bytes registered twice lie in the cache once."""
    first, second = register(b"same"), register(b"same")
    assert cache.fetch(store, first) == cache.fetch(store, second)
    assert cache.fetch(store, register(b"other")) != cache.fetch(store, second)
    assert len(list(cache.path("").iterdir())) == 2


@pytest.mark.parametrize("damage", ["changed", "cut", "emptied", "removed", "a folder"])
def test_a_damaged_file_in_the_cache_is_fetched_anew(cache, store, register, damage):
    """A network in the cache that lost or changed bytes is not served, but downloaded again."""
    version = register(b"network")
    path, digest = cache.fetch(store, version)
    model = path / MODEL_FILE
    if damage in {"removed", "a folder"}:
        model.unlink()
        if damage == "a folder":
            model.mkdir()
    else:
        model.write_bytes({"changed": b"netw0rk", "cut": b"networ", "emptied": b""}[damage])
    assert not cache.holds(digest)

    assert cache.fetch(store, version) == (path, digest)
    assert model.read_bytes() == b"network"
    assert content(cache) == {digest, f"{digest}/{MODEL_FILE}", f"{digest}/{PROOF_FILE}"}


@pytest.mark.parametrize("digest", ["0" * 64, "../../outside", "/", "."])
def test_other_bytes_than_were_registered_are_not_kept(cache, store, register, tmp_path, digest):
    """A version whose network is not what its digest says is refused, and nothing is left or removed anywhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / MODEL_FILE).write_bytes(b"not of the cache")
    version = register(b"network")
    store.set_tags(version.name, version.number, {tag.DIGEST: digest})
    with pytest.raises(ArtifactCorruptError, match=f"version [0-9]+ of .* has SHA-256 {sha256(b'network')[:12]}…, but"):
        cache.fetch(store, store.version(version.name, version.number))
    assert content(cache) == set()
    assert (outside / MODEL_FILE).read_bytes() == b"not of the cache"


def test_bytes_that_changed_in_the_registry_are_not_kept(cache, store, register):
    """A network that was exchanged in the registry's storage is refused, and what was fetched before stays."""
    version, other = register(b"network"), register(b"other")
    path, _ = cache.fetch(store, other)
    (stored(version) / artifact.KERAS_FILE).write_bytes(b"exchanged")
    with pytest.raises(ArtifactCorruptError):
        cache.fetch(store, version)
    assert [entry.name for entry in cache.path("").iterdir()] == [path.name]
    assert cache.holds(path.name)


def test_what_is_refused_leaves_nothing(cache, store, register):
    """A version that holds a pickle is refused before it is downloaded, and the cache stays empty."""
    with pytest.raises(ArtifactRefusedError, match="is a pickle"):
        cache.fetch(store, register(**{"model.pkl": b"pickle"}))
    assert content(cache) == set()


def test_a_version_without_a_digest_is_known_by_what_it_is(cache, store, register):
    """A version that others registered has no digest; it is downloaded, and kept under that of its network."""
    version = dataclasses.replace(register(b"network"), tags={})
    for _ in range(2):
        path, digest = cache.fetch(store, version)
        assert digest == sha256(b"network")
        assert (path / MODEL_FILE).read_bytes() == b"network"
    assert len(list(cache.path("").iterdir())) == 1


def test_a_version_without_a_digest_stays_while_it_is_fetched_again(cache, store, register):
    """Files that a worker may be reading are not removed to put the same ones in their place."""
    version = dataclasses.replace(register(b"network"), tags={})
    path, _ = cache.fetch(store, version)
    inode = (path / MODEL_FILE).stat().st_ino
    cache.fetch(store, version)
    assert (path / MODEL_FILE).stat().st_ino == inode


def test_servers_that_share_a_cache_fetch_at_once(cache, store, register):
    """Many who fetch the same version into the same cache in the same moment all get it, whole."""
    version = register(b"network" * 10_000)
    together = threading.Barrier(8)

    def fetch(_):
        together.wait(30)
        path, _ = cache.fetch(store, version)
        return (path / MODEL_FILE).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fetch, range(8))) == {b"network" * 10_000}
    assert len(list(cache.path("").iterdir())) == 1


def keep(cache, number, age):
    """Puts a version of that age in seconds into a cache; gives its digest."""
    digest = sha256(str(number).encode())
    path = cache.path(digest)
    path.mkdir(parents=True)
    (path / MODEL_FILE).write_bytes(str(number).encode())
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return digest


def test_pruning_keeps_what_is_needed_and_the_newest(cache):
    """Beyond the bound the oldest versions go, but never one that is needed, however old it is."""
    by_age = [keep(cache, number, age=number) for number in range(KEPT + 10)]
    needed = {by_age[-1], by_age[0]}
    cache.prune(needed)
    kept = {path.name for path in cache.path("").iterdir()}
    assert kept == needed | set(by_age[1 : KEPT + 1])
    assert all(cache.holds(digest) for digest in kept)


def test_pruning_below_the_bound_removes_nothing(cache):
    """A cache that is not full is left as it is, and so are downloads under way."""
    digests = {keep(cache, number, age=number) for number in range(KEPT)}
    (cache.path("") / ".part-under-way").mkdir()
    cache.prune(())
    assert {path.name for path in cache.path("").iterdir()} == digests | {".part-under-way"}


def test_pruning_a_cache_that_does_not_exist_is_nothing(cache):
    """A cache that was never used has nothing to remove, and pruning does not make it."""
    cache.prune(())
    assert not cache.path("").exists()
