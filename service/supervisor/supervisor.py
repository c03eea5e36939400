"""The supervisor of a server: its parts put together, started, and ended by signals.

It alone talks to MLflow. Everything that changes what is served goes through `Fleet.apply`, one change at a time:
workers prepare, then the registry is changed if that is asked for, then workers commit.

This file imports nothing that is slow: workers are started first, and what the supervisor needs is imported meanwhile.
"""

import logging
import signal
import threading
from dataclasses import replace

from registry.cache import Cache
from registry.lock import lock_for
from registry.references import Reference, parse
from service.config import ServerConfig, split_address
from service.errors import ServiceError
from service.snapshot import ModelEntry, Snapshot, VersionEntry
from service.supervisor.declared import Declared
from service.supervisor.desired import UNCONFIRMED
from service.supervisor.fetching import Versions
from service.supervisor.fleet import Fleet, Handler, cores_available, cpu_quota
from service.supervisor.following import Follower
from service.supervisor.lanes import Lanes
from service.supervisor.last_good import LastGood
from service.supervisor.operations import Operations
from service.supervisor.port import Port

NAMED_LANES = 2  # of versions that clients name: they wait for each other, and nothing else waits for them

logger = logging.getLogger(__name__)


class Supervisor:
    """One server: its workers, its cache, and its view of the registry."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ServiceError or RegistryError for a configuration that makes no sense, OSError for a port in use."""
        references: dict[str, list[Reference]] = {}
        for text in config.references:
            reference = parse(text)
            references.setdefault(reference.name, []).append(reference)
        lock_for("", config.registry_lock)
        host, port = split_address(config.address)
        self._port = Port(host, port)
        self._config = config = replace(config, address=self._port.address)
        self._cache = Cache(config.cache)
        self._last_good = LastGood(config.cache, config.references)
        operations: dict[str, Handler] = {}
        self._fleet = Fleet(config, operations, lambda: self._follower.doubt())
        versions = Versions(self._cache, config)
        self._declared = Declared(references, self._fleet, self._cache, self._last_good, self.address)
        following = Lanes(versions.fetch, side_by_side(), "fetch")
        named = Lanes(versions.fetch, NAMED_LANES, "fetch-named")
        self._follower = Follower(self._declared, versions, following, self._fleet, config)
        operations |= Operations(self._declared, versions, following, named, self._fleet, config).table()
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

                webhooks = listen(self._config.webhook_address, self._config.webhook_secret, self._follower.look_now)
            self._fleet.start(self._first_snapshot())
            # In a thread of its own: a registry that hangs must not keep a signal waiting.
            arguments = self._stopping, self._fail
            threading.Thread(target=self._follower.run, args=arguments, name="follow", daemon=True).start()
            self._stopping.wait()
        finally:
            if webhooks is not None:
                webhooks.shutdown()
            self._fleet.stop(self._config.drain_seconds if self._failure is None else 0.0)
            self._port.close()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        """Ends the server, which cannot go on."""
        self._failure = self._failure or error
        self._stopping.set()

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._stopping.is_set():
            self._fleet.kill()
        else:
            logger.info("%s: calls in progress have %g s", signal.Signals(number).name, self._config.drain_seconds)
            self._stopping.set()

    def _first_snapshot(self) -> Snapshot:
        """What was served last for the same references, as far as the cache still holds it intact.

        Every model that was asked for has an entry, empty at first. So health stays NOT_SERVING until all of them
        answer, and a request for one that is not loaded yet hears so.
        """
        from service.supervisor.trial import basis

        served, now = {}, basis(self._config)
        for entry in self._last_good.read():
            held = {n: v for n, v in entry.versions.items() if self._cache.holds(v.digest)}
            versions = {
                n: tried for n, v in held.items() if (tried := v if v.basis == now else self._tried_again(entry, v))
            }
            if entry.default_version in versions:
                served[entry.name] = replace(entry, versions=versions, stale_reason=UNCONFIRMED)
        names = self._declared.references
        return Snapshot(1, {name: served.get(name, self._declared.entry(name)) for name in names})

    def _tried_again(self, model: ModelEntry, entry: VersionEntry) -> VersionEntry | None:
        """A version of the last good snapshot, tried under the flags and packages that are in force now.

        None where it may not serve under these, or was loaded for some client and can be again.
        """
        from service.supervisor.trial import Trial

        if entry.on_demand:
            return None
        try:
            with Trial() as trial:
                return trial.tried(model.name, entry, self._config)
        except (ServiceError, OSError) as error:
            logger.warning("left out of the last good snapshot: %s", error)
            return None


def side_by_side() -> int:
    """How many versions are tried at the same time: as many as this process has cores for."""
    return max(1, int(min(len(cores_available()) or 1, cpu_quota() or float("inf"))))
