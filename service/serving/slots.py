"""Slots: how many long computations run in a worker at a time. Other calls wait in order."""

import threading
from collections import deque
from types import TracebackType

from service.serving.threads import leave


class Slots:
    """A few places to compute in: `with slots: …`. Who waits for one holds no thread that others need."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()  # guards the next two
        self._free = count
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        leave()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # released by who hands its slot on

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
