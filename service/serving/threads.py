"""Thread pools for calls that are not answered at once: a few compute at a time; those that wait do not count.

What a call does next may take long, or wait for somebody. It says so by `leave`, wherever it is: on a thread of a pool,
another call begins in its place; where a call was begun on a thread that must not wait, it is begun again elsewhere.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

Found = TypeVar("Found")
Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any], float]

_here = threading.local()  # .place: the Place that runs this thread; .asked: when its task came; time.monotonic()


class Moved(BaseException):
    """A call left the thread it was begun on, to be begun again on another. Not an error, and not to be caught."""


class Place(Protocol):
    """What runs calls on a thread."""

    def leave(self) -> None:
        """Makes room for others, or raises Moved."""


def settle(place: Place | None) -> None:
    """Says what runs the calls of this thread."""
    _here.place = place


def leave() -> None:
    """Says that what follows takes long, or waits: others need not wait for it.

    Raises Moved on a thread that must not be held. To be called before anything is done that must not be done twice.
    """
    place: Place | None = getattr(_here, "place", None)
    if place is not None:
        place.leave()


def asked_at() -> float:
    """When the task of this thread came to its pool, or now, if it runs none; seconds of time.monotonic()."""
    return getattr(_here, "asked", 0.0) or time.monotonic()


def result_of(future: "Future[Found]") -> Found:
    """The result of a future, or its exception, with nobody waiting for this thread meanwhile."""
    leave()
    return future.result()


class Threads(Executor):
    """Runs tasks in the order in which they came, so many at a time, not counting those that have left."""

    def __init__(self, count: int, most: int, name: str) -> None:
        """count: tasks at a time. most: threads, those of tasks that have left included."""
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._turns: SimpleQueue[None] = SimpleQueue()  # one for each thread that may take tasks
        self._lock = threading.Lock()  # guards the next three
        self._threads = 0
        self._idle = 0  # threads for which there is no turn
        self._unused = 0  # turns for which there is no thread
        self._most, self._name = most, name
        self._ended = False
        for _ in range(count):
            self._give_turn()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Runs a task when it is its turn. Raises RuntimeError after `shutdown`."""
        if self._ended:
            raise RuntimeError("cannot run tasks after shutdown")
        future: Future[Any] = Future()
        self._tasks.put((future, fn, args, kwargs, time.monotonic()))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; threads end when those that were taken have run."""
        self._ended = True
        self._tasks.put(None)

    def _give_turn(self) -> None:
        """Lets one more thread take tasks: one that has no turn, or a new one."""
        start = None
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                start = _Thread(self, f"{self._name}-{self._threads}")
            else:
                self._unused += 1
        self._turns.put(None)
        if start is not None:
            start.start()

    def _lose_turn(self) -> None:
        """Of a thread that gave its turn away, and now waits for another."""
        with self._lock:
            if self._unused:
                self._unused -= 1
            else:
                self._idle += 1


class _Thread(threading.Thread):
    """One thread of a pool."""

    def __init__(self, pool: Threads, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pool = pool
        self._has_turn = False

    def leave(self) -> None:
        """Gives the turn to another thread until the task has ended."""
        if self._has_turn:
            self._has_turn = False
            self._pool._give_turn()

    def run(self) -> None:
        """Runs tasks until the pool has ended."""
        settle(self)
        pool = self._pool
        tasks = pool._tasks
        while True:
            if not self._has_turn:
                pool._turns.get()
                self._has_turn = True
            task = tasks.get()
            if task is None:
                tasks.put(None)  # for the others
                pool._give_turn()
                return
            future, fn, args, kwargs, _here.asked = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)
            _here.asked = 0.0
            del task, future, fn, args, kwargs  # an idle thread keeps nothing alive
            if not self._has_turn:
                pool._lose_turn()
