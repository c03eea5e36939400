"""The fleet: the worker processes of a server, started, pinned, kept alive, and moved between snapshots together."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from service import records
from service.callers import Callers
from service.config import ServerConfig, unix_path
from service.errors import ServiceError, TimeLimitError, UnavailableError
from service.link import HELLO, error_from_dict
from service.snapshot import Snapshot, VersionKey
from service.supervisor.cores import cores_available, cpu_quota
from service.supervisor.process import ANSWER_SECONDS, WorkerProcess
from service.supervisor.requests import Handler, Requests
from service.supervisor.slots import FIRST_PAUSE_SECONDS, LONGEST_URGENT_SECONDS, QUICK_CRASH_SECONDS, Slot, pause_after

STATISTICS_SECONDS = 3.0  # for a worker to say what it counted
WORKERLESS_SECONDS = 60.0  # without a worker, though they are started again and again, after which the server ends
logger = logging.getLogger(__name__)


class WorkersLostError(Exception):
    """No worker could be had for WORKERLESS_SECONDS."""


class FleetObserver(Protocol):
    """What is told of the workers. Any thread calls."""

    def started(self, name: str) -> None:
        """A worker is started, for the first time or again."""

    def swapped(self, generation: int, times: Sequence[float]) -> None:
        """All workers changed to another snapshot.

        `times` are when that began, when all were prepared, when the registry was changed, and when all had committed;
        monotonic seconds.
        """

    def refused(self, generation: int, times: Sequence[float]) -> None:
        """A worker refused a snapshot; when that began and ended."""

    def said(self, key: str, rows: list[Any]) -> None:
        """The last word of a worker that ends: what it counted."""

    def ended(self, key: str) -> None:
        """The process of a worker has ended."""

    def traced(self, name: str, calls: list[dict[str, Any]]) -> None:
        """A worker says what is known of calls that it traced."""

    def audited(self, record: dict[str, Any]) -> None:
        """A worker was asked for a change of what is served."""


class Fleet:
    """The workers. They serve one snapshot, all the same: a new one is prepared by all before any commits to it."""

    def __init__(
        self,
        config: ServerConfig,
        operations: Mapping[str, Handler],
        on_refused: Callable[[], None],
        on_lost: Callable[[Exception], None],
        observer: FleetObserver,
    ) -> None:
        """`operations` answer what workers ask for.

        `on_refused` hears that a new worker cannot load the snapshot, `on_lost` that no worker can be had.
        """
        self._config = config
        self._on_refused = on_refused
        self._on_lost = on_lost
        self._observer = observer
        self._snapshot = Snapshot()
        self._changing = threading.Lock()  # held while workers move to a snapshot, or one joins; guards the next two
        self._workers: list[WorkerProcess] = []
        self._stopping = threading.Event()
        self._requests = Requests(operations)
        self._slots: list[Slot] = []
        self._replacing = threading.Lock()  # held while the slots change; guards _slots
        self._joined = threading.Condition()  # for those who wait until workers joined; guards the next
        self._failing_since: float | None = None  # a start, since a worker served all; monotonic seconds

    @property
    def snapshot(self) -> Snapshot:
        """What the workers serve."""
        return self._snapshot

    def start(self, snapshot: Snapshot) -> None:
        """Starts the workers on a snapshot; `wait_for` tells when they serve."""
        self._snapshot = snapshot
        cores, quota = cores_available(), cpu_quota()
        # A container with a share of the processor sees all its cores, and others like it pin to the same ones.
        pinned = cores if quota is None else []
        count = self._config.workers or max(1, min(len(cores), int(quota or len(cores))))
        if unix_path(self._config.address) or unix_path(self._config.admin_address):
            count = 1  # the path has one owner
        if not cores:
            logger.warning("this platform does not pin processes to cores; workers may disturb each other")
        with self._replacing:
            for i in range(count):
                slot = Slot(f"worker-{i}", pinned[i % len(pinned)] if pinned else None, self._config)
                self._slots.append(slot)
                self._fill(slot)

    def wait_for(self, count: int, timeout: float | None = None) -> bool:
        """Waits until so many workers serve; whether they do."""
        with self._joined:
            return self._joined.wait_for(lambda: len(self._workers) >= count or self._stopping.is_set(), timeout)

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return sum(not slot.given_up.is_set() for slot in self._slots)

    def pids(self) -> list[int]:
        """Process ids of the workers that serve."""
        return [worker.process.pid for worker in self._workers]

    def last_used(self) -> dict[VersionKey, float]:
        """When each version on demand was last used by any worker; monotonic seconds."""
        merged: dict[VersionKey, float] = {}
        for worker in list(self._workers):
            for key, when in worker.used.items():
                merged[key] = max(when, merged.get(key, 0.0))
        return merged

    def apply(self, snapshot: Snapshot, before_commit: Callable[[], None] | None = None) -> None:
        """Brings all workers to a snapshot, and returns when all serve it.

        `before_commit` runs when all have loaded it and none serves it yet. Raises ServiceError where a worker cannot
        load it, and what `before_commit` raises: then all go on with the snapshot they had. A worker that dies
        meanwhile does not count: it comes back with what the others serve.
        """
        begin = time.monotonic()
        with self._changing:
            body = snapshot.changes(self._snapshot).encode()
            workers = list(self._workers)
            if not workers:
                raise UnavailableError("no worker of this server is running")
            for worker in workers:
                worker.send("prepare", body=body)
            answers = [worker.answer(snapshot.generation) for worker in workers]
            prepared = time.monotonic()
            refusals = [answer["error"] for answer in answers if answer and answer["error"]]
            try:
                if refusals:
                    self._observer.refused(snapshot.generation, (begin, prepared))
                    raise error_from_dict(refusals[0])
                if before_commit:
                    before_commit()
            except BaseException:
                for worker in workers:
                    worker.send("abort")
                raise
            changed = time.monotonic()
            self._snapshot = snapshot
            for worker in workers:
                worker.send("commit", {"generation": snapshot.generation})
            for worker in workers:
                worker.answer(snapshot.generation)
        self._observer.swapped(snapshot.generation, (begin, prepared, changed, time.monotonic()))

    def reload(self, config: ServerConfig) -> bool:
        """Replaces the workers by new ones with this configuration, one after the other; whether that succeeded.

        A worker finishes its calls when its successor serves. Where a successor cannot be had the workers that are
        left go on as they are.
        """
        with self._replacing:
            self._slots = [slot for slot in self._slots if slot.thread is not None and slot.thread.is_alive()]
            for old in [slot for slot in self._slots if not slot.given_up.is_set()]:
                new = Slot(old.name, old.core, config)
                self._slots.append(new)
                self._fill(new)
                with self._joined:
                    self._joined.wait_for(
                        lambda new=new: self._has_loaded(new.worker) or self._stopping.is_set(),  # type: ignore[misc]
                        ANSWER_SECONDS,
                    )
                    joined = self._has_loaded(new.worker)
                given_up = old if joined else new
                given_up.given_up.set()
                with self._changing:  # else somebody may wait for what it answers, and it answers nothing any more
                    if given_up.worker is not None:
                        self._forget(given_up.worker)
                        if joined:
                            given_up.worker.send("drain", {"seconds": config.drain_seconds})
                        else:
                            given_up.worker.kill()
                if not joined:
                    return False
            self._config = config
        return True

    def stop(self, seconds: float) -> None:
        """Lets calls in progress finish for so many seconds, then ends the workers."""
        self._stopping.set()
        with self._joined:
            self._joined.notify_all()
        with self._replacing:
            slots = list(self._slots)
        for slot in slots:
            if slot.given_up.is_set():  # a worker that was replaced: it finishes its calls already
                continue
            slot.given_up.set()
            worker = slot.worker
            if worker in self._workers:
                worker.send("drain", {"seconds": seconds})
            elif worker is not None:  # it serves nobody yet
                worker.kill()
        deadline = time.monotonic() + seconds + 2.0
        for slot in slots:
            if slot.thread is not None:
                slot.thread.join(max(0.0, deadline - time.monotonic()))
        self.kill()
        for slot in slots:
            if slot.thread is not None:
                slot.thread.join(5.0)
        self._requests.stop()

    def _fill(self, slot: Slot) -> None:
        """Has a thread keep a worker in a slot. Where there is no room for a thread, this one asks again."""
        while not self._stopping.is_set():
            slot.thread = threading.Thread(target=self._keep, args=(slot,), name=slot.name, daemon=True)
            try:
                slot.thread.start()
            except RuntimeError as error:
                slot.thread = None
                self._failed(f"{slot.name} cannot be started: {error}")
                self._stopping.wait(FIRST_PAUSE_SECONDS)
            else:
                return

    def _keep(self, slot: Slot) -> None:
        """Keeps a worker in a slot: starts it, waits for its end, starts it again. Nothing ends this but giving up."""
        pause = 0.0
        while not slot.given_up.wait(pause):
            try:
                pause = self._once(slot, pause)
            except Exception:  # no memory to say what failed
                pause = LONGEST_URGENT_SECONDS

    def _once(self, slot: Slot, pause: float) -> float:
        """Keeps a worker in a slot until it ends, or its start fails; gives the pause before the next."""
        try:
            served, status = self._run(slot)
            ending = f"{slot.name} ended (status {status}) after serving for {served:.1f} s"
            pause = pause_after(pause, served, status)
            if served > QUICK_CRASH_SECONDS:
                self._failing_since = None
        except Exception as error:  # no descriptors, no memory, no threads
            ending = f"{slot.name} cannot be started: {error or type(error).__name__}"
            pause = pause_after(pause, 0.0, None)
        return pause if slot.given_up.is_set() else self._failed(ending, pause)

    def _failed(self, ending: str, pause: float = 0.0) -> float:
        """Notes that a worker ended or did not start; gives the pause before another is started."""
        with self._joined:
            if self._workers:
                self._failing_since = None
            else:
                pause = min(pause, LONGEST_URGENT_SECONDS)
                now = time.monotonic()
                since = self._failing_since = self._failing_since or now
                if now - since >= WORKERLESS_SECONDS:
                    lost = f"no worker could be had for {now - since:.0f} s; the last reason: {ending}"
                    self._on_lost(WorkersLostError(lost))
        logger.error("%s; starting it again in %.2g s", ending, pause)
        return pause

    def _run(self, slot: Slot) -> tuple[float, int | None]:
        """Runs one worker until its end; for how many seconds it served, and its exit status.

        Raises what hinders its start: OSError, RuntimeError or MemoryError.
        """
        self._observer.started(slot.name)
        worker = WorkerProcess(slot.name, slot.core, slot.config)
        began = None
        try:
            slot.worker = worker
            worker.follow(self._take)
            if slot.given_up.is_set():
                worker.kill()
            if worker.answer(HELLO) is not None and self._join(worker):
                began = time.monotonic()
            worker.gone.wait()
        finally:
            self._forget(worker)
            status = worker.end()
            self._observer.ended(worker.key)
        return time.monotonic() - began if began is not None else 0.0, status

    def _forget(self, worker: WorkerProcess) -> None:
        """Counts a worker out, if it was counted in."""
        with self._joined:
            if worker in self._workers:
                self._workers.remove(worker)
        self._let_listen()

    def _has_loaded(self, worker: WorkerProcess | None) -> bool:
        """Whether a worker is counted in and serves all of the snapshot."""
        return worker is not None and worker.loaded and worker in self._workers

    def _let_listen(self) -> None:
        """Has workers listen that are still loading, where no other serves: they answer for any model in a moment."""
        with self._joined:
            workers = [] if any(worker.loaded for worker in self._workers) else list(self._workers)
        for worker in workers:
            worker.send("listen")

    def _join(self, worker: WorkerProcess) -> bool:
        """Brings a new worker to the present snapshot and counts it in; else ends it. It loads the versions later."""
        with self._changing:
            worker.send("prepare", body=self._snapshot.changes(Snapshot()).encode())
            prepared = worker.answer(self._snapshot.generation)
            if prepared and not prepared["error"]:
                worker.send("commit", {"generation": self._snapshot.generation})
                if worker.answer(self._snapshot.generation):
                    if self._config.callers is not None:  # they may have changed while it started
                        worker.send("callers", body=records.to_json(self._config.callers).encode())
                    with self._joined:
                        self._workers.append(worker)
                        self._joined.notify_all()
                    self._let_listen()
                    return True
        worker.kill()
        return False

    def _note_loaded(self, worker: WorkerProcess) -> None:
        with self._joined:
            worker.loaded = True
            self._failing_since = None
            self._joined.notify_all()

    def _refused(self, worker: WorkerProcess, error: dict[str, Any]) -> None:
        """Notes that a worker cannot load a version. It goes where others serve all, else it serves what it can."""
        logger.error("%s cannot load the snapshot: %s", worker.name, error["message"])
        self._on_refused()
        if any(other.loaded for other in list(self._workers)):
            worker.kill()

    def _take(self, worker: WorkerProcess, kind: str, fields: dict[str, Any], body: bytes) -> None:
        """Takes a frame of a worker."""
        if kind == "call":
            self._requests.take(worker, fields, body)
        elif kind == "audit":
            self._observer.audited(fields)
        elif kind == "traced":
            self._observer.traced(worker.name, fields["calls"])
        elif kind == "counted":
            self._observer.said(worker.key, fields["samples"])
        elif kind == "loaded":
            self._note_loaded(worker)
        elif kind == "refused":
            self._refused(worker, fields["error"])
        elif kind == "used":
            now = time.monotonic()
            worker.used = {(model, number): now - age for model, number, age in fields["versions"]}
        else:
            worker.answers.put(fields)

    def statistics(self) -> list[Any]:
        """What each worker counted. Raises UnavailableError where one that runs does not say: a part is no sum."""
        counts = []
        for worker in list(self._workers):
            try:
                result, _ = worker.link.call("statistics", {}, timeout=STATISTICS_SECONDS)
                counts.append(result["counts"])
            except (TimeLimitError, UnavailableError):
                if worker.process.poll() is None:
                    raise UnavailableError(
                        f"{worker.name} did not report statistics within {STATISTICS_SECONDS:g} s; it may be loading"
                    ) from None
        return counts

    def running(self) -> dict[str, int]:
        """Process ids of the workers that are to be there, by name; 0 for one that does not serve."""
        names = {slot.name: 0 for slot in list(self._slots) if not slot.given_up.is_set()}
        return names | {worker.name: worker.process.pid for worker in list(self._workers)}

    def ask(self, operation: str, seconds: float) -> dict[str, dict[str, Any] | None]:
        """What each worker answers, by NAME/PID; None where it does not in time. All are asked at once."""

        def answer(worker: WorkerProcess) -> dict[str, Any] | None:
            try:
                return worker.link.call(operation, {}, timeout=seconds)[0]
            except ServiceError:
                return None

        workers = list(self._workers)
        with ThreadPoolExecutor(max(1, len(workers)), "ask") as asking:
            return dict(zip([worker.key for worker in workers], asking.map(answer, workers), strict=True))

    def put_in_force(self, callers: Callers) -> None:
        """Gives workers, those that start later included, other callers."""
        with self._replacing:
            self._config = replace(self._config, callers=callers)
            for slot in self._slots:
                slot.config = replace(slot.config, callers=callers)
        for worker in list(self._workers):
            worker.send("callers", body=records.to_json(callers).encode())

    def ping(self, confirmed: dict[str, float]) -> None:
        """Tells the workers when the registry last agreed, and asks which versions on demand they used lately."""
        for worker in list(self._workers):
            worker.send("confirmed", {"models": confirmed})

    def kill(self) -> None:
        """Ends the workers at once, whatever they are doing. Takes no lock: a signal handler calls it."""
        for slot in list(self._slots):
            if slot.worker is not None:
                slot.worker.kill()
