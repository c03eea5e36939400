"""A pool of threads of which a few work at a time, and which makes up for those that wait for each other."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

_here = threading.local()  # .pool: whose thread this is

Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class WorkingThreads(Executor):
    """Runs tasks in the order in which they came, on `working` threads.

    A thread that waits for another task's work says so with `blocking`; then one more takes over, up to `most` in all.
    Those that are too many afterwards rest until they are needed again: to make a thread costs more than to wake it.
    """

    def __init__(self, working: int, most: int, name: str) -> None:
        self._working = working
        self._most = most
        self._name = name
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._counting = threading.Lock()  # guards the next four
        self._threads = 0
        self._blocked = 0
        self._resting = 0
        self._ended = False
        self._needed = threading.Semaphore(0)  # wakes those that rest

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Runs a task when a thread is free. Raises RuntimeError after `shutdown`."""
        if self._ended:
            raise RuntimeError("cannot run tasks after shutdown")
        future: Future[Any] = Future()
        self._tasks.put((future, fn, args, kwargs))
        if self._threads < self._working:
            self._make_up()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; threads end when those that were taken have run."""
        with self._counting:
            if self._ended:
                return
            self._ended = True
            for _ in range(self._threads):
                self._tasks.put(None)
            self._needed.release(max(1, self._resting))

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """While the block runs, the thread counts as one that does not work."""
        with self._counting:
            self._blocked += 1
        self._make_up()
        try:
            yield
        finally:
            with self._counting:
                self._blocked -= 1

    def queued(self) -> bool:
        """Whether tasks wait for a thread."""
        return not self._tasks.empty()

    def _make_up(self) -> None:
        """Wakes a thread, or starts one, where fewer work than should."""
        with self._counting:
            if self._ended or self._threads - self._blocked - self._resting >= self._working:
                return
            if self._resting:
                self._resting -= 1
                self._needed.release()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        _here.pool = self
        while (task := self._tasks.get()) is not None:
            future, fn, args, kwargs = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)
            del task, future, fn, args, kwargs  # nothing is kept alive while this thread waits
            if self._threads - self._blocked - self._resting > self._working:
                self._rest()

    def _rest(self) -> None:
        """Rests until it is needed, if it is one too many."""
        with self._counting:
            if self._ended or self._threads - self._blocked - self._resting <= self._working:
                return
            self._resting += 1
        self._needed.acquire()


@contextmanager
def blocking() -> Iterator[None]:
    """Says of the thread it is called in that it waits for work of others; see `WorkingThreads`."""
    pool = getattr(_here, "pool", None)
    if pool is None:
        yield
    else:
        with pool.blocking():
            yield


def tasks_queued() -> bool:
    """Whether tasks wait for a thread of the pool it is called in."""
    pool = getattr(_here, "pool", None)
    return pool is not None and pool.queued()


def let_in() -> None:
    """Waits until the tasks that are queued in the pool it is called in have begun."""
    pool = getattr(_here, "pool", None)
    if pool is not None:
        mark = pool.submit(lambda: None)
        with pool.blocking():
            mark.result()
