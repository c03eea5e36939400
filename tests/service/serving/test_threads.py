"""Working threads: order, bound, and tasks that wait without holding a thread."""

import threading
from concurrent.futures import Future

import pytest

from service.serving.threads import Pause, WorkingThreads, pool_here, result_of


@pytest.fixture
def pool():
    """Two working threads."""
    pool = WorkingThreads(2, "test")
    yield pool
    pool.shutdown()


@pytest.fixture
def one():
    """A single working thread."""
    pool = WorkingThreads(1, "one")
    yield pool
    pool.shutdown()


def test_tasks_run_and_fail_for_themselves(pool):
    """A result or an error goes to whoever submitted, and the thread goes on."""
    failed = pool.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(10), ZeroDivisionError)
    assert [pool.submit(lambda i=i: i * i).result(10) for i in range(20)] == [i * i for i in range(20)]


def test_only_so_many_work(pool, one):
    """Tasks beyond the number of threads wait until one is free, and run in order."""
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


def test_a_task_that_waits_holds_no_thread(one):
    """On one thread a hundred tasks wait for one that comes after them, and all get its result."""
    awaited = Future()
    waiting = [one.submit(result_of, awaited) for _ in range(100)]
    one.submit(awaited.set_result, "it").result(10)
    assert [future.result(10) for future in waiting] == ["it"] * 100


def test_waiting_tasks_go_on_in_their_own_thread_and_order(pool):
    """What waited goes on in the thread it began in; those of a thread in the order in which they were let."""
    pauses, began, went_on = [], [], []
    all_wait = threading.Semaphore(0)

    def task(i):
        pause = Pause()
        began.append((i, threading.current_thread().name))
        pauses.append((i, pause))
        all_wait.release()
        pause.wait()
        went_on.append((i, threading.current_thread().name))

    futures = [pool.submit(task, i) for i in range(20)]
    for _ in futures:
        assert all_wait.acquire(timeout=10)
    for _, pause in reversed(pauses):
        pause.end()
    for future in futures:
        future.result(10)
    assert sorted(went_on) == sorted(began)
    for thread in {name for _, name in began}:
        let = [i for i, _ in reversed(pauses) if (i, thread) in began]
        assert [i for i, name in went_on if name == thread] == let


def test_a_pause_may_end_before_it_is_waited_for(one):
    """Whoever waits for what is there already goes on at once, in a task and outside of one."""
    done = Future()
    done.set_result(7)
    assert one.submit(result_of, done).result(10) == 7
    assert result_of(done) == 7


def test_a_failure_that_was_waited_for_is_raised(one):
    """An exception of a future comes out where its result is waited for."""
    failed = Future()
    waits = one.submit(result_of, failed)
    failed.set_exception(KeyError("it"))
    assert isinstance(waits.exception(10), KeyError)


def test_outside_of_a_task_waiting_is_waiting():
    """A thread of no pool waits as threads do."""
    awaited = Future()
    threading.Thread(target=awaited.set_result, args=[3]).start()
    assert result_of(awaited) == 3


def test_what_a_task_submits_runs_behind_what_waits_already(one):
    """A task may submit another to its own pool and wait for it; what was there before comes first."""
    order, go = [], threading.Event()

    def task():
        assert pool_here() is one
        go.wait(10)
        result_of(pool_here().submit(order.append, "submitted"))
        order.append("waited")

    first = one.submit(task)
    others = [one.submit(order.append, i) for i in range(3)]
    go.set()
    for future in (first, *others):
        future.result(10)
    assert order == [0, 1, 2, "submitted", "waited"]


def test_those_outside_share_a_pool():
    """Threads of no pool have one to submit to, the same for all."""
    assert pool_here() is pool_here()
    assert pool_here().submit(lambda: pool_here() is not None).result(10)


def test_shutdown(one):
    """After its end a pool takes nothing more; what it took before has run, and what waits is still let go on."""
    awaited = Future()
    waits = one.submit(result_of, awaited)
    futures = [one.submit(lambda i=i: (i, threading.current_thread())) for i in range(10)]
    one.shutdown()
    with pytest.raises(RuntimeError):
        one.submit(print)
    results = [future.result(10) for future in futures]
    assert [i for i, _ in results] == list(range(10))
    awaited.set_result("late")
    assert waits.result(10) == "late"
    results[0][1].join(10)
    assert not results[0][1].is_alive()
