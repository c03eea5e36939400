"""Lines of calls that wait to be computed: callers take turns, and in an overload nobody waits for long.

As long as the line becomes short now and then, a call waits as long as it takes: a burst is served. Once the line has
been long for `overload_seconds` without a break, a call is refused at once if the line is full and its caller has its
share of it already, and any other when it has waited for longer than the whole line should take. So calls that are
answered are answered soon, the others hear early that they are not, and who sends few calls is not refused for those
of others.

That a queue is only bad if it stays is from CoDel (K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue
10(5), 2012); for requests instead of packets see B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015.
"""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from service.current import call as current_call
from service.errors import LimitExceededError
from service.serving.threads import asked_at

DEPTH = 24  # computations that may wait in an overload: so many clients that send one call after the other are none
CALM = 0.25  # of that: as long as fewer wait now and then, there is no overload
PATIENCE = 4.0  # a call may wait for so many times what the whole line should take
LEAST_SECONDS = 0.1  # and for so long at least
WEIGHT = 0.1  # of the last computation, where it took less than usual


class Waiter:
    """A call that waits."""

    kind: Hashable = None  # calls of different kinds cannot be computed together

    def __init__(self, call: Any = None) -> None:
        """`call` has an `identity`; None: the one that this thread runs."""
        call = call or current_call()
        self.identity: str = call.identity() if call is not None else ""
        # A stream that has begun is not refused: it would lose its state, and it waits for each answer anyway.
        self.patient = call is None or getattr(call, "lifetime", None) is not None
        self.since = asked_at()  # when the call was there; time.monotonic()
        self.patience: float | None = None  # seconds after which it is refused; None: it waits as long as it takes
        self.turn = threading.Lock()  # held until it is its turn
        self.turn.acquire()


Waiting = TypeVar("Waiting", bound=Waiter)


class Line(Generic[Waiting]):
    """The calls that wait for one thing. Its owner's lock is held by whoever calls, unless a method says otherwise."""

    def __init__(
        self, lock: threading.Lock, overload_seconds: float = 0.0, *, depth: int = DEPTH, together: int = 1
    ) -> None:
        """`overload_seconds`: how long the line must have been long before calls are refused; 0: none is.

        `depth`: computations that may wait in an overload. `together`: calls that one computation computes.
        """
        self._lock = lock
        self._after, self._depth, self._most = overload_seconds, depth, depth * together
        self._by_caller: OrderedDict[str, deque[Waiting]] = OrderedDict()  # whose turn it is first
        self._all: dict[Waiting, None] = {}  # in the order in which they came
        self._kinds: Counter[Hashable] = Counter()
        self._calm_at = time.monotonic()  # when the line was last short
        self._computing: dict[object, float] = {}  # what is being computed, and since when
        self._usual = 0.0  # seconds of a computation: rises at once, and falls slowly

    def __len__(self) -> int:
        return len(self._all)

    def check(self, waiter: Waiter) -> None:
        """Without the lock: raises LimitExceededError in an overload, where too many calls of the caller wait."""
        if not self._all:
            return
        with self._lock:
            if waiter.patient or not self._overloaded(self._look()):
                return
            own = len(self._by_caller.get(waiter.identity, ()))
            callers = len(self._by_caller) + (not own)
            most = max(1, self._most // callers)
            full = len(self._all) >= self._most  # else others leave room; and a line kept short would look calm
        if full and own >= most:
            raise LimitExceededError(
                f"this worker is overloaded: {own} calls of this caller wait, at present {most} may",
                bound="queue", limit=most, actual=own + 1,
            )  # fmt: skip

    def join(self, waiter: Waiting) -> None:
        """Puts a call at the end of those of its caller."""
        now = self._look()
        if not waiter.patient and self._overloaded(now):
            longest = now - min(self._computing.values(), default=now)
            whole = self._depth * max(self._usual, longest) * max(len(self._kinds), 1)
            waiter.patience = max(PATIENCE * whole, LEAST_SECONDS)
        self._by_caller.setdefault(waiter.identity, deque()).append(waiter)
        self._all[waiter] = None
        self._kinds[waiter.kind] += 1

    def first(self) -> Waiting:
        """The call whose turn is next."""
        return next(iter(self._by_caller.values()))[0]

    def in_turn(self) -> Iterator[Waiting]:
        """All calls, in the order of their turns."""
        rest = [iter(calls) for calls in self._by_caller.values()]
        while rest:
            found = [(calls, waiter) for calls in rest if (waiter := next(calls, None)) is not None]
            yield from (waiter for _, waiter in found)
            rest = [calls for calls, _ in found]

    def take(self, waiter: Waiting) -> None:
        """Takes a call out of the line, since its turn has come: the next of its caller comes after all others."""
        self.leave(waiter)
        if waiter.identity in self._by_caller:
            self._by_caller.move_to_end(waiter.identity)

    def begin(self, what: object) -> None:
        """Notes that a computation begins."""
        self._look()
        self._computing[what] = time.monotonic()

    def end(self, what: object) -> None:
        """Notes that it has ended."""
        seconds = time.monotonic() - self._computing.pop(what)
        self._usual = max(seconds, self._usual + (seconds - self._usual) * WEIGHT)

    def wait(self, waiter: Waiting) -> None:
        """Without the lock: waits until a call's turn has come. Raises LimitExceededError where that takes too long."""
        patience = waiter.patience
        if patience is None:
            waiter.turn.acquire()
            return
        if waiter.turn.acquire(timeout=max(waiter.since + patience - time.monotonic(), 0.0)):
            return
        with self._lock:
            if waiter.turn.acquire(blocking=False):  # it came in the last moment
                return
            if waiter in self._all:
                self.leave(waiter)
                waited = time.monotonic() - waiter.since
                raise LimitExceededError(
                    f"this worker is overloaded: the call has waited for {waited:.3f} s, "
                    f"and at present calls wait for {patience:.3f} s at most",
                    bound="queue", limit=round(patience, 3), actual=round(waited, 3),
                )  # fmt: skip
        waiter.turn.acquire()  # others compute it already

    def leave(self, waiter: Waiting) -> None:
        """Takes a call out of the line that waits no longer, if it is still there."""
        if waiter not in self._all:
            return
        calls = self._by_caller[waiter.identity]
        calls.remove(waiter)
        if not calls:
            del self._by_caller[waiter.identity]
        del self._all[waiter]
        self._kinds[waiter.kind] -= 1
        if not self._kinds[waiter.kind]:
            del self._kinds[waiter.kind]

    def _look(self) -> float:
        """Notes whether the line is short; gives the time."""
        now = time.monotonic()
        if len(self._all) < CALM * self._most:
            self._calm_at = now
        return now

    def _overloaded(self, now: float) -> bool:
        return self._after > 0 and now - self._calm_at > self._after
