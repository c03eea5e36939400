"""service.serving.admission: large calls together compute no more than one may."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from service.config import Limits
from service.errors import CancelledError, LimitExceededError
from service.serving.admission import Admission
from tests.service.model.engines.test_choice import layer, network, recurrent
from tests.service.support import entry, eventually, serving

pytestmark = pytest.mark.usefixtures("edge")

LIMITS = Limits(computed=50)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A network that makes five numbers of a sequence."""
    return network(tmp_path_factory.mktemp("five"), recurrent("SimpleRNN", "a", 4), layer("Dense", "d", units=1))


def batch(net, sequences):
    """Inputs."""
    (spec,) = net.inputs
    return {spec.name: np.ones((sequences, 3, spec.shape[2]), np.float32)}


def test_no_more_at_once_than_the_bound(five):
    """Whatever sizes come from whatever threads, those in progress are within the bound, and all have their turn."""
    admission, lock = Admission(LIMITS), threading.Lock()
    now, most = 0, 0

    def call(sequences):
        nonlocal now, most
        with admission.take(five, batch(five, sequences)):
            with lock:
                now += 5 * sequences
                most = max(most, now)
            threading.Event().wait(0.001)
            with lock:
                now -= 5 * sequences

    sizes = np.random.default_rng(0).integers(1, 11, 300).tolist()
    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(call, size) for size in sizes]:
            future.result(60)
    assert 25 < most <= 50


def test_in_order(five):
    """A large call that waits is not passed by smaller ones that came later."""
    admission, entered = Admission(LIMITS), []

    def call(sequences):
        with admission.take(five, batch(five, sequences)):
            entered.append(sequences)

    with ThreadPoolExecutor(2) as pool:
        with admission.take(five, batch(five, 5)):
            large = pool.submit(call, 10)
            eventually(lambda: admission.waiting == 1)
            small = pool.submit(call, 1)  # which would fit
            eventually(lambda: admission.waiting == 2)
            assert entered == []
        wait([large, small], 20)
    assert entered == [10, 1]


class Caller:
    """A call of somebody; it may have left."""

    def __init__(self, name, left=False):
        self._name, self._left = name, left

    def identity(self):
        return self._name

    def check(self):
        if self._left:
            raise CancelledError("gone")


def test_callers_take_turns(five):
    """One caller's many large calls do not keep another's waiting: callers take turns, each in its order."""
    admission, entered = Admission(LIMITS), []

    def call(name, number):
        with admission.take(five, batch(five, 10), Caller(name)):
            entered.append((name, number))

    with ThreadPoolExecutor(6) as pool, admission.take(five, batch(five, 10)):
        for waiting, (name, number) in enumerate([*(("a", n) for n in range(4)), ("b", 0), ("b", 1)]):
            pool.submit(call, name, number)
            eventually(lambda count=waiting + 1: admission.waiting == count)
    assert entered == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 3)]


def test_who_left_while_waiting(five):
    """A call whose caller left while it waited does not begin, and leaves its part to others."""
    admission = Admission(LIMITS)

    def call():
        with admission.take(five, batch(five, 10), Caller("a", left=True)):
            raise AssertionError("it began")

    with ThreadPoolExecutor(1) as pool:
        with admission.take(five, batch(five, 10)):
            waiting = pool.submit(call)
            eventually(lambda: admission.waiting)
        with pytest.raises(CancelledError):
            waiting.result(20)
    with admission.take(five, batch(five, 10)):
        pass


def test_refused_and_failed_calls_take_no_room(five):
    """What is too large for any room is refused at once, and what fails leaves its room to others."""
    admission = Admission(LIMITS)
    with pytest.raises(LimitExceededError, match="11 sequences"), admission.take(five, batch(five, 11)):
        pass
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.take(five, batch(five, 10)):
            raise ZeroDivisionError
    with admission.take(five, batch(five, 10)):
        pass


def test_a_call_that_waits_holds_no_thread(versions):
    """While large calls of all kinds wait for room, the one thread of a worker answers small ones; then those."""
    limits = Limits(computed=5 * 256)  # one sequence is quick
    reference = entry("reference", "champion", v1=versions["r3-1"])
    one, many = (np.ones((sequences, 3, 2), np.float32) for sequences in (1, 100))
    with serving(reference, limits=limits, unary_threads=1) as (host, client), ThreadPoolExecutor(4) as pool:
        net = host.resolve("reference", "").network
        with host.admission.take(net, batch(net, 256)):
            waiting = [
                pool.submit(client.predict, many),
                pool.submit(client.trace, np.ones((10, 3, 2), np.float32)),
                pool.submit(lambda: next(client.stream([many]))),
            ]
            eventually(lambda: host.admission.waiting == 3)
            assert client.predict(one).output.shape == (1, 1)
            assert not any(future.done() for future in waiting)
        predicted, traced, streamed = (future.result(20) for future in waiting)
    assert np.array_equal(predicted.output, streamed.output)
    assert traced.outputs["output"].shape == (10, 1)
