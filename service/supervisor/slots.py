"""The place of one worker in the fleet, and how long it stays empty after the worker ended."""

import signal
import threading

from service.config import ServerConfig
from service.supervisor.process import WorkerProcess

QUICK_CRASH_SECONDS = 10.0  # a worker that crashed sooner after it began to serve waits before it is started again
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0  # between two starts of a worker that keeps failing
LONGEST_URGENT_SECONDS = 2.0  # the same where no other worker serves, or where somebody kills workers
KILLED = frozenset({0, -signal.SIGKILL, -signal.SIGTERM})  # exit statuses that are somebody's doing, not a crash


class Slot:
    """The place of one worker, filled again whenever it becomes free, until the place is given up."""

    def __init__(self, name: str, core: int | None, config: ServerConfig) -> None:
        self.name = name
        self.core = core
        self.config = config
        self.given_up = threading.Event()
        self.worker: WorkerProcess | None = None
        self.thread: threading.Thread | None = None


def pause_after(before: float, served: float, status: int | None) -> float:
    """How many seconds to wait before a worker is started again.

    `before` is the last pause, `served` for how many seconds the worker served, 0 where it never did, `status` how it
    ended. One that served is replaced at once, unless it crashed soon: then, and where it never served, the pause grows
    with each failure. Someone who kills workers does not make the pause long: their version does not crash.
    """
    killed = status in KILLED
    if served and (killed or served > QUICK_CRASH_SECONDS):
        return 0.0
    longest = LONGEST_URGENT_SECONDS if killed else LONGEST_PAUSE_SECONDS
    return min(max(before * 2, FIRST_PAUSE_SECONDS), longest)
