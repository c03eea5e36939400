"""The declared snapshot of a server, and the lock under which it changes."""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from registry.cache import Cache
from registry.references import Reference
from service.errors import NotFoundError
from service.snapshot import ModelEntry, Snapshot
from service.supervisor.fleet import Fleet
from service.supervisor.last_good import LastGood

logger = logging.getLogger(__name__)


class Declared:
    """The models of a server as its workers serve them.

    Whoever changes what is served holds `changing`: it guards `references`, the epochs, and the step from one snapshot
    of the fleet to the next. Nothing is downloaded or tried while it is held. Readers need no lock: snapshots are
    values, replaced whole.
    """

    def __init__(
        self, references: dict[str, list[Reference]], fleet: Fleet, cache: Cache, last_good: LastGood, address: str
    ) -> None:
        self.changing = threading.Lock()
        self.references = references
        self._epochs: dict[str, int] = {}  # how often a model was changed through this server, in the registry or here
        self._fleet = fleet
        self._cache = cache
        self._last_good = last_good
        self._address = address

    @property
    def snapshot(self) -> Snapshot:
        """What the workers serve."""
        return self._fleet.snapshot

    def epoch(self, name: str) -> int:
        """Counts changes of a model through this server: what was asked of the registry before one is out of date."""
        return self._epochs.get(name, 0)

    def touched(self, name: str) -> None:
        """A model was changed through this server, or may have been; the lock is held."""
        self._epochs[name] = self.epoch(name) + 1

    def entry(self, name: str) -> ModelEntry:
        """The entry of a model as it is served; an empty one before anything is."""
        served = self.snapshot.models.get(name)
        if served is not None:
            return served
        references = self.references.get(name, [])
        return ModelEntry(name, tuple(map(str, references)), default_alias=references[0].alias if references else "")

    def served(self, name: str) -> ModelEntry:
        """The entry of a model that is served. Raises NotFoundError."""
        entry = self.snapshot.models.get(name)
        if entry is None:
            raise NotFoundError(f"no model {name!r} is served here", field="model")
        return entry

    def serves_anything(self) -> bool:
        """Whether any model answers."""
        return any(entry.default_version for entry in self.snapshot.models.values())

    def declare(self, entries: Collection[ModelEntry], before_commit: Callable[[], None] | None = None) -> None:
        """Brings the workers to new entries of models, as far as they say anything new; the lock is held.

        Raises ServiceError where the workers refuse one, and what `before_commit` raises: then nothing has changed.
        """
        before = self.snapshot
        new = [entry for entry in entries if before_commit or not _same(entry, before.models.get(entry.name))]
        if not new:
            return
        self._fleet.apply(before.with_models(new), before_commit)
        for entry in new:
            self._log(entry, before.models.get(entry.name))
        self._last_good.write(new)
        olds = [old for entry in new if (old := before.models.get(entry.name))]
        if _digests(olds) - _digests(new):
            try:
                self._cache.prune(_digests(self.snapshot.models.values()))
            except OSError as error:  # the cache stays larger than it need be
                logger.warning("cannot remove versions from the cache: %s", error)

    def drop(self, name: str) -> None:
        """Has a model served no longer; the lock is held. Raises ServiceError: then nothing has changed."""
        self._fleet.apply(self.snapshot.without_model(name))
        self._last_good.write([], dropped=[name])

    def _log(self, entry: ModelEntry, old: ModelEntry | None) -> None:
        if old is None or (old.default_version, old.stale_reason) != (entry.default_version, entry.stale_reason):
            logger.info(
                "serving %s version %s on %s%s", entry.name, entry.default_version or "(none)", self._address,
                f"; {entry.stale_reason}" if entry.stale_reason else "",
            )  # fmt: skip


def _same(entry: ModelEntry, old: ModelEntry | None) -> bool:
    """Whether two entries of a model say the same, but for when the registry last agreed."""
    return old is not None and replace(entry, confirmed=old.confirmed) == old


def _digests(models: Collection[ModelEntry]) -> set[str]:
    return {version.digest for model in models for version in model.versions.values()}
