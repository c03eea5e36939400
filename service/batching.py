"""Batching for heavy networks: what arrives while a network computes is the next batch. No timer, nothing to tune.

Only for networks whose engine gives each sequence the same bits whatever it is batched with, so nobody can tell.
"""

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np

from service.model.engines import MANY, Choice
from service.model.network import Network, RawResult, Result, Shared
from service.model.tensors import Array, is_sequence
from service.threads import Pause, pool_here


class _Request:
    """One caller's part of a batch."""

    def __init__(self, inputs: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        self.inputs = inputs
        self.state = state
        self.rows = len(next(iter(inputs.values())))
        # What has to agree in a batch: shapes without the batch, and which states are given.
        self.kind = (*[array.shape[1:] for _, array in sorted(inputs.items())], *sorted(state))
        self.arrived = time.perf_counter_ns()
        self.pause = Pause()
        self.first = 0  # of its rows in the batch
        self.batch: Result | None = None  # of all rows
        self.shared: Shared | None = None
        self.error: Exception | None = None

    def of(self, array: Array) -> Array:
        """Its rows of an array of the batch."""
        return array if len(array) == self.rows else array[self.first : self.first + self.rows]


class Batcher:
    """Computes one batch at a time. Those who come before it begins are in it, as far as they fit together.

    A batch is a task like the calls themselves. It begins when the calls that were there before have come so far: on
    one core, where nobody arrives while it computes, that is what makes batches.
    """

    def __init__(self, engine: Choice, network: Network) -> None:
        self._engine = engine
        self._input, *others = network.inputs
        self._output = network.outputs[0].name
        self._raw = not others and self._input.dtype == np.dtype("<f4") and len(self._input.shape) == 3
        self._lock = threading.Lock()  # guards the next two
        self._coming = False  # whether a batch is to be computed, or is being
        self._waiting: list[_Request] = []

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Choice.forward`, alone or with others."""
        request = _Request(inputs, initial_state or {})
        batch = self._computed(request)
        return Result(
            {name: request.of(array) for name, array in batch.outputs.items()},
            {name: request.of(array) for name, array in batch.final_state.items()},
            request.shared,
        )

    def forward_raw(self, raw: bytes, shape: tuple[int, ...]) -> RawResult | None:
        """As `Choice.forward_raw`, alone or with others."""
        if not self._raw or not is_sequence(raw, shape, self._input.shape):
            return None
        numbers = np.frombuffer(raw, "<f4")
        if not np.isfinite(numbers).all():
            return None
        request = _Request({self._input.name: numbers.reshape(shape)}, {})
        output = request.of(self._computed(request).outputs[self._output])
        return RawResult(output.shape, output.tobytes(), request.shared)

    def _computed(self, request: _Request) -> Result:
        """The result of the batch that a request was in. Raises what computing it raised."""
        with self._lock:
            self._waiting.append(request)
            first, self._coming = not self._coming, True
        if first:
            pool_here().submit(self._next)
        request.pause.wait()
        if request.error is not None:
            raise request.error
        assert request.batch is not None
        return request.batch

    def _next(self) -> None:
        """Computes the next batch, and sees to the one after it."""
        try:
            self._compute(self._gather())
        finally:
            with self._lock:
                self._coming = bool(self._waiting)
                more = self._coming
            if more:
                pool_here().submit(self._next)

    def _gather(self) -> list[_Request]:
        """The first who waits, and all that go with it, in their order."""
        with self._lock:
            first, rows, others = self._waiting[0], 0, []
            batch: list[_Request] = []
            for request in self._waiting:
                if request.kind == first.kind and (rows + request.rows <= MANY or not rows):
                    request.first = rows
                    rows += request.rows
                    batch.append(request)
                else:
                    others.append(request)
            self._waiting = others
        return batch

    def _compute(self, batch: Sequence[_Request]) -> None:
        """Gives each request of a batch its result, and wakes it."""
        began = time.perf_counter_ns()
        try:
            result = self._together(batch)
        except Exception:
            for request in batch:  # one of them is at fault, and the others are not
                self._alone(request, began)
        else:
            rows = sum(request.rows for request in batch)
            for request in batch:
                request.batch = result
                request.shared = Shared(rows, request is batch[0], began - request.arrived)
        for request in batch:
            request.pause.end()

    def _alone(self, request: _Request, began: int) -> None:
        try:
            request.batch = self._engine.forward(request.inputs, request.state)
            request.shared = Shared(request.rows, leads=True, waited_ns=began - request.arrived)
        except Exception as error:
            request.error = error

    def _together(self, batch: Sequence[_Request]) -> Result:
        if len(batch) == 1:
            return self._engine.forward(batch[0].inputs, batch[0].state)
        return self._engine.forward(_joined([r.inputs for r in batch]), _joined([r.state for r in batch]))


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
