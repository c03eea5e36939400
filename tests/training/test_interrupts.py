"""Ctrl-C, whatever native code makes of it."""

import signal
import threading

import pytest

from training.interrupts import interruptible


def swallowed():
    """What native code may do with Ctrl-C."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return
    pytest.fail("Ctrl-C raised nothing")


def test_another_error_that_is_made_of_it():
    """Where Ctrl-C was pressed, what fails afterwards is the interrupt; where it was not, an error stays itself."""

    def fail():
        raise ValueError("by itself")

    def fail_after_it():
        swallowed()
        fail()

    with pytest.raises(KeyboardInterrupt), interruptible():
        fail_after_it()
    with pytest.raises(ValueError, match=r"^by itself$"), interruptible():
        fail()


def test_swallowed():
    """The check raises it, in this block and in those around it, and says nothing before."""
    with interruptible() as outer:
        with interruptible() as inner:
            inner()
            swallowed()
            with pytest.raises(KeyboardInterrupt):
                inner()
        with pytest.raises(KeyboardInterrupt):
            outer()


def test_after_it_ctrl_c_is_what_it_was():
    """Neither the block, nor one in a thread or where Ctrl-C is ignored, leaves a handler behind."""
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        pass
    thread = threading.Thread(target=lambda: interruptible().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as check:
            signal.raise_signal(signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)
