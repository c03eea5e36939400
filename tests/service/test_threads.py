"""The pool of working threads: order, bound, and making up for those that wait."""

import threading

import pytest

from service.threads import WorkingThreads, blocking


@pytest.fixture
def pool():
    """Two working threads, five in all."""
    pool = WorkingThreads(2, 5, "test")
    yield pool
    pool.shutdown()


def test_tasks_run_and_fail_for_themselves(pool):
    """A result or an error goes to whoever submitted, and the thread goes on."""
    failed = pool.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(10), ZeroDivisionError)
    assert [pool.submit(lambda i=i: i * i).result(10) for i in range(20)] == [i * i for i in range(20)]


def test_only_so_many_work(pool):
    """Tasks beyond the number of working threads wait until one is free, and run in order."""
    release, started = threading.Event(), []

    def task(i):
        started.append(i)
        release.wait(10)

    futures = [pool.submit(task, i) for i in range(6)]
    pool_of_one = WorkingThreads(1, 1, "other")
    for _ in range(50):
        pool_of_one.submit(lambda: None).result(10)  # time in which a third would have begun
    assert sorted(started) == [0, 1]
    release.set()
    for future in futures:
        future.result(10)
    assert sorted(started) == list(range(6))
    pool_of_one.shutdown()


def test_threads_that_wait_are_made_up_for(pool):
    """Tasks that wait for a later task, and say so, get it done; beyond the most in all they have to wait."""
    done = threading.Event()

    def waits():
        with blocking():
            assert done.wait(10)

    waiting = [pool.submit(waits) for _ in range(4)]
    pool.submit(done.set).result(10)
    for future in waiting:
        future.result(10)
    names = {pool.submit(lambda: threading.current_thread().name).result(10) for _ in range(100)}
    assert len(names) <= 5


def test_extra_threads_rest(pool):
    """When nobody waits any more, as many threads work as are to, and no more than there were before come of it."""
    done = threading.Event()

    def waits():
        with blocking():
            assert done.wait(10)

    waiting = [pool.submit(waits) for _ in range(3)]
    pool.submit(done.set).result(10)
    for future in waiting:
        future.result(10)
    both = threading.Barrier(2)
    for _ in range(5):  # two at a time: every thread that is left has its turn
        for future in [pool.submit(both.wait, 10) for _ in range(2)]:
            future.result(10)
    third = threading.Barrier(3)
    stuck = [pool.submit(third.wait, 0.3) for _ in range(3)]
    assert all(isinstance(future.exception(10), threading.BrokenBarrierError) for future in stuck)
    again = threading.Event()

    def waits_again():
        with blocking():
            assert again.wait(10)

    waiting = [pool.submit(waits_again) for _ in range(3)]  # for which those that rest are woken
    pool.submit(again.set).result(10)
    for future in waiting:
        future.result(10)
    assert pool._threads == 5


def test_elsewhere_blocking_is_nothing():
    """In a thread of no pool, saying that one waits changes nothing."""
    with blocking():
        pass


def test_shutdown(pool):
    """After its end a pool takes nothing more, and what it took before has run."""
    futures = [pool.submit(lambda i=i: i) for i in range(10)]
    pool.shutdown()
    assert [future.result(10) for future in futures] == list(range(10))
    with pytest.raises(RuntimeError):
        pool.submit(print)
