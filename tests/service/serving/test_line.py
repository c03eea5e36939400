"""service.serving.line: who waits takes turns, and in an overload nobody waits for long and nobody is lost."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from service import current
from service.config import Limits
from service.errors import LimitExceededError
from service.serving.fast_path import FastPath
from service.serving.line import DEPTH, LEAST_SECONDS, PATIENCE, Line, Waiter
from service.serving.placement import Placed
from service.serving.slots import Slots
from tests.service.support import R3_INPUTS, entry, eventually, serving


class Call:
    """A call of somebody."""

    lifetime = None

    def __init__(self, name="somebody"):
        self._name = name

    def identity(self):
        return self._name


@pytest.fixture
def line():
    """A line in which calls are refused once it has been long for a second."""
    return Line(threading.Lock(), overload_seconds=1.0)


def joined(line, name, age=0.0):
    """A call that has been in the line for so many seconds."""
    waiter = Waiter(Call(name))
    waiter.since -= age
    line.join(waiter)
    return waiter


def overloaded(line, calls=DEPTH // 2):
    """Makes a line look as if it had been long for long: calls of one caller."""
    waiting = [joined(line, "greedy") for _ in range(calls)]
    line._calm_at -= 60.0
    return waiting


def test_turns(line):
    """Callers take turns, whatever the others ask for; each one's own calls keep their order."""
    a, b = [joined(line, "a") for _ in range(4)], joined(line, "b")
    c = [joined(line, "c") for _ in range(2)]
    wanted = [a[0], b, c[0], a[1], c[1], a[2], a[3]]
    assert list(line.in_turn()) == wanted
    taken = []
    while len(line):
        taken.append(line.first())
        line.take(taken[-1])
    assert taken == wanted


def test_a_burst_waits(line):
    """Calls that came together are not refused, however long it takes."""
    assert [joined(line, "a", age=60.0).patience for _ in range(100)] == [None] * 100
    line.check(Waiter(Call("a")))


def test_an_overload_refuses(line):
    """Once the line was long for long enough, a call is refused when it has waited for too long."""
    overloaded(line)
    waiter = joined(line, "a", age=1.0)
    assert waiter.patience == LEAST_SECONDS
    with pytest.raises(LimitExceededError, match="this worker is overloaded") as caught:
        line.wait(waiter)
    assert caught.value.details["bound"] == "queue"
    assert waiter not in line.in_turn()
    line.leave(waiter)  # which may be said of one that has left


def test_a_caller_has_its_share(line):
    """Who has its share of a line that is full hears at once that it asks for more; others still wait."""
    overloaded(line, calls=22)
    joined(line, "modest")  # two callers share 24 places
    line.check(Waiter(Call("greedy")))  # one is left, which nobody else wants
    joined(line, "greedy")
    with pytest.raises(LimitExceededError, match="23 calls of this caller wait, at present 12 may") as caught:
        line.check(Waiter(Call("greedy")))
    assert caught.value.details["bound"] == "queue"
    line.check(Waiter(Call("modest")))


def test_a_batch_that_begins_is_no_calm():
    """Where one caller asks for all it gets beside a modest one, a batch of those who wait leaves an overload one."""
    line = Line(threading.Lock(), overload_seconds=1.0, depth=2, together=32)
    waiting = [joined(line, "modest"), *(joined(line, "greedy") for _ in range(32))]
    line._calm_at -= 60.0
    with suppress(LimitExceededError):
        while len(line) < 100:
            line.check(Waiter(Call("greedy")))
            waiting.append(joined(line, "greedy"))
    for waiter in waiting[:32]:
        line.take(waiter)
    line.begin("batch")
    assert joined(line, "greedy").patience is not None


def test_what_is_computed_sets_the_patience(line):
    """The longer computations take, the longer calls wait in an overload; also one that has not ended counts."""
    overloaded(line)
    line._usual = 0.5
    assert joined(line, "a").patience == 0.5 * DEPTH * PATIENCE
    line._computing["long"] = time.monotonic() - 1000
    assert joined(line, "a").patience >= 1000 * DEPTH * PATIENCE


def test_kinds_wait_for_each_other(line):
    """Where calls cannot be computed together, each waits for the others' computations too."""
    overloaded(line)
    line._usual = 1.0
    for kind in range(4):
        waiter = Waiter(Call())
        waiter.kind = kind
        line.join(waiter)
    assert joined(line, "a").patience == 5 * DEPTH * PATIENCE


def test_an_overload_ends(line):
    """When few calls wait, nobody is refused."""
    for waiter in overloaded(line)[1:]:
        line.take(waiter)
    assert joined(line, "a").patience is None


def test_a_turn_that_came_is_taken(line):
    """A call whose turn comes just when it has waited for too long is computed."""
    overloaded(line)
    waiter = joined(line, "a", age=60.0)
    waiter.turn.release()
    line.wait(waiter)


def test_streams_go_on(line):
    """A message of an open stream is not refused."""
    overloaded(line)
    call = Call("a")
    call.lifetime = object()
    waiter = Waiter(call)
    line.join(waiter)
    assert waiter.patience is None


def test_no_caller_starves():
    """A caller with one call gets the second free slot, however many calls another has waiting."""
    slots, order = Slots(1), []
    let = threading.Event()

    def compute(name):
        with current.running(Call(name)), slots:
            order.append(name)
            assert let.wait(30)

    with ThreadPoolExecutor(8) as pool:
        pool.submit(compute, "first")
        eventually(lambda: order)
        for number, name in enumerate(["greedy"] * 5 + ["modest"]):
            pool.submit(compute, name)
            eventually(lambda number=number: len(slots._line) == number + 1)
        let.set()
    assert order == ["first", "greedy", "modest", *["greedy"] * 4]


class Held:
    """An engine that computes when it is let."""

    def __init__(self, engine):
        self._engine = engine
        self.let, self.began = threading.Event(), threading.Semaphore(0)

    def forward(self, inputs, state=None):
        self.began.release()
        assert self.let.wait(60)
        return self._engine.forward(inputs, state)

    def prepare(self, shape):
        forward = self._engine.prepare(shape)

        def held(raw):
            self.began.release()
            assert self.let.wait(60)
            return forward(raw)

        return held


@pytest.mark.usefixtures("edge")
def test_no_call_is_lost(versions):
    """In an overload of a real server every call is answered, or refused with RESOURCE_EXHAUSTED."""
    model = entry("model", "champion", v1=versions["r3-1"])
    with serving(model, limits=Limits(overload_seconds=0.001)) as (host, client):
        loaded = host.snapshot().models["model"]
        version = loaded.versions["1"]
        held = Held(version.computes)
        slots = host.admission.slots
        placed = Placed(held, 0, slots)
        version = replace(version, computes=placed, fast_path=FastPath(version.network, placed, host.limits))
        host._snapshot = replace(host.snapshot(), models={"model": replace(loaded, versions={"1": version})})
        with ThreadPoolExecutor(2 + DEPTH + 4) as pool:
            first = [pool.submit(client.predict, R3_INPUTS[:1]) for _ in range(2 + DEPTH)]
            eventually(lambda: len(slots._line) == DEPTH)  # the others are computed
            with pytest.raises(LimitExceededError, match="calls of this caller wait") as caught:
                client.predict(R3_INPUTS[:1])
            assert caught.value.details["bound"] == "queue"
            held.let.set()
            for call in first:
                assert call.result().version == "1"
        assert client.predict(R3_INPUTS[:1]).version == "1"
