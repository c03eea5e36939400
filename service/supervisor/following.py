"""Following the registry: polls it, has versions fetched, and moves the workers to the desired snapshot."""

import gc
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry import tag
from registry.entries import VersionInfo
from registry.errors import RegistryError
from service.config import ServerConfig
from service.errors import NotFoundError, ServiceError, UnavailableError
from service.snapshot import ModelEntry, VersionEntry, VersionKey
from service.supervisor.declared import Declared
from service.supervisor.desired import desired, unfollowed, wanted
from service.supervisor.fetching import Versions
from service.supervisor.fleet import Fleet
from service.supervisor.lanes import Lanes
from service.supervisor.metrics import counted
from service.supervisor.observation import ServerObservation
from service.supervisor.registry_errors import public

if TYPE_CHECKING:
    from registry.search import Search

LONGEST_PAUSE_SECONDS = 10.0  # between two looks at a registry that does not answer
CHECK_SECONDS = 30.0  # after which the registry is asked again whether it has a version, with the same digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Answer:
    """What the registry said of a model, and how often this server had changed it when it was asked."""

    epoch: int
    aliases: Mapping[str, str] | None


class Follower:
    """Follows the registry in a thread of its own. What is its own is used by that thread, but for what says else."""

    def __init__(
        self,
        declared: Declared,
        versions: Versions,
        lanes: Lanes,
        fleet: Fleet,
        config: ServerConfig,
        observation: ServerObservation,
    ) -> None:
        self._observation = observation
        self._declared = declared
        self._versions = versions
        self._lanes = lanes
        self._fleet = fleet
        self._config = config
        self._search: Search | None = None
        self._answers: dict[str, _Answer] = {}  # of the last look, by model
        self._settled: dict[str, _Answer] = {}  # those that the workers serve accordingly
        self._fetching: dict[VersionKey, Future[VersionEntry]] = {}
        self._late: set[VersionKey] = set()  # what was being fetched already when the last look began
        self._checked: dict[VersionKey, float] = {}  # when the registry last knew a served version; monotonic seconds
        self._kept = 0  # served versions, when the memory in use was last set apart from what is collected
        self._problems: dict[VersionKey, str] = {}  # why a version that is served is not what the registry says
        self.confirmed: dict[str, float] = {}  # when the registry last agreed, by model; seconds since the epoch
        self._news = threading.Event()  # any thread sets it: something was fetched, or a look is worth while
        self._hinted = False  # any thread sets it: a look is worth while
        self._doubted = False  # any thread sets it: files in the cache may be damaged

    def look_now(self) -> None:
        """Hints that the registry has news."""
        self._hinted = True
        self._news.set()

    def doubt(self) -> None:
        """A worker that was started anew cannot load what the others serve: files in the cache are in doubt."""
        self._doubted = True
        self.look_now()

    def run(self, stopping: threading.Event, fail: Callable[[Exception], None]) -> None:
        """Follows until the server stops; calls `fail` where nothing can be served and it is not to wait."""
        must_serve = not self._declared.serves_anything() and not self._config.wait
        failures, logged, next_look = 0, "", 0.0
        while not stopping.is_set():
            try:
                if time.monotonic() >= next_look or self._hinted:
                    self._hinted = False
                    self._look()
                    failures, logged, next_look = 0, "", time.monotonic() + self._pause(0)
                missing = self._settle()
                if must_serve and missing:
                    raise NotFoundError("; ".join(missing))
                must_serve = must_serve and bool(self._fetching)
            except Exception as error:
                expected = isinstance(error, ServiceError | RegistryError)
                if not (expected and public(error) == logged):  # each cause once, not with every attempt
                    logger.warning("cannot follow the registry: %s", error, exc_info=not expected)
                failures, logged = failures + 1, public(error)
                if must_serve:
                    fail(error)
                    return
                self._mark_unfollowed(public(error))
                next_look = time.monotonic() + self._pause(failures)
            self._news.wait(max(0.0, next_look - time.monotonic()))
            self._news.clear()

    def _pause(self, failures: int) -> float:
        """Seconds until the next look: longer and longer while looks fail, and not the same in all replicas."""
        longest = max(LONGEST_PAUSE_SECONDS, self._config.poll_seconds)
        pause = min(self._config.poll_seconds * 2 ** min(failures, 10), longest)
        return float(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads replicas, hides nothing

    def _look(self) -> None:
        """Asks the registry where the aliases of all models point. Raises RegistryError."""
        if self._search is None:
            # Imports NumPy and MLflow: seconds, in which the workers serve already.
            from registry.search import Search
            from registry.store import Store

            counts = self._observation.counts
            store = self._versions.open_store(lambda: counted(Store(self._config.registry_lock), counts))
            self._search = counted(Search(store), counts)
            gc.freeze()  # what MLflow brings stays: without this each full collection walks all of it, for 0.15 s
        elif len(self._checked) > 1.25 * self._kept + 32:
            self._kept = len(self._checked)
            gc.collect()
            gc.freeze()  # so does what is held of versions: of 500 models, walking it was half the cost of a look
        epochs = {name: self._declared.epoch(name) for name in list(self._declared.references)}
        found = self._search.aliases(epochs)
        self._answers = {name: _Answer(epochs[name], aliases) for name, aliases in found.items()}
        if self._doubted:
            self._doubted = False
            self._look_at_files()
        self._late = set(self._fetching)
        self._check()
        self._fleet.ping(self.confirmed)

    def _check(self) -> None:
        """Asks for what is known of versions: those that are to be fetched, and sometimes those that are served."""
        assert self._search is not None
        now = time.monotonic()
        new, known, due = [], [], False
        for name, answer in self._answers.items():
            served = self._declared.entry(name).versions
            for number in wanted(self._declared.references.get(name, ()), answer.aliases):
                key = name, number
                if number not in served:
                    if key not in self._fetching and not self._versions.refusal(*key):
                        new.append(key)
                else:
                    known.append(key)
                    due = due or now - self._checked.get(key, -CHECK_SECONDS) >= CHECK_SECONDS
        old = known if due else []  # all at once: they come from one search, which else each look would need for some
        if not new and not old:
            return
        infos = self._search.versions([*new, *old])
        for key in old:
            self._checked[key] = now
            served_as = self._declared.entry(key[0]).versions.get(key[1])
            if served_as is not None:
                self._compare(key, served_as, infos[key])
        for key in new:
            self._problems.pop(key, None)
            if infos[key] is None:
                self._problems[key] = f"no version {key[1]} of {key[0]} in the registry"
            else:
                self._fetch(key, infos[key])
        self._checked = {key: when for key, when in self._checked.items() if key[0] in self._answers}
        self._problems = {key: problem for key, problem in self._problems.items() if key[0] in self._answers}

    def _compare(self, key: VersionKey, served: VersionEntry, info: VersionInfo | None) -> None:
        """Compares a version that is served with what the registry says of it."""
        before = self._problems.pop(key, None)
        if info is None:
            self._problems[key] = f"no version {key[1]} of {key[0]} in the registry"
        elif info.tags.get(tag.DIGEST, served.digest) != served.digest:
            self._fetch(key, info)
        if before != self._problems.get(key):
            self._settled.pop(key[0], None)

    def _look_at_files(self) -> None:
        """Fetches anew what the cache no longer holds as it was."""
        for name in self._answers:
            for number, version in self._declared.entry(name).versions.items():
                if self._versions.damaged(version):
                    logger.warning("version %s of %s is damaged in the cache; it is downloaded again", number, name)
                    self._fetch((name, number), None, on_demand=version.on_demand)

    def _fetch(self, key: VersionKey, info: VersionInfo | None, *, on_demand: bool = False) -> None:
        """Has a version fetched; a model that serves already comes before those that do not."""
        serves = bool(self._declared.entry(key[0]).default_version)
        future = self._lanes.want(*key, first=serves, info=info, on_demand=on_demand)
        self._fetching[key] = future
        self._settled.pop(key[0], None)
        future.add_done_callback(lambda _: self._news.set())

    def _settle(self) -> list[str]:
        """Brings the workers to the answers of the last look, as far as the versions that they need have come.

        Gives the reasons where nothing of a model can be served, and nothing is on its way.
        """
        came = {key: self._fetching.pop(key) for key, future in list(self._fetching.items()) if future.done()}
        fetching = {name for name, _ in self._fetching}
        entries, settled, missing = [], {}, []
        with self._declared.changing:
            for name, answer in list(self._answers.items()):
                if name not in self._declared.references or answer.epoch != self._declared.epoch(name):
                    del self._answers[name]  # dropped or changed while the registry was asked; the next look says more
                elif self._settled.get(name) == answer:
                    self._agree(name)
                elif (entry := self._desired(name, answer, came)) is not None:
                    entries.append(entry)
                    if name not in fetching:
                        settled[name] = answer
                        if not entry.default_version:
                            missing.append(entry.stale_reason)
            refused = self._declare([self._confirmed(entry) for entry in entries])
        self._settled |= {name: answer for name, answer in settled.items() if name not in refused}
        return missing

    def _desired(
        self, name: str, answer: _Answer, came: Mapping[VersionKey, "Future[VersionEntry]"]
    ) -> ModelEntry | None:
        """What is to be served of a model; None while that depends on what is being fetched.

        Of a model that serves, a fetch that takes longer than until the next look is said.
        """
        references, old = self._declared.references[name], self._declared.entry(name)
        found: dict[str, VersionEntry | str] = {}
        for number in wanted(references, answer.aliases):
            key = name, number
            served = old.versions.get(number)
            if key in came:
                error = came[key].exception()
                found[number] = str(error) if error else came[key].result()
                self._checked[key] = time.monotonic()
            elif key in self._problems:
                found[number] = self._problems[key]
            elif served is not None:
                found[number] = served
            elif key in self._fetching:
                if key not in self._late or not old.default_version:
                    return None
                found[number] = f"version {number} is being fetched"
            else:
                found[number] = str(self._versions.refusal(*key) or f"version {number} was not fetched yet")
        return desired(old, references, answer.aliases, found)

    def _confirmed(self, entry: ModelEntry) -> ModelEntry:
        if entry.stale_reason:
            return entry
        self.confirmed[entry.name] = time.time()
        return replace(entry, confirmed=self.confirmed[entry.name])

    def _agree(self, name: str) -> None:
        """The registry says again what is served."""
        if not self._declared.entry(name).stale_reason:
            self.confirmed[name] = time.time()

    def _declare(self, entries: Collection[ModelEntry]) -> set[str]:
        """Declares entries; where the workers refuse one, what they serve stays, with the reason. Gives the refused."""
        before = [self._declared.entry(entry.name) for entry in entries]
        try:
            self._declared.declare(entries)
            for old, entry in zip(before, entries, strict=True):
                self._observation.moved(old, entry)
        except UnavailableError:
            raise  # no worker is there: nothing was refused
        except ServiceError as error:
            if len(entries) > 1:
                return {name for entry in entries for name in self._declare([entry])}
            (entry,) = entries
            reason = f"the workers refused what the registry says: {error}"
            self._declared.declare([replace(self._declared.entry(entry.name), stale_reason=reason)])
            return {entry.name}
        return set()

    def _mark_unfollowed(self, reason: str) -> None:
        """Says of all models that the registry cannot be followed; tries to, where no worker runs just now."""
        self._settled.clear()
        try:
            with self._declared.changing:
                names = list(self._declared.references)
                self._declared.declare([unfollowed(self._declared.entry(name), reason) for name in names])
        except ServiceError as error:
            logger.warning("the workers do not know that the registry cannot be followed: %s", error)
