"""A worker process, as the supervisor sees it: start, requests and answers, watchdog and end."""

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from service import records
from service.config import ServerConfig
from service.link import Link
from service.snapshot import VersionKey
from service.supervisor.watchdog import LOOK_SECONDS, Watchdog

ANSWER_SECONDS = 120.0  # a worker that takes longer to start, to load or to commit is taken for dead
SEND_SECONDS = 30.0  # for a worker to read what it is sent
END_SECONDS = 10.0  # for a process to end that was killed, or whose end of the link was closed

Take = Callable[["WorkerProcess", str, dict[str, Any], bytes], None]

logger = logging.getLogger(__name__)


class WorkerProcess:
    """A worker process. Nothing here waits for it without a limit."""

    def __init__(self, name: str, core: int | None, config: ServerConfig) -> None:
        """Raises OSError or MemoryError where the system has no room for a process."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603  # our own module, by our own interpreter
                    [sys.executable, "-P", "-m", "service.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # One thread: a worker has one core. NumPy reads this when it is imported.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
        except BaseException:
            ours.close()
            raise
        self.name = name
        self.key = f"{name}/{self.process.pid}"  # of this process, where several may have its name
        self.link = Link(Connection(ours.detach()), SEND_SECONDS)
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()  # prepared, committed; None: gone
        self.gone = threading.Event()  # set when it ended, or its end of the link did
        self.loaded = False  # whether it has all of the snapshot in memory
        self.used: dict[VersionKey, float] = {}  # when versions on demand were used; monotonic seconds here
        self._watchdog = Watchdog(self.process.pid)
        self._pinged = False  # whether a ping is to be answered
        level = logging.getLevelName(logging.getLogger().level)
        self.send("start", {"name": name, "core": core, "config": records.to_json(config), "log_level": level})

    def follow(self, take: Take) -> None:
        """Hands its frames to `take`, and watches it, until it is gone. Raises RuntimeError without a thread for it."""
        threading.Thread(target=self._watch, name=f"{self.name}-watchdog", daemon=True).start()
        threading.Thread(target=self._read, args=(take,), name=f"{self.name}-link", daemon=True).start()

    def send(self, kind: str, fields: dict[str, Any] | None = None, body: bytes = b"") -> None:
        """Sends a frame; that the worker is gone shows when its answer is read."""
        try:
            self.link.send(kind, fields, body)
        except OSError:
            self.answers.put(None)

    def answer(self, generation: int) -> dict[str, Any] | None:
        """The worker's answer about a generation; None if it is gone or takes too long."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                answer = self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                logger.error("%s does not answer; it is killed", self.name)
                self.kill()
                return None
            if answer is None or answer["generation"] == generation:
                return answer

    def kill(self) -> None:
        """Ends it at once. Takes no lock: a signal handler calls it."""
        self.process.kill()

    def end(self) -> int | None:
        """Sees that it ends, in a moment if its end of the link did; its exit status, None if it cannot be killed."""
        try:
            if self.gone.is_set():
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(END_SECONDS)
            self.kill()
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            logger.error("%s (process %d) cannot be killed; it is left alone", self.name, self.process.pid)
            return None
        finally:
            self.gone.set()
            self.link.close()

    def _read(self, take: Take) -> None:
        """Reads frames until the worker is gone."""
        try:
            while True:
                kind, fields, body = self.link.receive()
                if kind == "pong":
                    self._pinged = False
                    self._watchdog.answered()
                elif kind == "reply":
                    self.link.answered(fields, body)
                else:
                    take(self, kind, fields, body)
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the link to %s failed; it is killed", self.name)
            self.kill()
        finally:
            self.gone.set()
            self.answers.put(None)
            self.link.close()

    def _watch(self) -> None:
        """Pings it, and kills it when it hangs."""
        while not self.gone.wait(LOOK_SECONDS):
            try:
                if hangs := self._watchdog.look():
                    logger.error("%s hangs: %s; it is killed", self.name, hangs)
                    self.kill()
                    return
                if not self._pinged:
                    self._pinged = True  # before it is sent: the answer may be here before `offer` returns
                    if not self.link.offer("ping"):
                        self._pinged = False
            except OSError:  # the link is closed, so it will be gone in a moment
                continue
