"""service.supervisor.watchdog: what hangs, what computes, and what only had no turn."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from service.supervisor.watchdog import COMPUTING_SECONDS, LOOK_SECONDS, SILENT_SECONDS, Watchdog
from tests.service.support import eventually

SILENT_LOOKS = int(SILENT_SECONDS / LOOK_SECONDS)
HOLDS_THE_LOCK = "print(flush=True); 7 ** (10 ** 9)"  # one long call into C, in which no other thread gets a turn


@pytest.fixture
def process():
    """Starts Python programs, which have begun when they print a line."""
    started = []

    def start(program):
        made = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        started.append(made)
        made.stdout.readline()
        return made

    yield start
    for made in started:
        made.kill()
        made.communicate()


def looks(watchdog, count):
    """Takes so many looks, at their intervals; gives the first reason to kill, and after how many."""
    for i in range(count):
        time.sleep(LOOK_SECONDS)
        if reason := watchdog.look():
            return reason, i
    return "", count


@pytest.mark.parametrize("program", ["print(flush=True); import time; time.sleep(999)", HOLDS_THE_LOCK])
def test_a_stopped_process_hangs(process, program):
    """A process that was stopped hangs, whatever it did before."""
    stopped = process(program)
    stopped.send_signal(signal.SIGSTOP)
    eventually(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED)
    reason, after = looks(Watchdog(stopped.pid), 2 * SILENT_LOOKS)
    assert reason == "it did not answer for 5 s and did not compute"
    assert after >= SILENT_LOOKS


def test_a_process_that_waits_for_what_never_comes_hangs(process):
    """A process that neither answers nor computes hangs."""
    waiting = process("print(flush=True); import threading; a = threading.Lock(); a.acquire(); a.acquire()")
    assert looks(Watchdog(waiting.pid), 2 * SILENT_LOOKS)[0]


def test_a_process_that_computes_does_not_hang(process):
    """A process that cannot answer because it computes does not hang, but for too long a time it does."""
    watchdog = Watchdog(process(HOLDS_THE_LOCK).pid)
    assert looks(watchdog, 2 * SILENT_LOOKS) == ("", 2 * SILENT_LOOKS)
    reasons = [watchdog.look() for _ in range(int(COMPUTING_SECONDS / LOOK_SECONDS))]
    assert any(reasons)


def test_an_answer_ends_the_silence(process):
    """An answer at the last moment counts as much as one at once."""
    sleeping = process("print(flush=True); import time; time.sleep(999)")
    watchdog = Watchdog(sleeping.pid)
    for _ in range(3):
        for _ in range(SILENT_LOOKS):
            assert watchdog.look() == ""
        watchdog.answered()


def test_time_in_which_nobody_looked_does_not_count(process):
    """However long the machine stood still, a process is not blamed before it had its looks to answer in."""
    watchdog = Watchdog(process("print(flush=True); import time; time.sleep(999)").pid)
    watchdog.look()
    time.sleep(SILENT_SECONDS + 1)  # as after a pause of the machine: the clock went on, nobody looked
    assert watchdog.look() == ""
