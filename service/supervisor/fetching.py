"""Fetching of versions: download, trial, and a memory of what was refused. Also makes overridden versions."""

import io
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.entries import VersionInfo
from registry.errors import ArtifactError, CacheError
from service.config import ServerConfig
from service.errors import ServiceError, UnavailableError
from service.snapshot import VersionEntry, VersionKey
from service.supervisor.trial import Trial

if TYPE_CHECKING:
    from registry.store import Store

STORE_SECONDS = 20.0  # that a request waits for the registry client of a server that has just started
REFUSED_SECONDS = 10.0  # a refused version is not looked at again for so long, then twice as long, and so on
MOST_REMEMBERED = 256  # versions of each kind: refused, come through their trial

Trials = Callable[[], AbstractContextManager[Trial]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Refusal:
    """A version that may not serve, and when it is worth another look."""

    error: Exception
    seconds: float
    until: float


class Versions:
    """Gets versions from the registry into the cache, and proven. Any thread may ask."""

    def __init__(self, cache: Cache, config: ServerConfig) -> None:
        self._store: Store | None = None
        self._settled = threading.Event()  # set when the store is there, or when it is known why it is not
        self._cache = cache
        self._config = config
        self._remembering = threading.Lock()  # guards the next two; not held while anything is fetched
        self._refused: dict[VersionKey, _Refusal] = {}
        self._tried: dict[str, VersionEntry] = {}  # what came through its trial, by digest

    def open_store(self, make: "Callable[[], Store]") -> "Store":
        """The store, made now if it is not there yet; whoever waits for it goes on. Raises what `make` raises."""
        try:
            self._store = self._store or make()
        finally:
            self._settled.set()
        return self._store

    @property
    def registry(self) -> "Store":
        """The registry; waits while its client is imported, as workers may serve before. Raises UnavailableError."""
        self._settled.wait(STORE_SECONDS)
        if self._store is None:
            raise UnavailableError("the registry was not reached yet")
        return self._store

    def fetch(
        self, name: str, number: str, *, info: VersionInfo | None = None, on_demand: bool = False,
        trial: Trials = Trial,
    ) -> VersionEntry:  # fmt: skip
        """A version in the cache, its proof replayed, its engines chosen; by a process that `trial` gives.

        Chosen here once, so that all workers compute with the same engines, and give the same bits. What came through
        its trial, and lies in the cache still, is not tried again. What was refused is refused again for a while.

        Raises RegistryError where the registry or the artifact says no, ModelError where the network may not serve.
        """
        if refusal := self.refusal(name, number):
            raise refusal
        info = info or self.registry.version(name, number)
        try:
            entry = self._tried_before(info) or self._fetch(info, trial)
        except (ArtifactError, CacheError, ServiceError) as error:
            self._refuse(name, number, error)
            raise
        with self._remembering:
            self._refused.pop((name, number), None)
            _remember(self._tried, entry.digest, entry)
        return replace(entry, on_demand=on_demand)

    def refusal(self, name: str, number: str) -> Exception | None:
        """Why a version may not serve, until it is worth another look."""
        refusal = self._refused.get((name, number))
        return refusal.error if refusal and time.monotonic() < refusal.until else None

    def refusal_behind(self, name: str, reason: str) -> Exception | None:
        """The refusal of some version of a model that a text repeats, as reasons do; also when it is worth a look."""
        with self._remembering:
            errors = [refusal.error for (model, _), refusal in self._refused.items() if model == name]
        return next((error for error in errors if str(error) in reason), None)

    def damaged(self, entry: VersionEntry) -> bool:
        """Whether the cache no longer holds what a version was when it was fetched."""
        return not self._cache.holds(entry.digest)

    def _tried_before(self, info: VersionInfo) -> VersionEntry | None:
        before = self._tried.get(info.tags.get(tag.DIGEST, ""))
        if before is None or not self._cache.holds(before.digest):
            return None
        entry = _entry(info, self._cache.path(before.digest), before.digest)
        return replace(entry, engines=before.engines, basis=before.basis)

    def _fetch(self, info: VersionInfo, trials: Trials) -> VersionEntry:
        with trials() as trial:  # which starts while files come
            directory, digest = self._cache.fetch(self.registry, info)
            return trial.tried(info.name, _entry(info, directory, digest), self._config)

    def _refuse(self, name: str, number: str, error: Exception) -> None:
        with self._remembering:
            before = self._refused.get((name, number))
            seconds = before.seconds * 2 if before else REFUSED_SECONDS
            _remember(self._refused, (name, number), _Refusal(error, seconds, time.monotonic() + seconds))
        logger.error("version %s of %s is refused: %s", number, name, error)


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Puts the newest last, and lets go of the oldest."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > MOST_REMEMBERED:
        del memory[next(iter(memory))]


def _entry(info: VersionInfo, directory: Path, digest: str) -> VersionEntry:
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
        data=data if len(data := tags.get(tag.DATA, "")) <= tag.LONGEST_DATA else "",
    )


@contextmanager
def derived(base: Path, packed: bytes) -> Iterator[tuple[Path, Path | None, dict[str, str]]]:
    """A model file like the one in `base` but for some weights, its proof, and by name how these weights differ.

    Keras is not here to make the proof anew. The network that Keras's proof held for computes it, with the weights
    changed, so a loader elsewhere sees whether it computes what this server computes.
    """
    # Here, not above: few servers override, and these are much to import.
    import numpy as np

    from service.model import gradient_proof, keras_file
    from service.model import proof as proofs

    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        weights: Mapping[str, np.ndarray] = dict(arrays)
    with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
        model, proof = Path(folder, MODEL_FILE), Path(folder, PROOF_FILE)
        old = keras_file.rewrite(base / MODEL_FILE, model, weights)
        if (base / PROOF_FILE).exists():
            before, network = proofs.load(base / PROOF_FILE), keras_file.read(model)
            result = network.forward(before.inputs)
            along = before.directions if before.gradients else {}
            slopes = gradient_proof.gradients(network, before.inputs, along) if along else {}
            proofs.Proof(before.inputs, result.outputs, result.final_state, "unroll", along, slopes).save(proof)
        yield model, proof if proof.exists() else None, {w: _difference(old[w], new) for w, new in weights.items()}


def _difference(old: Any, new: Any) -> str:
    """How much an array of weights changed, in a few words."""
    by = (new - old)[new != old]
    if not by.size:
        return "no value changed"
    least, greatest = (f"{end:+.3g}" for end in (by.min(), by.max()))
    return f"{by.size} of {new.size} values, by {least if least == greatest else f'{least} to {greatest}'}"
