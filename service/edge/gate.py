"""A gate between grpcio and our threads: while it is closed, arriving calls are held; they are served when it opens.

grpcio cancels calls that it has received and not handed over when it is stopped. So before it is stopped all that
arrive are handed over and kept. Their callers wait, and most of them make no further call until they have an answer:
soon nothing arrives any more, and then it is stopped, which has clients go elsewhere, and what was kept is served. To
refuse calls meanwhile would be the contrary: their callers call again at once, into the moment of stopping.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

QUIET_SECONDS = 0.1  # without a call, after which it is taken that no more is on its way
LONGEST_QUIET_SECONDS = 1.0  # to wait for that
POLL_SECONDS = 0.01

Pools = TypeVar("Pools", bound=Executor)


class Gate:
    """The gate of one server, which all its pools are behind."""

    def __init__(self) -> None:
        self.arrived = 0.0  # when the last call arrived that is kept; monotonic seconds
        self._pools: list[_GatedPool] = []

    def guard(self, pool: Pools) -> Pools:
        """Puts a pool behind the gate."""
        self._pools.append(_GatedPool(pool, self))
        return pool

    def shut(self, most: float) -> None:
        """Keeps what arrives from now on, and returns when nothing arrives any more, after so many seconds at most."""
        self.arrived = time.monotonic()
        for pool in self._pools:
            pool.shut()
        end = self.arrived + min(most, LONGEST_QUIET_SECONDS)
        while (now := time.monotonic()) < min(end, self.arrived + QUIET_SECONDS):
            time.sleep(min(POLL_SECONDS, end - now))

    def open(self) -> None:
        """Serves what was kept, and all that arrives from now on."""
        for pool in self._pools:
            pool.open()


class _GatedPool:
    """The entrance of one pool. While the gate is open, `submit` is the pool's own and costs nothing.

    It is replaced in the pool itself, and no other pool put before it: grpcio takes a pool of a handler only where it
    is a ThreadPoolExecutor.
    """

    def __init__(self, pool: Executor, gate: Gate) -> None:
        self._pool = pool
        self._gate = gate
        self._submit = pool.submit
        self._kept: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self._lock = threading.Lock()  # guards _kept and _is_shut
        self._is_shut = False

    def shut(self) -> None:
        self._is_shut = True
        self._pool.submit = self._keep  # type: ignore[method-assign]

    def open(self) -> None:
        with self._lock:
            self._is_shut = False
            kept, self._kept = self._kept, []
        self._pool.submit = self._submit  # type: ignore[method-assign]
        for future, fn, args, kwargs in kept:
            self._submit(_run, future, fn, args, kwargs)

    def _keep(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._lock:
            if self._is_shut:
                self._gate.arrived = time.monotonic()
                self._kept.append((future, fn, args, kwargs))
                return future
        return self._submit(fn, *args, **kwargs)


def _run(future: "Future[Any]", fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Runs a task that was kept."""
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
