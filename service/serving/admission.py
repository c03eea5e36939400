"""How much a worker computes at once: what does not fit waits, in order, until others have finished."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.config import Limits
from service.errors import LimitExceededError
from service.model.network import Network
from service.model.tensors import Array
from service.serving.threads import Pause


class Admission:
    """Holds the calls of a worker together within the bound that each of them has; quick ones need not ask."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._quick = limits.computed, limits.quick
        self._lock = threading.Lock()  # guards the next two
        self._taken = 0
        self._waiting: deque[tuple[int, Pause]] = deque()

    @contextmanager
    def take(self, network: Network, inputs: Mapping[str, Array], *, traced: bool = False) -> Iterator[None]:
        """Admits a network to compute such inputs in the block; waits for it.

        Raises LimitExceededError for a call that makes more than there is room for at all; InvalidArgumentError for
        inputs whose shapes a layer cannot take.
        """
        batch = len(next(iter(inputs.values())))
        elements = batch * network.cost(network.shapes(inputs), traced=traced)
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
                limit=self._most,
                actual=elements,
            )
        self._enter(elements)
        try:
            yield
        finally:
            self._leave(elements)

    def _enter(self, elements: int) -> None:
        with self._lock:
            if not self._waiting and self._taken + elements <= self._most:
                self._taken += elements
                return
            pause = Pause()
            self._waiting.append((elements, pause))
        pause.wait()  # whoever leaves has taken the room for it

    def _leave(self, elements: int) -> None:
        fit = []
        with self._lock:
            self._taken -= elements
            while self._waiting and self._taken + self._waiting[0][0] <= self._most:
                more, pause = self._waiting.popleft()
                self._taken += more
                fit.append(pause)
        for pause in fit:
            pause.end()
