"""The audit log: one JSON line for each requested change, allowed or not, and for each change from elsewhere."""

import json
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

MOST_WAITING = 10_000  # lines that are kept in memory while the disk takes none

logger = logging.getLogger(__name__)


class AuditLog:
    """A file that is only ever appended to. What cannot be written is kept, and written when there is room again."""

    def __init__(self, file: Path) -> None:
        """Raises OSError where the file cannot be opened for appending."""
        self._file = file
        self._writing = threading.Lock()  # guards the next three
        self._waiting: deque[bytes] = deque()
        self._lost = 0  # lines for which there was no room in memory either
        self._failing = False
        file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def write(self, record: dict[str, Any]) -> None:
        """Adds a line. Raises nothing: what was done is done."""
        line = json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"
        with self._writing:
            if len(self._waiting) >= MOST_WAITING:
                self._lost += 1
            else:
                self._waiting.append(line)
            self._flush()

    def flush(self) -> None:
        """Tries again to write what could not be written."""
        with self._writing:
            self._flush()

    def close(self) -> None:
        """Writes what is left, if that can be, and lets the file go."""
        with self._writing:
            self._flush()
            os.close(self._descriptor)

    def _flush(self) -> None:
        if not self._waiting and not self._lost:
            return
        try:
            if self._moved():
                os.close(self._descriptor)
                self._descriptor = self._open()
            while self._waiting:
                self._append(self._waiting[0])
                self._waiting.popleft()
            if self._lost:
                self._append(json.dumps({"action": "audit", "lost_lines": self._lost}).encode() + b"\n")
                self._lost = 0
            if self._failing:
                logger.warning("the audit log can be written again")
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.error("the audit log cannot be written; lines are kept in memory: %s", error)
            self._failing = True

    def _append(self, line: bytes) -> None:
        """Writes a line whole or not at all. Raises OSError."""
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def _moved(self) -> bool:
        """Whether the file is another by now, or gone, because somebody rotates it."""
        try:
            there = self._file.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _open(self) -> int:
        return os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
