"""Slots: how many long computations run in a worker at a time. Other calls wait, and callers take turns."""

import threading
import time
from types import TracebackType

from service.serving.line import Line, Waiter
from service.serving.threads import leave


class Slots:
    """A few places to compute in: `with slots: …`. Who waits for one holds no thread that others need."""

    def __init__(self, count: int, overload_seconds: float = 0.0) -> None:
        """`overload_seconds` as in `service.serving.line`."""
        self._lock = threading.Lock()  # guards the next two
        self._free = count
        self._line: Line[Waiter] = Line(self._lock, overload_seconds)

    def __enter__(self) -> int:
        """Gives the nanoseconds that it waited. Raises LimitExceededError in an overload."""
        self._line.check(Waiter())
        leave()
        key = threading.get_ident()
        with self._lock:
            if self._free:
                self._free -= 1
                self._line.begin(key)
                return 0
            waiter = Waiter()
            self._line.join(waiter)
        begin = time.perf_counter_ns()
        self._line.wait(waiter)  # for who hands its slot on
        with self._lock:
            self._line.begin(key)
        return time.perf_counter_ns() - begin

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._line.end(threading.get_ident())
            if len(self._line):
                waiter = self._line.first()
                self._line.take(waiter)
                waiter.turn.release()
            else:
                self._free += 1
