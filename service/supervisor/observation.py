"""Observation of a server: the metrics port, the audit log, and the callers that are in force."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from service.callers import Callers, read
from service.config import ServerConfig
from service.errors import InvalidArgumentError, ServiceError
from service.observe.calls import now
from service.observe.samples import Samples, from_json
from service.snapshot import ModelEntry, Snapshot, VersionKey
from service.supervisor.audit import AuditLog
from service.supervisor.metrics import ServerMetrics, SupervisorCounts
from service.supervisor.tracing import Tracing

ANSWER_SECONDS = 2.0  # for a worker to say what it counted
LOOK_SECONDS = 1.0  # between two looks at the file of callers
KEYS_SECONDS = 300.0  # after which keys of issuers are asked for again
MOST_DIGESTS = 10_000  # of versions, that are remembered for the audit
AUDIT_FILE = "audit.jsonl"  # in the folder of the cache, unless another is named

logger = logging.getLogger(__name__)


class Workers(Protocol):
    """The fleet, as far as it is observed."""

    @property
    def snapshot(self) -> Snapshot:
        """What the workers serve."""

    def running(self) -> Mapping[str, int]:
        """Process ids of the workers that are to be there, by name; 0 for one that does not run."""

    def ask(self, operation: str, seconds: float) -> dict[str, dict[str, Any] | None]:
        """What each worker answers, by a key of its process; None where it does not in time."""

    def put_in_force(self, callers: Callers) -> None:
        """Gives workers, those that start later included, other callers."""


class ServerObservation:
    """Everything that is observed of one server. Any thread calls."""

    def __init__(self, config: ServerConfig) -> None:
        """Raises OSError where the audit cannot be opened, InvalidArgumentError for a wrong file of callers."""
        self.counts = SupervisorCounts()
        self._config = config
        self._metrics = ServerMetrics(self.counts)
        self._scraping = threading.Lock()  # held while a page is made: scrapes do not add up
        self.audit = AuditLog(config.audit_log or config.cache / AUDIT_FILE)
        self._digests: dict[VersionKey, str] = {}  # of versions, by model and number, as far as they were seen
        self.callers_error = ""  # why the file of callers is not what is in force
        self._stopping = threading.Event()
        self._workers: Workers | None = None
        self._port: Any = None
        self._tracing = Tracing()

    def start(self, workers: Workers) -> None:
        """Opens the port of metrics, and follows the file of callers. Raises OSError where the port is taken."""
        self._workers = workers
        self._tracing.start()
        if self._config.metrics_address:
            from service.supervisor.metrics_port import MetricsPort

            self._port = MetricsPort(self._config.metrics_address, self.samples, self.not_ready)
            logger.info("metrics on http://%s/metrics", self._port.address)
        threading.Thread(target=self._follow, name="observe", daemon=True).start()

    def stop(self) -> None:
        """Listens and follows no longer."""
        self._stopping.set()
        if self._port is not None:
            self._port.close()
        self.audit.close()
        self._tracing.close()

    def samples(self) -> Samples:
        """What the page of metrics shows; asks every worker."""
        assert self._workers is not None
        with self._scraping:
            answers = self._workers.ask("metrics", ANSWER_SECONDS)
            answering = {key for key, answer in answers.items() if answer is not None}
            for key, answer in answers.items():
                if answer is not None:
                    self._metrics.said(key, from_json(answer["samples"]))
            tls = self._config.tls
            files = {"certificate": tls.certificate, "client_authority": tls.client_authority} if tls else {}
            return self._metrics.samples(
                self._workers.running(),
                answering,
                self._workers.snapshot,
                {what: file for what, file in files.items() if file is not None},
                None if self._config.callers_file is None else not self.callers_error,
            )

    def not_ready(self) -> str:
        """Why the server is not ready; empty where it is."""
        assert self._workers is not None
        if not any(self._workers.running().values()):
            return "no worker runs"
        models = self._workers.snapshot.models.values()
        missing = [model.name for model in models if model.default_version not in model.versions]
        if missing or not models:
            return f"nothing is loaded of {', '.join(missing)}" if missing else "nothing is served yet"
        return ""

    def started(self, name: str) -> None:
        """A worker is started, for the first time or again."""
        self.counts.started(name)

    def swapped(self, generation: int, times: Sequence[float]) -> None:
        """All workers changed to another snapshot; see `FleetObserver`."""
        self.counts.swapped(times[-1] - times[0])
        self._tracing.swapped(generation, times, refused=False)

    def refused(self, generation: int, times: Sequence[float]) -> None:
        """A worker refused a snapshot; see `FleetObserver`."""
        self.counts.refused()
        self._tracing.swapped(generation, times, refused=True)

    def traced(self, name: str, calls: list[dict[str, Any]]) -> None:
        """A worker says what is known of calls that it traced."""
        self._tracing.called(name, calls)

    def said(self, worker: str, rows: list[Any]) -> None:
        """Takes the last word of a worker that ends."""
        self._metrics.said(worker, from_json(rows))

    def ended(self, worker: str) -> None:
        """A worker has ended; what it counted stays counted."""
        self._metrics.ended(worker)

    def audited(self, record: dict[str, Any]) -> None:
        """Writes a record of an operator call, with the digests that the snapshot knows."""
        models = self._workers.snapshot.models if self._workers is not None else {}
        if not record.get("model") and len(models) == 1:
            record["model"] = next(iter(models))
        self._digests |= {(m.name, n): v.digest for m in models.values() for n, v in m.versions.items()}
        for end in ("from", "to"):
            version = record.get("model", ""), record.get(f"{end}_version", "")
            if digest := record.get(f"{end}_digest"):
                self._digests[version] = digest
            record[f"{end}_digest"] = self._digests.get(version)
        while len(self._digests) > MOST_DIGESTS:
            del self._digests[next(iter(self._digests))]
        self.audit.write({name: record.get(name) for name in FIELDS})

    def moved(self, old: ModelEntry, new: ModelEntry) -> None:
        """Writes a record of each alias that moved in the registry, and not through this server."""
        for alias, number in new.aliases.items():
            before = old.aliases.get(alias)
            if before is not None and before != number:
                entry = new.versions.get(number)
                self.audited(
                    {
                        "time": now(), "caller": "registry", "how": "registry", "action": "MoveAlias",
                        "model": new.name, "alias": alias, "from_version": before, "to_version": number,
                        "result": "ok", "code": "OK",
                        "from_digest": old.versions[before].digest if before in old.versions else None,
                        "to_digest": entry.digest if entry else None,
                    }
                )  # fmt: skip

    def _follow(self) -> None:
        """Reads the file of callers again when it changes, and the keys of issuers now and then."""
        file = self._config.callers_file
        seen, keys_at, in_force = _stamp(file), time.monotonic(), self._config.callers or Callers()
        while not self._stopping.wait(LOOK_SECONDS):
            self.audit.flush()
            if file is None:
                continue
            stamp, moment = _stamp(file), time.monotonic()
            if stamp == seen and moment - keys_at < KEYS_SECONDS:
                continue
            changed, seen, keys_at = stamp != seen, stamp, moment
            try:
                callers = read_callers(file)
            except ServiceError as error:
                self.callers_error = error.message
                if changed:
                    logger.error("the callers file was not reloaded; the previous callers stay in force: %s", error)
                callers = replace(in_force, valid=False)
            else:
                self.callers_error, in_force = "", callers
            assert self._workers is not None
            self._workers.put_in_force(callers)
            if not callers.valid:
                continue
            if changed:
                logger.info("%d callers in force, read from %s", len(callers.entries), file)


FIELDS = (
    "time", "request_id", "caller", "how", "claims", "peer", "role", "action", "model", "alias", "from_version",
    "from_digest", "to_version", "to_digest", "changed_weights", "reason", "result", "code", "error",
)  # fmt: skip  # of a line of the audit, in their order


def read_callers(file: Path) -> Callers:
    """The callers of a file, with the keys of their issuers. Raises InvalidArgumentError."""
    from service.edge.access import signing_keys

    found = read(file)
    sources = {entry.jwt.source for entry in found.entries if entry.jwt is not None}
    with ThreadPoolExecutor(8, "keys") as pool:
        keys = dict(zip(sources, pool.map(_keys, sources), strict=True))
    for source, key_set in keys.items():
        try:
            signing_keys(key_set)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{file}: {source}: {error.message}") from None
    return replace(
        found,
        entries=tuple(
            replace(entry, jwt=replace(entry.jwt, keys=keys[entry.jwt.source])) if entry.jwt else entry
            for entry in found.entries
        ),
    )


def _keys(source: str) -> Any:
    """A JSON Web Key Set from a file or an https address. Raises InvalidArgumentError."""
    import json

    try:
        if source.startswith("https://"):
            import requests

            answer = requests.get(source, timeout=5.0, allow_redirects=False)
            answer.raise_for_status()
            return answer.json()
        return json.loads(Path(source).read_text())
    except (OSError, ValueError) as error:  # those of requests are OSError
        raise InvalidArgumentError(f"keys of an issuer cannot be read from {source}: {error}") from None


def _stamp(file: Path | None) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        found = file.stat() if file else None
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode) if found else ()
