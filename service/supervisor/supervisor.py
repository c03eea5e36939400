"""The supervisor of a server: follows the registry, keeps the cache, and declares what the workers serve.

It alone talks to MLflow. Everything that changes what is served goes through `Fleet.apply`, one change at a time:
workers prepare, then the registry is changed if that is asked for, then workers commit.

This file imports nothing that is slow: workers are started first, and what the supervisor needs is imported meanwhile.
"""

import hashlib
import logging
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import tag
from registry.cache import Cache
from registry.errors import (
    ArtifactError,
    CacheError,
    InvalidReferenceError,
    RegistryConflictError,
    RegistryError,
    RegistryNotFoundError,
    RegistryUnavailableError,
)
from registry.references import Reference, parse
from service.config import ServerConfig, split_address
from service.errors import (
    ConflictError,
    CorruptModelError,
    InvalidArgumentError,
    NotFoundError,
    ServiceError,
    UnavailableError,
)
from service.snapshot import ModelEntry, Snapshot, VersionEntry
from service.supervisor.fleet import Fleet, Handler
from service.supervisor.port import Port

if TYPE_CHECKING:
    from registry.store import Store

LONGEST_PAUSE_SECONDS = 10.0  # between two looks at a registry that does not answer
DEFAULT_ALIAS = "champion"  # of a model that a client has served without saying which version
REFUSED_SECONDS = 10.0  # a refused version is not looked at again for so long, then twice as long, and so on
MOST_TRIED = 256  # versions that are remembered to have come through their trial
UNCONFIRMED = "not yet confirmed by the registry: last good snapshot of this server"

logger = logging.getLogger(__name__)


class Supervisor:
    """One server: its workers, its cache, and its view of the registry."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ServiceError or RegistryError for a configuration that makes no sense, OSError for a port in use."""
        self._references: dict[str, list[Reference]] = {}
        for text in config.references:
            reference = parse(text)
            self._references.setdefault(reference.name, []).append(reference)
        host, port = split_address(config.address)
        self._port = Port(host, port)
        self._config = replace(config, address=self._port.address)
        self._cache = Cache(config.cache)
        self._last_good_file = config.cache / f"snapshot-{_short_digest(config.references)}.json"
        operations: dict[str, Handler] = {
            "load": self._load,
            "override": self._override,
            "move_alias": self._move_alias,
        }
        operations |= {"serve": self._serve, "drop": self._drop, "statistics": self._statistics}
        self._fleet = Fleet(self._config, operations, self._on_refused)
        self._store: Store | None = None
        self._changing = threading.Lock()  # held by whoever changes the snapshot; guards the next four
        self._epoch = 0  # counts our own changes of the registry; a look begun before one is out of date
        self._refused: dict[tuple[str, str], _Refusal] = {}
        self._loaded: dict[tuple[str, str], float] = {}  # when versions were loaded on demand; monotonic seconds
        self._repair = False  # whether files in the cache are in doubt
        self._tried: Mapping[str, VersionEntry] = {}  # versions that came through their trial, by digest
        self._confirmed: dict[str, float] = {}  # when the registry last agreed, by model; seconds since the epoch
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._failure: Exception | None = None

    @property
    def address(self) -> str:
        """Where the server listens."""
        return self._config.address

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; after a second one calls in progress are not waited for.

        Raises ServiceError or RegistryError where nothing can be served and the configuration says not to wait.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        webhooks = None
        try:
            if self._config.webhook_address:
                from service.supervisor.webhook import listen

                webhooks = listen(self._config.webhook_address, self._config.webhook_secret, self.look_now)
            self._fleet.start(self._with_all_models(self._last_good()))
            # In a thread of its own: a registry that hangs must not keep a signal waiting.
            threading.Thread(target=self._follow, name="follow", daemon=True).start()
            self._stopping.wait()
        finally:
            if webhooks is not None:
                webhooks.shutdown()
            self._fleet.stop(self._config.drain_seconds if self._failure is None else 0.0)
            self._port.close()
        if self._failure is not None:
            raise self._failure

    def look_now(self) -> None:
        """Hints that the registry has news."""
        self._news.set()

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._stopping.is_set():
            self._fleet.kill()
        else:
            logger.info("%s: calls in progress have %g s", signal.Signals(number).name, self._config.drain_seconds)
            self._stopping.set()

    # Following the registry.

    def _follow(self) -> None:
        # Imports NumPy and MLflow: seconds, in which the workers serve already.
        from registry.store import Store

        failures = 0
        while not self._stopping.is_set():
            served = self._serves_anything()
            try:
                self._store = self._store or Store()
                missing = self._look()
                if missing and not served and not self._config.wait:
                    raise NotFoundError("; ".join(missing))
                failures = 0
            except Exception as error:
                expected = isinstance(error, ServiceError | RegistryError)
                if not (expected and failures):  # the reason once, not with every attempt
                    logger.warning("cannot follow the registry: %s", error, exc_info=not expected)
                failures += 1
                if not served and not self._config.wait:
                    self._failure = error
                    self._stopping.set()
                    return
                self._mark_stale(f"the registry cannot be followed: {error}")
            longest = max(LONGEST_PAUSE_SECONDS, self._config.poll_seconds)
            pause = min(self._config.poll_seconds * 2 ** min(failures, 10), longest)
            self._news.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads replicas, hides nothing
            self._news.clear()
            self._fleet.ping(self._confirmed)

    def _look(self) -> list[str]:
        """Looks at each model in the registry once, and brings the workers to what it says.

        Gives the reasons where nothing of a model can be served. Raises RegistryUnavailableError.
        """
        assert self._store is not None
        missing = []
        for name in list(self._references):
            before = self._epoch, self._fleet.snapshot.generation
            references = self._references.get(name)
            if references is None:  # dropped, or refused, while others were looked at
                continue
            try:
                entry = self._desired(name, references, dict(self._store.describe(name).aliases))
            except RegistryNotFoundError as error:
                entry = replace(self._entry(name), stale_reason=str(error))
            if not entry.default_version:
                missing.append(entry.stale_reason)
            with self._changing:
                if before == (self._epoch, self._fleet.snapshot.generation):
                    self._confirm(entry)
        self._repair = False
        return missing

    def _confirm(self, entry: ModelEntry) -> None:
        """Declares what the registry said; where the workers refuse it, what they serve stays, with the reason."""
        if not entry.stale_reason:
            self._confirmed[entry.name] = time.time()
            entry = replace(entry, confirmed=self._confirmed[entry.name])
        try:
            self._declare(entry)
        except ServiceError as error:
            reason = f"the workers refused what the registry says: {error}"
            self._declare(replace(self._entry(entry.name), stale_reason=reason))

    def _desired(self, name: str, references: Sequence[Reference], aliases: dict[str, str]) -> ModelEntry:
        """What is to be served of a model by these references, when its aliases in the registry are these.

        Where a reference means nothing, or a version that is refused, what it meant before stays, with the reason.
        """
        old = self._entry(name)
        versions = {number: version for number, version in old.versions.items() if version.on_demand}
        problems, numbers = [], []
        for reference in references:
            before = old.aliases.get(reference.alias) if reference.alias else reference.version
            wanted = aliases.get(reference.alias) if reference.alias else reference.version
            number = wanted
            try:
                if wanted is None:
                    raise NotFoundError(f"alias {reference.alias} of {name} does not exist in the registry")
                versions[wanted] = self._fetch(name, wanted, known=old.versions.get(wanted))
            except (ServiceError, RegistryNotFoundError, ArtifactError, CacheError) as error:
                number = before if before in old.versions else None
                if number is not None:
                    versions[number] = old.versions[number]
                on = f"; version {number} serves on" if number else ""
                problems.append(f"{reference}: {error}{on}")
            if reference.alias and number is not None:
                aliases[reference.alias] = number
            numbers.append(number or "")
        moved = numbers[0] != old.default_version  # and not through this server
        return replace(
            old,
            moved_by="" if moved else old.moved_by,
            moved_because="" if moved else old.moved_because,
            default_version=numbers[0],
            aliases=aliases,
            versions=versions,
            stale_reason="; ".join(problems),
        )

    def _fetch(
        self, name: str, number: str, *, known: VersionEntry | None = None, on_demand: bool = False
    ) -> VersionEntry:
        """A version, in the cache and proven.

        Raises RegistryError where the registry or the artifact says no, ModelError where the network may not serve.
        """
        from service.supervisor import fetching as versions

        assert self._store is not None
        refusal = self._refused.get((name, number))
        if refusal and time.monotonic() < refusal.until:
            raise refusal.error
        info = self._store.version(name, number)
        if known is not None and not self._repair and known.digest == info.tags.get(tag.DIGEST, known.digest):
            return replace(known, on_demand=known.on_demand and on_demand)
        try:
            tried = {} if self._repair else self._tried
            entry = versions.fetch(self._store, self._cache, info, self._config, on_demand=on_demand, tried=tried)
        except (ArtifactError, CacheError, ServiceError) as error:
            seconds = refusal.seconds * 2 if refusal else REFUSED_SECONDS
            self._refused[name, number] = _Refusal(error, seconds, time.monotonic() + seconds)
            logger.error("version %s of %s is refused: %s", number, name, error)
            raise
        self._refused.pop((name, number), None)
        # Replaced whole: a look at the registry and a call may be here at the same time.
        self._tried = dict([*self._tried.items(), (entry.digest, entry)][-MOST_TRIED:])
        return entry

    def _declare(self, entry: ModelEntry, before_commit: Callable[[], None] | None = None) -> None:
        """Brings the workers to a new entry of a model, if it says anything new; the lock is held.

        Raises ServiceError where the workers refuse it, and what `before_commit` raises: then nothing has changed.
        """
        old = self._fleet.snapshot.models.get(entry.name)
        if old is not None and before_commit is None and replace(entry, confirmed=old.confirmed) == old:
            return
        snapshot = self._fleet.snapshot.with_model(entry)
        self._fleet.apply(snapshot, before_commit)
        if old is None or (old.default_version, old.stale_reason) != (entry.default_version, entry.stale_reason):
            logger.info(
                "serving %s version %s on %s%s", entry.name, entry.default_version or "(none)", self.address,
                f"; {entry.stale_reason}" if entry.stale_reason else "",
            )  # fmt: skip
        self._keep_as_last_good(snapshot)
        self._cache.prune({v.digest for model in snapshot.models.values() for v in model.versions.values()})

    def _mark_stale(self, reason: str) -> None:
        with self._changing:
            for name in list(self._references):
                entry = self._entry(name)
                if not entry.stale_reason or entry.stale_reason == UNCONFIRMED:
                    self._declare(replace(entry, stale_reason=reason))

    def _entry(self, name: str) -> ModelEntry:
        """The entry of a model as it is served; an empty one before anything is."""
        served = self._fleet.snapshot.models.get(name)
        if served is not None:
            return served
        references = self._references.get(name, [])
        return ModelEntry(name, tuple(map(str, references)), default_alias=references[0].alias if references else "")

    def _serves_anything(self) -> bool:
        return any(entry.default_version for entry in self._fleet.snapshot.models.values())

    def _on_refused(self) -> None:
        """A worker that was started anew cannot load what the others serve: files in the cache are in doubt."""
        self._repair = True
        self.look_now()

    # What workers ask for.

    def _load(self, arguments: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Loads a version that a client named, and lets go of the one unused longest if there are too many."""
        name, number = arguments["model"], arguments["number"]
        with self._changing, _registry_errors():
            entry = self._served(name)
            if number in entry.versions:
                return {}, b""
            version = self._fetch(name, number, on_demand=True)
            self._make_room()
            self._loaded[name, number] = time.monotonic()
            entry = self._served(name)
            self._declare(replace(entry, versions={**entry.versions, number: version}))
        return {}, b""

    def _serve(self, arguments: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Serves a registered model, or another reference of it; or looks at once at what is served already.

        Until the server ends: what it serves when it starts is said where it is started.
        """
        name, alias, number = arguments["model"], arguments["alias"], arguments["number"]
        with self._changing, _registry_errors():
            before = self._references.get(name)
            if alias or number or before is None:
                text = f"models:/{name}/{number}" if number else f"models:/{name}@{alias or DEFAULT_ALIAS}"
                self._references[name] = [parse(text)]
            try:
                entry = self._desired(name, self._references[name], dict(self._registry.describe(name).aliases))
                if entry.stale_reason:
                    raise NotFoundError(entry.stale_reason, field="model_name")
                first = self._references[name][0]
                references = tuple(map(str, self._references[name]))
                self._declare(replace(entry, references=references, default_alias=first.alias or ""))
            except BaseException:
                if before is None:
                    del self._references[name]
                else:
                    self._references[name] = before
                raise
            finally:
                self._epoch += 1
        return {}, b""

    def _drop(self, arguments: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Serves a model no longer."""
        name = arguments["model"]
        with self._changing:
            self._served(name)
            references = self._references.pop(name)
            try:
                self._fleet.apply(self._fleet.snapshot.without_model(name))
            except BaseException:
                self._references[name] = references
                raise
            finally:
                self._epoch += 1
            self._keep_as_last_good(self._fleet.snapshot)
        return {}, b""

    def _statistics(self, _arguments: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """What each worker counted."""
        return {"workers": self._fleet.statistics()}, b""

    def _make_room(self) -> None:
        """Lets go of the versions on demand that were not used for longest, until one more may be held."""
        models = self._fleet.snapshot.models.values()
        held = [(model.name, v.number) for model in models for v in model.versions.values() if v.on_demand]
        last_used = self._fleet.last_used()
        held.sort(key=lambda key: max(self._loaded.get(key, 0.0), last_used.get(key, 0.0)))
        for name, number in held[: max(0, len(held) + 1 - self._config.limits.on_demand_versions)]:
            self._loaded.pop((name, number), None)
            entry = self._served(name)
            self._declare(replace(entry, versions={n: v for n, v in entry.versions.items() if n != number}))

    def _move_alias(self, arguments: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Moves an alias: the workers load the version, then the registry is changed, then the workers switch."""
        name, alias, number = arguments["model"], arguments["alias"], arguments["number"]
        with self._changing, _registry_errors():
            entry = self._served(name)
            version = self._fetch(name, number, known=entry.versions.get(number))
            self._switch(entry, alias, version, arguments)
            note = f"from version {arguments['expected']} by {arguments['actor'] or 'somebody'}: {arguments['reason']}"
            try:
                self._registry.set_tags(name, number, {f"{tag.MOVED}.{alias}": note})
            except RegistryError as error:  # it has moved, and who asked must not think otherwise
                logger.warning(
                    "%s of %s moved to version %s, but the tag that says why is missing: %s", alias, name, number, error
                )
        return {}, b""

    def _override(self, arguments: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Registers a version with other weights, and moves the alias to it; leaves nothing behind if it fails."""
        from service.supervisor import fetching as versions

        name, alias, base = arguments["model"], arguments["alias"], arguments["base"]
        with self._changing, _registry_errors():
            entry = self._served(name)
            version = entry.versions.get(base)
            if version is None or version.digest != arguments["digest"]:
                raise ConflictError(f"version {base} of {name} is no longer what it was; read it again")
            if alias:
                self._check_alias(name, alias, base)
            with versions.derived(Path(version.directory), body) as (model, proof, changed):
                tags = {
                    tag.KIND: "override",
                    tag.BASE_VERSION: base,
                    tag.CHANGED_WEIGHTS: ",".join(changed),
                    tag.ACTOR: arguments["actor"],
                    tag.REASON: arguments["reason"],
                }
                info = self._registry.derive(name, base, model, proof, tags)
            try:
                new = self._fetch(name, info.number)
                if alias:
                    self._switch(entry, alias, new, {**arguments, "expected": base})
            except BaseException:
                self._registry.delete_version(name, info.number)
                raise
        return {"number": info.number, "digest": new.digest}, b""

    def _switch(self, entry: ModelEntry, alias: str, version: VersionEntry, asked: dict[str, Any]) -> None:
        """Points an alias at a version, in the registry and in all workers, or in neither; the lock is held.

        `asked` says which version the alias is expected at, who asks, and why.
        """
        followed = {r.alias for r in self._references[entry.name] if r.alias}
        aliases = {**entry.aliases, alias: version.number}
        meant = {aliases.get(r.alias, "") if r.alias else r.version for r in self._references[entry.name]}
        versions = {n: v for n, v in entry.versions.items() if n in meant or v.on_demand}
        if alias in followed:
            versions[version.number] = version
        new = replace(
            entry,
            aliases=aliases,
            versions=versions,
            default_version=version.number if alias == entry.default_alias else entry.default_version,
            stale_reason="",
            moved_by=asked["actor"],
            moved_because=asked["reason"],
        )
        try:
            self._declare(new, lambda: self._move_in_registry(entry.name, alias, version.number, asked["expected"]))
        finally:
            self._epoch += 1  # last: a look begun at any time before this may have seen the registry as it was

    def _move_in_registry(self, name: str, alias: str, number: str, expected: str) -> None:
        """Moves an alias in the registry. An answer that was lost is looked for: it may have been a yes."""
        try:
            self._registry.move_alias(name, alias, number, expected=expected)
        except RegistryUnavailableError:
            if self._registry.describe(name).aliases.get(alias) != number:
                raise

    def _check_alias(self, name: str, alias: str, expected: str) -> None:
        actual = self._registry.describe(name).aliases.get(alias)
        if actual != expected:
            raise ConflictError(
                f"alias {alias} of {name} points at version {actual}, not at {expected} as expected",
                field="expected_version", expected=expected, actual=actual,
            )  # fmt: skip

    def _served(self, name: str) -> ModelEntry:
        entry = self._fleet.snapshot.models.get(name)
        if entry is None:
            raise NotFoundError(f"no model {name!r} is served here", field="model")
        return entry

    @property
    def _registry(self) -> "Store":
        if self._store is None:
            raise UnavailableError("the registry was not reached yet")
        return self._store

    # The last good snapshot.

    def _with_all_models(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with an entry, empty at first, for every model that was asked for.

        So health stays NOT_SERVING until all of them answer, and a request for one that is not loaded yet is told so.
        """
        return replace(
            snapshot, models={name: snapshot.models.get(name, self._entry(name)) for name in self._references}
        )

    def _last_good(self) -> Snapshot:
        """What was served last for the same references, as far as the cache still holds it intact."""
        from service.supervisor.trial import basis

        try:
            found = Snapshot.from_json(self._last_good_file.read_text())
        except FileNotFoundError:
            return Snapshot()
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("the last good snapshot cannot be read: %s", error)
            return Snapshot()
        models, now = {}, basis(self._config)
        for name, entry in found.models.items():
            held = {n: v for n, v in entry.versions.items() if self._cache.holds(v.digest)}
            versions = {
                n: tried for n, v in held.items() if (tried := v if v.basis == now else self._tried_again(name, v))
            }
            default = entry.default_version if entry.default_version in versions else ""
            if name in self._references and default:
                models[name] = replace(entry, versions=versions, default_version=default, stale_reason=UNCONFIRMED)
        return Snapshot(found.generation, models)

    def _tried_again(self, name: str, entry: VersionEntry) -> VersionEntry | None:
        """A version of the last good snapshot, tried under the flags and packages that are in force now.

        None where it may not serve under these, or was loaded for some client and can be again.
        """
        from service.supervisor.trial import Trial

        if entry.on_demand:
            return None
        try:
            with Trial() as trial:
                return trial.tried(name, entry, self._config)
        except (ServiceError, OSError) as error:
            logger.warning("left out of the last good snapshot: %s", error)
            return None

    def _keep_as_last_good(self, snapshot: Snapshot) -> None:
        """Writes the snapshot beside the cache; a full disk costs the next start, not this server."""
        try:
            self._last_good_file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._last_good_file.parent, delete=False) as file:
                file.write(snapshot.to_json())
            Path(file.name).replace(self._last_good_file)
        except OSError as error:
            logger.warning("cannot keep the last good snapshot: %s", error)


@dataclass(frozen=True)
class _Refusal:
    """A version that may not serve, and when it is worth another look."""

    error: Exception
    seconds: float
    until: float


@contextmanager
def _registry_errors() -> Iterator[None]:
    """Turns errors of the registry into errors of the service."""
    try:
        yield
    except RegistryNotFoundError as error:
        raise NotFoundError(str(error), field="version") from error
    except InvalidReferenceError as error:
        raise InvalidArgumentError(str(error)) from error
    except RegistryConflictError as error:
        raise ConflictError(str(error)) from error
    except RegistryUnavailableError as error:
        raise UnavailableError(f"the registry does not answer: {error}") from error
    except ArtifactError as error:
        raise CorruptModelError(str(error)) from error
    except RegistryError as error:
        raise UnavailableError(str(error)) from error


def _short_digest(texts: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:12]
