"""Parallel fetching of many versions; versions that clients wait for come first."""

import heapq
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service import current
from service.snapshot import VersionEntry, VersionKey
from service.supervisor.trial import Trial

Fetch = Callable[..., VersionEntry]  # (name, number, *, trial, …), as `Versions.fetch`


@dataclass(frozen=True)
class _Job:
    name: str
    number: str
    options: dict[str, Any]
    future: "Future[VersionEntry]" = field(default_factory=Future)
    call: Any = field(default_factory=current.call)  # for which it was first wanted, if for any


class _Reused:
    """A process for trials that is kept from one version to the next, and begun when it is needed."""

    def __init__(self) -> None:
        self._trial: Trial | None = None

    @contextmanager
    def get(self) -> Iterator[Trial]:
        if self._trial is not None and not self._trial.usable:
            self.close()
        if self._trial is None:
            self._trial = Trial()
        yield self._trial

    def close(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None


class Lanes:
    """A few threads that fetch versions. Each keeps one process for trials as long as there is something to fetch."""

    def __init__(self, fetch: Fetch, count: int, name: str) -> None:
        self._fetch = fetch
        self._count = count
        self._name = name
        self._waiting = threading.Condition()  # guards the next four
        self._jobs: dict[VersionKey, _Job] = {}  # waiting and running
        self._queue: list[tuple[int, int, VersionKey]] = []  # a heap; an entry may stand for a job that has begun
        self._begun: set[VersionKey] = set()
        self._serial = 0
        self._threads: list[threading.Thread] = []

    def want(self, name: str, number: str, *, first: bool = False, **options: Any) -> "Future[VersionEntry]":
        """Has a version fetched; the same one once for all who want it. `first`: before all that is not."""
        key = name, number
        with self._waiting:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(name, number, options)
                self._put(key, first=first)
            elif first and key not in self._begun:
                self._put(key, first=True)
        return job.future

    def hurry(self, name: str) -> "list[Future[VersionEntry]]":
        """What is being fetched of a model, which now comes first."""
        with self._waiting:
            jobs = {key: job for key, job in self._jobs.items() if key[0] == name}
            for key in jobs.keys() - self._begun:
                self._put(key, first=True)
        return [job.future for job in jobs.values()]

    def _put(self, key: VersionKey, *, first: bool) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (0 if first else 1, self._serial, key))
        if len(self._threads) < min(self._count, len(self._jobs)):
            number = len(self._threads)
            thread = threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._waiting.notify()

    def _run(self) -> None:
        trial = _Reused()
        while True:
            with self._waiting:
                job = self._next()
            if job is None:
                trial.close()
                with self._waiting:
                    self._waiting.wait_for(lambda: self._queue)
                continue
            try:
                with current.running(job.call):
                    result = self._fetch(job.name, job.number, trial=trial.get, **job.options)
            except BaseException as error:
                self._done(job)
                job.future.set_exception(error)
            else:
                self._done(job)
                job.future.set_result(result)

    def _next(self) -> _Job | None:
        while self._queue:
            _, _, key = heapq.heappop(self._queue)
            if key in self._jobs and key not in self._begun:
                self._begun.add(key)
                return self._jobs[key]
        return None

    def _done(self, job: _Job) -> None:
        with self._waiting:
            key = job.name, job.number
            self._begun.discard(key)
            del self._jobs[key]
