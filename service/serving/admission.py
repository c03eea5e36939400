"""Admission: bounds what a worker computes at once. Other calls wait, and callers take turns."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Protocol

from service.config import Limits
from service.errors import LimitExceededError
from service.model.network import Network
from service.model.tensors import Array
from service.serving.line import Line, Waiter
from service.serving.slots import Slots
from service.serving.threads import leave

COMPUTING = 2  # long calls of a worker at a time: one that is very long does not keep the others waiting


class Asking(Protocol):
    """A call, as admission sees it."""

    def identity(self) -> str:
        """Who is counted."""

    def check(self) -> None:
        """Raises a ServiceError where nobody waits for the answer any more."""


class _Large(Waiter):
    """A call that waits for room."""

    def __init__(self, elements: int, call: Asking | None) -> None:
        super().__init__(call)
        self.elements = elements


class Admission:
    """Holds the calls of a worker together within the bound that each of them has; quick ones need not ask."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._quick = limits.computed, limits.quick
        self.slots = Slots(COMPUTING, limits.overload_seconds)
        self._lock = threading.Lock()  # guards the next two
        self._taken = 0
        self._line: Line[_Large] = Line(self._lock, limits.overload_seconds)

    @property
    def waiting(self) -> int:
        """How many calls wait for room."""
        return len(self._line)

    @contextmanager
    def take(
        self,
        network: Network,
        inputs: Mapping[str, Array],
        call: Asking | None = None,
        *,
        traced: bool = False,
        slot: bool = False,
        copies: int = 1,
    ) -> Iterator[None]:
        """Admits a network to compute such inputs in the block; waits for it, and for a slot where that is asked for.

        copies: how many times over it computes each of them.

        Raises LimitExceededError for a call that makes more than the bound; InvalidArgumentError for
        inputs whose shapes a layer cannot take; what `call.check` raises after a wait.
        """
        batch = len(next(iter(inputs.values())))
        elements = copies * batch * network.cost(network.shapes(inputs), traced=traced)
        if elements <= self._quick:
            yield
            return
        if elements > self._most:
            fit = self._most * batch // elements
            raise LimitExceededError(
                f"inputs: {'a trace of ' if traced else ''}{batch} sequences of this length would make {elements} "
                f"numbers in all layers together, the limit is {self._most}: "
                + (f"send at most {fit} in one call" if fit else "send shorter ones"),
                field="inputs",
                bound="computed",
                limit=self._most,
                actual=elements,
            )
        with self.admit(elements, call), self.slots if slot else nullcontext():
            yield

    @contextmanager
    def admit(self, elements: int, call: Asking | None = None, *, field: str = "", what: str = "") -> Iterator[None]:
        """Admits a call that reads, changes or computes so many elements; waits for it.

        field, what: of the request, and what is done with the elements, for errors.

        Raises LimitExceededError for more than one call may, and what `call.check` raises after a wait.
        """
        if elements <= self._quick:
            yield
            return
        if elements > self._most:
            raise LimitExceededError(
                f"{field}: {what} {elements} elements, the limit is {self._most}",
                field=field,
                limit=self._most,
                actual=elements,
            )
        self._line.check(Waiter(call))
        leave()
        waited = self._enter(elements, call)
        try:
            if call and waited:
                call.check()
            yield
        finally:
            self._leave(elements)

    def _enter(self, elements: int, call: Asking | None) -> bool:
        """Takes its part; whether it had to wait for it."""
        key = threading.get_ident()
        with self._lock:
            if not len(self._line) and self._taken + elements <= self._most:
                self._taken += elements
                self._line.begin(key)
                return False
            waiter = _Large(elements, call)
            self._line.join(waiter)
        self._line.wait(waiter)  # the call that leaves has taken the part for it
        with self._lock:
            self._line.begin(key)
        return True

    def _leave(self, elements: int) -> None:
        with self._lock:
            self._line.end(threading.get_ident())
            self._taken -= elements
            while len(self._line):
                waiter = self._line.first()
                if self._taken + waiter.elements > self._most:
                    break
                self._taken += waiter.elements
                self._line.take(waiter)
                waiter.turn.release()
