"""service.serving.slots: who computes for long, in the order of coming."""

import threading

import pytest

from service.serving.slots import Slots
from service.serving.threads import Threads


@pytest.fixture
def one():
    """One task at a time."""
    pool = Threads(1, 200, "one")
    yield pool
    pool.shutdown()


def test_slots_are_given_in_order(one):
    """Who waits for a slot gets it in the order of coming, and holds no turn of a pool meanwhile."""
    slots, release, order = Slots(1), threading.Event(), []
    began = threading.Semaphore(0)

    def compute(i):
        with slots:
            order.append(i)
            began.release()
            release.wait(10)

    futures = [one.submit(compute, 0)]
    assert began.acquire(timeout=10)
    for i in range(1, 10):
        futures.append(one.submit(compute, i))
        while len(slots._line) < i:
            threading.Event().wait(0.001)
    assert one.submit(lambda: "answered").result(10) == "answered"
    assert order == [0]
    release.set()
    for future in futures:
        future.result(10)
    assert order == list(range(10))


def test_a_failure_gives_its_slot_back():
    """A slot is free again whatever happened in it."""
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots:
            raise ZeroDivisionError
