"""The metrics of a server: the counters of its workers, merged with those of the supervisor."""

import os
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, cast

from registry.errors import RegistryConflictError, RegistryNotFoundError, RegistryUnavailableError
from service.observe.samples import Samples, Totals
from service.observe.table import METRICS
from service.snapshot import Snapshot
from service.version import version as own_version

Asked = TypeVar("Asked")
PROC = Path("/proc")
SUPERVISOR = "supervisor"
RESULTS = (
    (RegistryNotFoundError, "not_found"),
    (RegistryConflictError, "conflict"),
    (RegistryUnavailableError, "unavailable"),
)
SWAP_BUCKETS = METRICS["unroll_swap_seconds"].buckets


class SupervisorCounts:
    """What the supervisor counts of its own work. Any thread counts."""

    def __init__(self) -> None:
        self._counting = threading.Lock()  # guards the counts
        self._swaps = {"ok": 0.0, "refused": 0.0}
        self._swap_seconds = [0.0] * (len(SWAP_BUCKETS) + 2)
        self._requests = dict.fromkeys(("ok", "not_found", "conflict", "unavailable", "error"), 0.0)
        self._last_success = 0.0
        self._restarts: dict[str, float] = {}

    def swapped(self, seconds: float) -> None:
        """All workers changed to another snapshot."""
        with self._counting:
            self._swaps["ok"] += 1
            self._swap_seconds[bisect_left(SWAP_BUCKETS, seconds)] += 1
            self._swap_seconds[-1] += seconds

    def refused(self) -> None:
        """A worker refused a snapshot."""
        with self._counting:
            self._swaps["refused"] += 1

    def asked_registry(self, result: str) -> None:
        """MLflow was asked something; `result` is one of those of the table."""
        with self._counting:
            self._requests[result] += 1
            if result in ("ok", "not_found", "conflict"):  # it answered
                self._last_success = time.time()

    def started(self, worker: str) -> None:
        """A worker is started, for the first time or again."""
        with self._counting:
            self._restarts[worker] = self._restarts.get(worker, -1.0) + 1

    def samples(self) -> Samples:
        """All of them."""
        with self._counting:
            samples: Samples = {
                ("unroll_swap_seconds", ()): list(self._swap_seconds),
                ("unroll_registry_last_success_timestamp_seconds", ()): self._last_success,
            }
            samples |= {("unroll_swaps_total", (result,)): number for result, number in self._swaps.items()}
            samples |= {("unroll_registry_requests_total", (result,)): n for result, n in self._requests.items()}
            samples |= {("unroll_worker_restarts_total", (worker,)): n for worker, n in self._restarts.items()}
            return samples


class _Counted:
    """A registry store whose questions are counted by what became of them."""

    def __init__(self, store: Any, counts: SupervisorCounts) -> None:
        self._store, self._counts = store, counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def asked(*arguments: Any, **options: Any) -> Any:
            result = "ok"
            try:
                return found(*arguments, **options)
            except BaseException as error:
                result = next((word for kind, word in RESULTS if isinstance(error, kind)), "error")
                raise
            finally:
                self._counts.asked_registry(result)

        return asked


def counted(asked: Asked, counts: SupervisorCounts) -> Asked:
    """A store or a search of the registry, with its questions counted."""
    return cast("Asked", _Counted(asked, counts))


class ServerMetrics:
    """Everything on the page of one server."""

    def __init__(self, counts: SupervisorCounts) -> None:
        self._counts = counts
        self._totals = Totals()
        self._processes = Processes()
        self._started = time.time()

    def said(self, process: str, samples: Samples) -> None:
        """Keeps what a worker's process said, now or as its last word; processes are called NAME/PID."""
        self._totals.said(process, samples)

    def ended(self, process: str) -> None:
        """A worker's process has ended; what it counted stays counted."""
        self._totals.ended(process)
        self._processes.ended(process.partition("/")[0])

    def samples(
        self,
        workers: Mapping[str, int],
        answering: Collection[str],
        snapshot: Snapshot,
        certificates: Mapping[str, Path],
        callers_valid: bool | None,
    ) -> Samples:
        """What the page shows now.

        `workers`: process ids of those that are to be there, by name, 0 for one that does not run; `answering`: the
        processes that answered this time. `certificates`: files by what they are. `callers_valid`: None where there is
        no file.
        """
        now = time.time()
        held = {(model.name, number) for model in snapshot.models.values() for number in model.versions}
        samples = self._totals.merged(held, answering) | self._counts.samples()
        up = {process.partition("/")[0] for process in answering}
        samples |= {("unroll_worker_up", (name,)): float(name in up) for name in workers}
        samples |= self._processes.samples({SUPERVISOR: os.getpid(), **workers})
        for model in snapshot.models.values():
            for number in model.versions:
                samples["unroll_model_ready", (model.name, number)] = 1.0
            if not model.default_version:
                samples["unroll_model_ready", (model.name, "")] = 0.0
            since = model.confirmed or self._started
            samples["unroll_model_stale_seconds", (model.name,)] = max(0.0, now - since) if model.stale_reason else 0.0
        for what, file in certificates.items():
            if expiry := certificate_expiry(file):
                samples["unroll_certificate_expiry_timestamp_seconds", (what,)] = expiry
        if callers_valid is not None:
            samples["unroll_callers_file_valid", ()] = float(callers_valid)
        samples["unroll_build_info", BUILD] = 1.0
        return samples


class Processes:
    """Figures of processes, by the name of the worker; processor time goes on where a worker is started again."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}  # processor seconds of processes of that name that ended
        self._seen: dict[str, float] = {}  # of the one that runs

    def ended(self, name: str) -> None:
        """The process of a worker has ended."""
        self._before[name] = self._before.get(name, 0.0) + self._seen.pop(name, 0.0)

    def samples(self, processes: Mapping[str, int]) -> Samples:
        """The figures of processes, by name and process id, as far as this system shows them."""
        samples: Samples = {}
        for name, pid in processes.items():
            figures = process_figures(pid) if pid else {}
            if "process_cpu_seconds_total" in figures:
                self._seen[name] = figures["process_cpu_seconds_total"]
                figures["process_cpu_seconds_total"] += self._before.get(name, 0.0)
            samples |= {(metric, (name,)): value for metric, value in figures.items()}
        return samples


def process_figures(pid: int) -> dict[str, float]:
    """Processor time, memory, descriptors, threads and start of a process; empty where /proc does not tell."""
    try:
        folder = PROC / str(pid)
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        booted = next(
            float(line.split()[1]) for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime ")
        )
        return {
            "process_cpu_seconds_total": (int(fields[11]) + int(fields[12])) / ticks,
            "process_threads": float(fields[17]),
            "process_start_time_seconds": booted + int(fields[19]) / ticks,
            "process_resident_memory_bytes": float(int(fields[21]) * page),
            "process_open_fds": float(len(os.listdir(folder / "fd"))),
        }
    except (OSError, ValueError, IndexError, StopIteration):
        return {}


def certificate_expiry(file: Path) -> float:
    """When the first certificate of a PEM file that expires does so, in seconds since the epoch; 0 if there is none."""
    import base64
    import re

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        return 0.0
    moments = []
    for body in re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", text, re.DOTALL):
        try:
            moments.append(_not_after(base64.b64decode(body)))
        except (ValueError, IndexError, StopIteration):  # what a damaged one may raise
            continue
    return min(moments, default=0.0)


def _not_after(der: bytes) -> float:
    """The end of a certificate's validity, from its DER bytes: Certificate → TBSCertificate → Validity → notAfter."""
    import datetime

    certificate = next(_elements(der))[1]
    to_be_signed = next(_elements(certificate))[1]
    fields = [field for field in _elements(to_be_signed) if field[0] != 0xA0]  # without the version
    # serialNumber, signature, issuer, validity
    (_, _), (kind, moment) = _elements(fields[3][1])
    form = "%y%m%d%H%M%SZ" if kind == 0x17 else "%Y%m%d%H%M%SZ"  # UTCTime, GeneralizedTime
    return datetime.datetime.strptime(moment.decode(), form).replace(tzinfo=datetime.UTC).timestamp()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of DER elements that follow each other. Raises IndexError where they end early."""
    place = 0
    while place < len(data):
        kind, length = data[place], data[place + 1]
        place += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[place : place + count])
            place += count
        if place + length > len(data):
            raise IndexError("it ends early")
        yield kind, data[place : place + length]
        place += length


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


BUILD = (own_version(), platform.python_version(), _version("grpcio"))
