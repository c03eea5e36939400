"""Versions on their way into service: downloaded, proven, and made from one another."""

import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.store import Store, VersionInfo
from service.config import ServerConfig
from service.snapshot import VersionEntry
from service.supervisor.trial import Trial


def fetch(
    store: Store,
    cache: Cache,
    info: VersionInfo,
    config: ServerConfig,
    *,
    on_demand: bool,
    tried: Mapping[str, VersionEntry],
) -> VersionEntry:
    """A version in the cache, its proof replayed, its engines chosen.

    Chosen here once, so that all workers compute with the same engines, and give the same bits. `tried` are those of
    which this server chose them already, by digest: where the file lies there still, that is not done again.

    Raises RegistryError where the registry or the artifact says no, ModelError where the network may not serve.
    """
    before = tried.get(info.tags.get(tag.DIGEST, ""))
    if before is not None and cache.holds(before.digest):
        entry = _entry(info, cache.path(before.digest), before.digest, on_demand=on_demand)
        return replace(entry, engines=before.engines, basis=before.basis)
    with Trial() as trial:
        directory, digest = cache.fetch(store, info)
        return trial.tried(info.name, _entry(info, directory, digest, on_demand=on_demand), config)


def _entry(info: VersionInfo, directory: Path, digest: str, *, on_demand: bool) -> VersionEntry:
    tags = info.tags
    return VersionEntry(
        number=info.number,
        digest=digest,
        directory=str(directory),
        origin=tags.get(tag.KIND, "other"),
        base_version=tags.get(tag.BASE_VERSION, ""),
        changed_weights=tuple(filter(None, tags.get(tag.CHANGED_WEIGHTS, "").split(","))),
        actor=tags.get(tag.ACTOR, ""),
        reason=tags.get(tag.REASON, ""),
        created=info.created,
        on_demand=on_demand,
    )


@contextmanager
def derived(base: Path, packed: bytes) -> Iterator[tuple[Path, Path | None, list[str]]]:
    """A model file like the one in `base` but for some weights, its proof, and the names of those weights.

    Keras is not here to make the proof anew. The network that Keras's proof held for computes it, with the weights
    changed, so whoever replays it elsewhere sees whether they compute what this server computes.
    """
    # Here, not above: few servers override, and h5py is much to import.
    from service.model import keras_file
    from service.model import proof as proofs

    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        weights: Mapping[str, np.ndarray] = dict(arrays)
    with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
        model, proof = Path(folder, MODEL_FILE), Path(folder, PROOF_FILE)
        keras_file.rewrite(base / MODEL_FILE, model, weights)
        if (base / PROOF_FILE).exists():
            inputs = proofs.load(base / PROOF_FILE).inputs
            result = keras_file.read(model).forward(inputs)
            proofs.Proof(inputs, result.outputs, result.final_state, made_by="unroll").save(proof)
        yield model, proof if proof.exists() else None, list(weights)
