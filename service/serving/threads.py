"""A few threads for many tasks: a task that waits for another's result leaves its thread to others until then.

Each task runs in a greenlet, a stack of its own that costs no thread. Waiting is leaving that stack.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Found = TypeVar("Found")

_here = threading.local()  # .thread: the _Thread it is read in


class WorkingThreads(Executor):
    """Runs tasks in the order in which they came, on so many threads."""

    def __init__(self, count: int, name: str) -> None:
        self.tasks: deque[Task] = deque()
        self.idle: list[_Thread] = []
        self.ended = False
        self._threads = [_Thread(self, f"{name}-{number}") for number in range(1, count + 1)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Runs a task when a thread is free. Raises RuntimeError after `shutdown`.

        What a task submits itself wakes no other thread: its own is free as soon as it ends or waits.
        """
        if self.ended:
            raise RuntimeError("cannot run tasks after shutdown")
        future: Future[Any] = Future()
        self.tasks.append((future, fn, args, kwargs))
        if self.idle and not self._is_here():
            with suppress(IndexError):  # another was quicker
                self.idle.pop().ring()
        return future

    def _is_here(self) -> bool:
        thread = _thread_here()
        return thread is not None and thread.pool is self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; threads end when those that were taken have run."""
        self.ended = True
        for thread in self._threads:
            thread.ring()


class _Thread(threading.Thread):
    """A working thread. Its own stack, the hub, only chooses what goes on next: a task, or one that has waited."""

    def __init__(self, pool: WorkingThreads, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self._hub: greenlet | None = None
        self._going_on: SimpleQueue[greenlet | None] = SimpleQueue()  # tasks of this thread that need wait no longer
        self._waiting = 0  # tasks of this thread that wait
        self._spare: list[greenlet] = []  # stacks that are free for a task

    def ring(self) -> None:
        """Makes it look for tasks."""
        self._going_on.put(None)

    def wait(self) -> None:
        """Of a task of this thread: gives the thread away until `go_on` is called."""
        assert self._hub is not None
        self._waiting += 1
        self._hub.switch()
        self._waiting -= 1

    def go_on(self, stack: greenlet) -> None:
        """Lets a task that waits go on, or one that is about to wait. From any thread."""
        self._going_on.put(stack)

    def run(self) -> None:
        """Works until the pool has ended and nothing is left."""
        _here.thread, self._hub = self, getcurrent()
        pool, tasks, going_on, spare = self.pool, self.pool.tasks, self._going_on, self._spare
        while True:
            if not going_on.empty():
                _resume(going_on.get())
                continue
            try:
                task = tasks.popleft()
            except IndexError:
                if pool.ended and not self._waiting:
                    break
                pool.idle.append(self)
                # Who submits, adds a task and then looks for an idle thread; here it is the other way round.
                stack = None if tasks else going_on.get()
                with suppress(ValueError):  # whoever rang has taken it out
                    pool.idle.remove(self)
                _resume(stack)
            else:
                (spare.pop() if spare else greenlet(self._work)).switch(task)
                del task  # nothing is kept alive by a thread that is idle
        for stack in spare:
            stack.throw()

    def _work(self, task: Task) -> None:
        """One stack: runs the tasks it is given."""
        assert self._hub is not None
        while True:
            future, fn, args, kwargs = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)
            del task, future, fn, args, kwargs  # nothing is kept alive by a stack that is spare
            self._spare.append(getcurrent())
            task = self._hub.switch()


def _resume(stack: greenlet | None) -> None:
    if stack is not None:
        stack.switch()


def _thread_here() -> _Thread | None:
    return getattr(_here, "thread", None)


class Pause:
    """One wait, of whoever makes it, until somebody ends it. Of a task of `WorkingThreads` it holds no thread."""

    def __init__(self) -> None:
        self._thread = _thread_here()
        self._stack = getcurrent()
        self._ended = None if self._thread else threading.Event()

    def wait(self) -> None:
        """Returns when the pause has ended. To be called once."""
        if self._thread is not None:
            self._thread.wait()
        elif self._ended is not None:
            self._ended.wait()

    def end(self) -> None:
        """Ends it, before or while it is waited for. To be called once."""
        if self._thread is not None:
            self._thread.go_on(self._stack)
        elif self._ended is not None:
            self._ended.set()


def result_of(future: "Future[Found]") -> Found:
    """The result of a future, or its exception; a task of `WorkingThreads` holds no thread until it is there."""
    pause = Pause()
    future.add_done_callback(lambda _: pause.end())
    pause.wait()
    return future.result()


def pool_here() -> WorkingThreads:
    """The pool whose task calls; for all others one of the process, with a single thread."""
    thread = _thread_here()
    if thread is not None:
        return thread.pool
    with _making:
        if not _others:
            _others.append(WorkingThreads(1, "others"))
    return _others[0]


_making = threading.Lock()  # guards the next
_others: list[WorkingThreads] = []
