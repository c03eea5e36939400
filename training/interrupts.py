"""Ctrl-C while TensorFlow computes, which may swallow it or raise another error instead."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Where Ctrl-C was pressed in the block, no other error leaves it than KeyboardInterrupt.

    Python raises that by itself, but native code that calls back into Python may swallow it, and then end well or fail
    by what is missing, as TensorFlow does while it traces. So the block is given a check, which raises it where it was
    swallowed. Blocks may be within each other. Without effect outside the main thread, which signals do not reach, and
    where Ctrl-C is ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
        yield lambda: None
        return
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        if callable(before):  # of the block around this one, which has to know too
            before(number, frame)
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield check
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
