"""The watchdog: tells a hung process from a busy one, by unanswered pings and processor time.

A worker answers pings from a thread that does nothing else. It still cannot answer while a C library holds the
interpreter's lock, so silence alone proves nothing: a process that takes processor time, waits for a processor, or
waits for a disk is at work. One that does none of these hangs: it was stopped, or waits for what will never come.
"""

import os
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.5  # between two looks
SILENT_SECONDS = 5.0  # without an answer and without work: the process hangs
COMPUTING_SECONDS = 120.0  # without an answer, whatever it does: it hangs as well, or nobody gains by waiting for it
WORKING = 0.1  # of the time between two looks: less processor time than this is a library's housekeeping
AT_WORK = frozenset("RD")  # states of a thread: runs or waits for a processor; waits for a disk or for memory


class Watchdog:
    """Watches one process.

    It counts looks, not seconds. Where the machine or the whole process group stood still, or where this process got no
    turn on a busy machine, no looks were made either, so nobody is blamed for that time.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._silent = 0  # looks in a row without an answer
        self._idle = 0  # of these, looks that found no work either
        self._answered = True
        self._used: float | None = None  # processor seconds at the last look that found silence

    def answered(self) -> None:
        """Notes an answer. From any thread."""
        self._answered = True

    def look(self) -> str:
        """Takes a look, to be called every LOOK_SECONDS; why the process is taken to hang, or an empty text."""
        if self._answered:
            self._answered = False
            self._silent = self._idle = 0
            self._used = None
            return ""
        self._silent += 1
        if not self._works():
            self._idle += 1
        if self._idle * LOOK_SECONDS >= SILENT_SECONDS:
            return f"it did not answer for {SILENT_SECONDS:g} s and did not compute"
        if self._silent * LOOK_SECONDS >= COMPUTING_SECONDS:
            return f"it did not answer for {COMPUTING_SECONDS:g} s"
        return ""

    def _works(self) -> bool:
        """Whether the process took processor time since the last look, or a thread of it is about to."""
        used, before = processor_seconds(self._pid), self._used
        if used is None:  # gone, or a platform that does not say: only the longer time counts
            return True
        self._used = used
        if before is not None and used - before >= WORKING * LOOK_SECONDS:
            return True
        return not AT_WORK.isdisjoint(_thread_states(self._pid))


def processor_seconds(pid: int) -> float | None:
    """Processor time that all threads of a process have taken; None where the system does not say."""
    with suppress(OSError):
        fields = _stat(Path(f"/proc/{pid}/stat"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def _thread_states(pid: int) -> list[str]:
    """The state of each thread, one letter each."""
    states = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has just ended
                states.append(_stat(thread / "stat")[0])
    return states


def _stat(path: Path) -> list[str]:
    """The fields of a `stat` file after the name of the command, which may hold anything."""
    return path.read_text(errors="replace").rpartition(")")[2].split()
