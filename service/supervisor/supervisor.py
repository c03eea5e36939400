"""The supervisor of a server: assembles its parts, starts them, and stops them on signals.

It alone talks to MLflow. Everything that changes what is served goes through `Fleet.apply`, one change at a time:
workers prepare, then the registry is changed if that is asked for, then workers commit.

This file imports nothing that is slow: workers are started first, and what the supervisor needs is imported meanwhile.
"""

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue

from registry.cache import Cache
from registry.lock import lock_for
from registry.references import Reference, parse
from service.config import ServerConfig, unix_path
from service.errors import InvalidArgumentError, ServiceError
from service.snapshot import ModelEntry, Snapshot, VersionEntry
from service.supervisor.cores import cores_available, cpu_quota
from service.supervisor.declared import Declared
from service.supervisor.desired import UNCONFIRMED
from service.supervisor.fetching import Versions
from service.supervisor.fleet import Fleet
from service.supervisor.following import Follower
from service.supervisor.lanes import Lanes
from service.supervisor.last_good import LastGood
from service.supervisor.observation import ServerObservation
from service.supervisor.operations import Operations
from service.supervisor.port import Port
from service.supervisor.requests import Handler

SIGNAL_SECONDS = 1.0  # after which a signal is seen at the latest
NAMED_LANES = 2  # of versions that clients name: they wait for each other, and nothing else waits for them

logger = logging.getLogger(__name__)


class Supervisor:
    """One server: its workers, its cache, and its view of the registry."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises ServiceError or RegistryError for a configuration that makes no sense, OSError for a port in use."""
        if config.tls:
            config.tls.check()
        references: dict[str, list[Reference]] = {}
        for text in config.references:
            reference = parse(text)
            references.setdefault(reference.name, []).append(reference)
        lock_for("", config.registry_lock)
        if config.workers > 1 and (unix_path(config.address) or unix_path(config.admin_address)):
            raise InvalidArgumentError("a unix socket has one worker: several cannot share its path", field="workers")
        self._ports = {"address": Port(config.address)}
        try:
            if config.admin_address:
                self._ports["admin_address"] = Port(config.admin_address)
        except BaseException:
            self._ports["address"].close()
            raise
        self._config = config = self._listening(config)
        self._cache = Cache(config.cache)
        self._last_good = LastGood(config.cache, config.references)
        operations: dict[str, Handler] = {}
        self._observation = ServerObservation(config)
        self._fleet = Fleet(config, operations, lambda: self._follower.doubt(), self._fail, self._observation)
        versions = Versions(self._cache, config)
        self._declared = Declared(references, self._fleet, self._cache, self._last_good, self.address)
        following = Lanes(versions.fetch, side_by_side(), "fetch")
        named = Lanes(versions.fetch, NAMED_LANES, "fetch-named")
        self._follower = Follower(self._declared, versions, following, self._fleet, config, self._observation)
        operations |= Operations(self._declared, versions, following, named, self._fleet, config).table()
        self._signals: SimpleQueue[int | None] = SimpleQueue()  # those that arrived; None: the server cannot go on
        self._asked_to_end = False
        self._stopping = threading.Event()
        self._failure: Exception | None = None

    @property
    def address(self) -> str:
        """Where the server listens."""
        return self._config.address

    def _listening(self, config: ServerConfig) -> ServerConfig:
        """A configuration with the addresses of the ports that this server holds."""
        return replace(config, **{name: port.address for name, port in self._ports.items()})  # type: ignore[arg-type]  # texts

    def run(self, configure: Callable[[], ServerConfig] | None = None) -> None:
        """Serves until SIGTERM or SIGINT; after a second one calls in progress are not waited for.

        SIGHUP looks at the registry and replaces the workers by new ones with the configuration that `configure` reads
        then; where it raises what this raises, or is None, they get the one that the server has.

        Raises ServiceError or RegistryError where nothing can be served and the configuration says not to wait,
        WorkersLostError where no worker can be had.
        """
        for handled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(handled, self._on_signal)
        webhooks = None
        try:
            if self._config.webhook_address:
                from service.supervisor.webhook import listen

                webhooks = listen(self._config.webhook_address, self._config.webhook_secret, self._follower.look_now)
            self._observation.start(self._fleet)
            if self._config.admin_address:
                logger.info("operators are served on %s alone", self._config.admin_address)
            # In a thread of its own: neither workers that do not start nor a registry that hangs may keep a signal
            # waiting.
            threading.Thread(target=self._serve, name="follow", daemon=True).start()
            while (number := self._next_signal()) == signal.SIGHUP:
                logger.info("SIGHUP: replacing the workers and polling the registry")
                threading.Thread(target=self._reload, args=(configure,), name="reload", daemon=True).start()
            if number is not None:
                logger.info("%s: calls in progress have %g s", signal.Signals(number).name, self._config.drain_seconds)
        finally:
            self._stopping.set()
            if webhooks is not None:
                webhooks.close()
            self._fleet.stop(self._config.drain_seconds if self._failure is None else 0.0)
            self._observation.stop()
            for port in self._ports.values():
                port.close()
        if self._failure is not None:
            raise self._failure

    def _next_signal(self) -> int | None:
        """The next signal, or None. The wait is cut up: a signal that reaches another thread does not end it."""
        while True:
            with suppress(Empty):
                return self._signals.get(timeout=SIGNAL_SECONDS)

    def _serve(self) -> None:
        """Starts the workers, and follows the registry when one of them serves."""
        try:
            self._fleet.start(self._first_snapshot())
            self._fleet.wait_for(1)
            self._follower.run(self._stopping, self._fail)
        except Exception as error:  # a fault of ours; without this thread the server would follow nothing any more
            logger.exception("following the registry failed; the server stops")
            self._fail(error)

    def _on_signal(self, number: int, _frame: object) -> None:
        """Does nothing that takes a lock: the thread that it interrupts may hold it."""
        if number != signal.SIGHUP:
            if self._asked_to_end:
                self._fleet.kill()
            self._asked_to_end = True
        self._signals.put(number)

    def _fail(self, error: Exception) -> None:
        """Ends the server, which cannot go on."""
        self._failure = self._failure or error
        self._signals.put(None)

    def _reload(self, configure: Callable[[], ServerConfig] | None) -> None:
        """Replaces the workers by new ones, with what files say now; what cannot be read changes nothing."""
        self._follower.look_now()
        try:
            read = configure() if configure else self._config
            config = self._listening(read)
            if config.tls:
                config.tls.check()
        except (ServiceError, OSError) as error:
            logger.error("nothing is reloaded: %s", error)
            return
        if config.callers is not None:  # whom an old worker answers before it has closed its door is known to it too
            self._fleet.put_in_force(config.callers)
        if self._fleet.reload(config):
            self._config = config
            logger.info("reloaded: all workers are new")
        else:
            logger.error("not reloaded: a new worker does not serve; the current workers continue")

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
