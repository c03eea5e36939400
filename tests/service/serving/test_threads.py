"""Threads for calls that take long: order, bound, and room for others while a call waits."""

import threading
from concurrent.futures import Future

import pytest

from service.serving.slots import Slots
from service.serving.threads import Moved, Threads, leave, result_of, settle


@pytest.fixture
def pool():
    """Two tasks at a time, on four threads at most."""
    pool = Threads(2, 4, "test")
    yield pool
    pool.shutdown()


@pytest.fixture
def one():
    """One task at a time."""
    pool = Threads(1, 200, "one")
    yield pool
    pool.shutdown()


def test_tasks_run_and_fail_for_themselves(pool):
    """A result or an error goes to whoever submitted, and the thread goes on."""
    failed = pool.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(10), ZeroDivisionError)
    assert [pool.submit(lambda i=i: i * i).result(10) for i in range(20)] == [i * i for i in range(20)]


def test_only_so_many_run(pool, one):
    """Tasks beyond the number wait until one has ended, and run in order."""
    release, began, started = threading.Event(), threading.Semaphore(0), []

    def task(i):
        started.append(i)
        began.release()
        release.wait(10)

    futures = [pool.submit(task, i) for i in range(6)]
    assert began.acquire(timeout=10)
    assert began.acquire(timeout=10)
    for _ in range(50):
        one.submit(lambda: None).result(10)  # time in which a third would have begun
    assert sorted(started) == [0, 1]
    release.set()
    for future in futures:
        future.result(10)
    assert sorted(started) == list(range(6))


def test_who_has_left_keeps_nobody_waiting(one):
    """A hundred tasks wait for one that comes after them, where one runs at a time."""
    awaited = Future()
    waiting = [one.submit(result_of, awaited) for _ in range(100)]
    one.submit(awaited.set_result, "it").result(10)
    assert [future.result(10) for future in waiting] == ["it"] * 100


def test_a_task_that_comes_as_others_wake_is_not_kept_waiting(pool):
    """While tasks that had left wake up and compute, those that are submitted run: threads are not tied to tasks."""
    for _ in range(50):
        awaited = Future()
        waiting = [pool.submit(result_of, awaited) for _ in range(2)]
        awaited.set_result(None)
        assert pool.submit(lambda: "ran").result(10) == "ran"
        for future in waiting:
            future.result(10)


def test_after_waiting_no_more_run_than_before(pool, one):
    """However many have left and come back, only so many run after that."""
    awaited = Future()
    futures = [pool.submit(result_of, awaited) for _ in range(10)]
    awaited.set_result(None)
    for future in futures:
        future.result(10)
    test_only_so_many_run(pool, one)


def test_where_nothing_must_be_held_a_call_is_moved():
    """On the thread of the edge, what takes long raises instead; on a thread of nobody it does nothing."""

    class Edge:
        def leave(self):
            raise Moved

    leave()
    settle(Edge())
    try:
        with pytest.raises(Moved):
            result_of(Future())
        with pytest.raises(Moved), Slots(1):
            raise AssertionError
    finally:
        settle(None)


def test_shutdown(one):
    """After its end a pool takes nothing more; what it took before has run, and what waits is still finished."""
    awaited = Future()
    waits = one.submit(result_of, awaited)
    futures = [one.submit(lambda i=i: i) for i in range(10)]
    one.shutdown()
    with pytest.raises(RuntimeError):
        one.submit(print)
    assert [future.result(10) for future in futures] == list(range(10))
    awaited.set_result("late")
    assert waits.result(10) == "late"
