"""The worker processes of a server: started, pinned, kept alive, and brought from one snapshot to the next together."""

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from service.config import ServerConfig
from service.errors import ServiceError, UnavailableError
from service.link import HELLO, Link, error_from_dict
from service.snapshot import Snapshot

ANSWER_SECONDS = 120.0  # a worker that takes longer to start, to load or to commit is taken for dead
STATISTICS_SECONDS = 3.0  # for a worker to say what it counted
QUICK_CRASH_SECONDS = 10.0  # a worker that lived shorter than this waits before it is started again
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.25, 30.0

Answer = tuple[dict[str, Any], bytes]
Handler = Callable[[dict[str, Any], bytes], "Answer | Future[Answer]"]  # a future: no thread waits for the answer

logger = logging.getLogger(__name__)


class WorkerProcess:
    """A worker process, from the supervisor's side."""

    def __init__(self, name: str, core: int | None, config: ServerConfig) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  # our own module, by our own interpreter
                [sys.executable, "-P", "-m", "service.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # One thread: a worker has one core. NumPy reads this when it is imported.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.name = name
        self.started = time.monotonic()
        self.link = Link(Connection(ours.detach()))
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()  # prepared, committed; None: gone
        self.used: dict[tuple[str, str], float] = {}  # when versions on demand were used; monotonic seconds here
        level = logging.getLevelName(logging.getLogger().level)
        self.link.send("start", {"name": name, "core": core, "config": config.to_json(), "log_level": level})

    def answer(self, generation: int) -> dict[str, Any] | None:
        """The worker's answer about a generation; None if it is gone or takes too long."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                answer = self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                logger.error("%s does not answer; it is killed", self.name)
                self.process.kill()
                return None
            if answer is None or answer["generation"] == generation:
                return answer

    def send(self, kind: str, fields: dict[str, Any] | None = None, body: bytes = b"") -> None:
        """Sends a frame; that the worker is gone shows when its answer is read."""
        try:
            self.link.send(kind, fields, body)
        except OSError:
            self.answers.put(None)


class Fleet:
    """The workers. They serve one snapshot, all the same: a new one is prepared by all before any commits to it."""

    def __init__(self, config: ServerConfig, operations: Mapping[str, Handler], on_refused: Callable[[], None]) -> None:
        """`operations` answer what workers ask for; `on_refused` hears that a new worker cannot load the snapshot."""
        self._config = config
        self._operations = operations
        self._on_refused = on_refused
        self._snapshot = Snapshot()
        self._changing = threading.Lock()  # held while workers move to a snapshot, or one joins; guards the next two
        self._workers: list[WorkerProcess] = []
        self._stopping = threading.Event()
        self._calls = ThreadPoolExecutor(32, "calls")
        self._slots: list[threading.Thread] = []
        self._joined = threading.Condition()  # for those who wait until workers joined

    @property
    def snapshot(self) -> Snapshot:
        """What the workers serve."""
        return self._snapshot

    def start(self, snapshot: Snapshot) -> None:
        """Starts the workers on a snapshot, and returns when one of them serves."""
        self._snapshot = snapshot
        cores, quota = cores_available(), cpu_quota()
        # A container with a share of the processor sees all its cores, and others like it pin to the same ones.
        pinned = cores if quota is None else []
        count = self._config.workers or max(1, min(len(cores), int(quota or len(cores))))
        for i in range(count):
            core = pinned[i % len(pinned)] if pinned else None
            slot = threading.Thread(target=self._keep, args=(f"worker-{i}", core), name=f"worker-{i}", daemon=True)
            self._slots.append(slot)
            slot.start()
        if not cores:
            logger.warning("this platform does not pin processes to cores; workers may disturb each other")
        self.wait_for(1)

    def wait_for(self, count: int, timeout: float | None = None) -> bool:
        """Waits until so many workers serve; whether they do."""
        with self._joined:
            return self._joined.wait_for(lambda: len(self._workers) >= count or self._stopping.is_set(), timeout)

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return len(self._slots)

    def pids(self) -> list[int]:
        """Process ids of the workers that serve."""
        return [worker.process.pid for worker in self._workers]

    def last_used(self) -> dict[tuple[str, str], float]:
        """When each version on demand was last used by any worker; monotonic seconds."""
        merged: dict[tuple[str, str], float] = {}
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
        with self._changing:
            body = snapshot.changes(self._snapshot).encode()
            workers = list(self._workers)
            if not workers:
                raise UnavailableError("no worker of this server is running")
            for worker in workers:
                worker.send("prepare", body=body)
            answers = [worker.answer(snapshot.generation) for worker in workers]
            refusals = [answer["error"] for answer in answers if answer and answer["error"]]
            try:
                if refusals:
                    raise error_from_dict(refusals[0])
                if before_commit:
                    before_commit()
            except BaseException:
                for worker in workers:
                    worker.send("abort")
                raise
            self._snapshot = snapshot
            for worker in workers:
                worker.send("commit", {"generation": snapshot.generation})
            for worker in workers:
                worker.answer(snapshot.generation)

    def stop(self, seconds: float) -> None:
        """Lets calls in progress finish for so many seconds, then ends the workers."""
        self._stopping.set()
        with self._joined:
            self._joined.notify_all()
        for worker in list(self._workers):
            worker.send("drain", {"seconds": seconds})
        deadline = time.monotonic() + seconds + 2.0
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))
        for worker in list(self._workers):
            worker.process.kill()
        for slot in self._slots:
            slot.join(5.0)
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _keep(self, name: str, core: int | None) -> None:
        """Keeps one worker alive: starts it, waits for its end, starts it again; later and later if it dies young."""
        backoff = 0.0
        while not self._stopping.wait(backoff):
            worker = WorkerProcess(name, core, self._config)
            reader = threading.Thread(target=self._read, args=(worker,), name=f"{name}-link", daemon=True)
            reader.start()
            joined = worker.answer(HELLO) is not None and self._join(worker)
            if self._stopping.is_set():
                worker.send("drain", {"seconds": 0.0})
            status = worker.process.wait()
            reader.join()
            with self._joined:
                if worker in self._workers:
                    self._workers.remove(worker)
            if self._stopping.is_set():
                return
            lived = time.monotonic() - worker.started
            if joined and lived > QUICK_CRASH_SECONDS:
                backoff = 0.0
            else:
                backoff = min(max(backoff * 2, FIRST_BACKOFF_SECONDS), LONGEST_BACKOFF_SECONDS)
            logger.error("%s ended (status %d) after %.1f s; starting it again in %.2g s", name, status, lived, backoff)

    def _join(self, worker: WorkerProcess) -> bool:
        """Brings a new worker to the present snapshot and counts it in; else ends it."""
        with self._changing:
            worker.send("prepare", body=self._snapshot.changes(Snapshot()).encode())
            prepared = worker.answer(self._snapshot.generation)
            if prepared and not prepared["error"]:
                worker.send("commit", {"generation": self._snapshot.generation})
                if worker.answer(self._snapshot.generation):
                    with self._joined:
                        self._workers.append(worker)
                        self._joined.notify_all()
                    return True
        if prepared and prepared["error"]:
            logger.error("%s cannot load the snapshot: %s", worker.name, prepared["error"]["message"])
            self._on_refused()
        worker.process.kill()
        return False

    def _read(self, worker: WorkerProcess) -> None:
        """Reads a worker's frames until it is gone."""
        try:
            while True:
                kind, fields, body = worker.link.receive()
                if kind == "reply":
                    worker.link.answered(fields, body)
                elif kind == "call":
                    self._calls.submit(self._serve, worker, fields, body)
                elif kind == "pong":
                    now = time.monotonic()
                    worker.used = {(model, number): now - age for model, number, age in fields["used"]}
                else:
                    worker.answers.put(fields)
        except (EOFError, OSError, RuntimeError):  # RuntimeError: the pool is shut down, and so are we
            worker.answers.put(None)
            worker.link.close()

    def _serve(self, worker: WorkerProcess, fields: dict[str, Any], body: bytes) -> None:
        """Answers what a worker asks for, now or when the answer is there."""
        try:
            found = self._operations[fields["operation"]](fields["arguments"], body)
        except BaseException as error:
            found = Future()
            found.set_exception(error)
        if isinstance(found, Future):
            found.add_done_callback(lambda done: self._reply(worker, fields, done))
        else:
            self._send_reply(worker, fields["number"], *found)

    def _reply(self, worker: WorkerProcess, fields: dict[str, Any], done: "Future[Answer]") -> None:
        try:
            self._send_reply(worker, fields["number"], *done.result())
        except ServiceError as error:
            self._send_reply(worker, fields["number"], error)
        except Exception:
            logger.exception("%s failed", fields["operation"])
            failed = UnavailableError("the supervisor failed to do this; its log has the details")
            self._send_reply(worker, fields["number"], failed)

    def _send_reply(
        self, worker: WorkerProcess, number: int, result: dict[str, Any] | ServiceError, body: bytes = b""
    ) -> None:
        try:
            worker.link.reply(number, result, body)
        except OSError:
            logger.warning("%s was gone before it could be answered", worker.name)

    def statistics(self) -> list[Any]:
        """What each worker counted. Raises UnavailableError where one that runs does not say: a part is no sum."""
        counts = []
        for worker in list(self._workers):
            try:
                result, _ = worker.link.call("statistics", {}, timeout=STATISTICS_SECONDS)
                counts.append(result["counts"])
            except UnavailableError:
                if worker.process.poll() is None:
                    raise UnavailableError(
                        f"{worker.name} did not say within {STATISTICS_SECONDS:g} s what it counted; it may be loading"
                    ) from None
        return counts

    def ping(self, confirmed: dict[str, float]) -> None:
        """Tells the workers when the registry last agreed, and asks which versions on demand they used lately."""
        for worker in list(self._workers):
            worker.send("ping", {"confirmed": confirmed})

    def kill(self) -> None:
        """Ends the workers at once, whatever they are doing."""
        for worker in list(self._workers):
            worker.process.kill()


def cores_available() -> list[int]:
    """The cores this process may use; empty where the platform cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cpu_quota(groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many cores' worth of time this container may use, as Docker and Kubernetes limit it; None: all there is."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # control groups version 2, 1
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
        except OSError:
            continue
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    return None
