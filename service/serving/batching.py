"""Batching for heavy networks: requests that arrive during a forward pass form the next batch. No timer, no tuning.

Only for networks whose engine gives each sequence the same bits whatever it is batched with, so nobody can tell.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from service.current import call as current_call
from service.model.engines.choice import MANY, Choice
from service.model.results import RawForward, RawResult, Result, Shared
from service.model.tensors import Array
from service.serving.line import Line, Waiter
from service.serving.slots import Slots
from service.serving.threads import leave

DEPTH = 2  # batches that may wait in an overload
NO_STATE: Mapping[str, Array] = {}


class _Batch:
    """What was computed for several requests."""

    def __init__(self, result: Result, output: str) -> None:
        self.result = result
        self._output = result.outputs[output]
        self._raw: bytes | None = None

    def raw(self, row: int) -> bytes:
        """One sequence's output; all are made into bytes once."""
        if self._raw is None:
            self._raw = self._output.tobytes()
        size = len(self._raw) // len(self._output)
        return self._raw[row * size : (row + 1) * size]


class _Request(Waiter):
    """One caller's part of a batch: arrays, or one sequence as it came."""

    kind: tuple[object, ...]  # what has to agree in a batch

    def __init__(self, shapes: tuple[tuple[int, ...], ...], rows: int) -> None:
        super().__init__()
        self.inputs: Mapping[str, Array] = {}
        self.state = NO_STATE
        self.raw: bytes | None = None
        self.rows = rows
        self.shapes = shapes  # of the inputs, in their order, without the batch
        self.kind = shapes
        self.arrived = time.perf_counter_ns()
        call = current_call()
        self.trace = call.trace if call is not None else None
        self.leads = False  # whether its turn is to compute the next batch; else it is computed when its turn comes
        self.first = 0  # of its rows in the batch
        self.batch: _Batch | None = None  # None after the wait: nothing was computed, its numbers are not finite
        self.shared: Shared | None = None
        self.error: Exception | None = None

    def of(self, array: Array) -> Array:
        """Its rows of an array of the batch."""
        return array if len(array) == self.rows else array[self.first : self.first + self.rows]


class Batcher:
    """Computes one batch at a time. Those who come before it begins are in it, as far as they fit together.

    The first who comes computes, on its own thread, and then wakes the first of those who came meanwhile, who computes
    for all of them.
    """

    def __init__(self, engine: Choice, most: int, slots: Slots, overload_seconds: float = 0.0) -> None:
        """`most`: elements that a batch may compute, as `Limits.computed` has it for a call. A batch takes a slot.

        `overload_seconds` as in `service.serving.line`.
        """
        self._engine = engine
        self._slots = slots
        self._most = most
        self._raw = engine.raw
        self._lock = threading.Lock()  # guards the next two
        self._computing = False  # whether somebody computes, or is about to
        self._line: Line[_Request] = Line(self._lock, overload_seconds, depth=DEPTH, together=MANY)

    def waiting(self) -> int:
        """How many requests wait for a batch to begin."""
        return len(self._line)

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Choice.forward`, alone or with others."""
        shapes = self._engine.network.shapes(inputs)
        request = _Request(shapes, len(next(iter(inputs.values()))))
        request.inputs = inputs
        if initial_state:
            request.state = initial_state
            request.kind = (*shapes, *sorted(initial_state))  # as well as which states are given
        self._wait(request)
        assert request.batch is not None
        result = request.batch.result
        return Result(
            {name: request.of(array) for name, array in result.outputs.items()},
            {name: request.of(array) for name, array in result.final_state.items()},
            request.shared,
        )

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """As `Choice.prepare`; what it gives computes alone or with others."""
        return partial(self._forward_raw, shape[1:]) if self._raw.takes(shape) else None

    def _forward_raw(self, extents: tuple[int, ...], raw: bytes) -> RawResult | None:
        request = _Request((extents,), 1)
        request.raw = raw
        self._wait(request)
        return None if request.batch is None else (request.batch.raw(request.first), request.shared)

    def _wait(self, request: _Request) -> None:
        """Returns when the batch that a request is in was computed. Raises what computing it raised."""
        self._line.check(request)
        leave()
        with self._lock:
            self._line.join(request)
            request.leads, self._computing = not self._computing, True
        if not request.leads:
            self._line.wait(request)
        if request.leads:
            try:
                with self._slots:
                    self._compute(self._gather(request))
            finally:
                self._hand_on(request)
        if request.error is not None:
            raise request.error

    def _hand_on(self, leader: _Request) -> None:
        """Has the first of those who wait compute next."""
        with self._lock:
            self._line.leave(leader)  # where it was refused a slot
            self._computing = len(self._line) > 0
            if self._computing:
                first = self._line.first()
                first.leads = True
                first.turn.release()

    def _gather(self, first: _Request) -> list[_Request]:
        """The one that leads, and all that go with it, in the order of their turns."""
        with self._lock:
            most = min(MANY, self._most // (self._engine.network.cost(first.shapes) or 1))
            batch, rows = [first], first.rows
            for request in self._line.in_turn():
                if request is not first and request.kind == first.kind and rows + request.rows <= most:
                    rows += request.rows
                    batch.append(request)
            for request in batch:
                self._line.take(request)
            self._line.begin(first)
        return batch

    def _compute(self, batch: Sequence[_Request]) -> None:
        """Gives each request of a batch its result, and wakes it."""
        began = time.perf_counter_ns()
        try:
            if not self._together(batch, began):
                self._together([request for request in batch if self._inputs([request])], began)
        except Exception:
            for request in batch:  # one of them is at fault, and the others are not
                self._alone(request, began)
        finally:
            with self._lock:
                self._line.end(batch[0])
            for request in batch:
                if not request.leads:
                    request.turn.release()

    def _together(self, batch: Sequence[_Request], began: int) -> bool:
        """Computes them as one; False, with nothing computed, where a number of theirs is not finite."""
        inputs = self._inputs(batch) if batch else None
        if inputs is None:
            return False
        state = _joined([request.state for request in batch])
        start = time.perf_counter_ns()
        done, rows = _Batch(self._engine.forward(inputs, state), self._raw.output), 0
        forward = start, time.perf_counter_ns()
        traces = tuple(request.trace.context for request in batch if request.trace is not None)
        for request in batch:
            request.first = rows
            rows += request.rows
        for request in batch:
            request.batch = done
            request.shared = Shared(rows, request is batch[0], began - request.arrived, forward, traces)
        return True

    def _alone(self, request: _Request, began: int) -> None:
        try:
            self._together([request], began)
        except Exception as error:
            request.error = error

    def _inputs(self, batch: Sequence[_Request]) -> Mapping[str, Array] | None:
        """The inputs of several as one; None where numbers that came as bytes are not finite.

        What NumPy does for bytes, it does once for all of them: a call of it costs more than the numbers in it.
        """
        raw = [request.raw for request in batch if request.raw is not None]
        if not raw:
            return _joined([request.inputs for request in batch])
        numbers, name = self._raw.numbers(b"".join(raw), batch[0].shapes[0]), self._raw.name
        if numbers is not None and len(raw) < len(batch):
            rows = iter(numbers)
            numbers = np.concatenate([r.inputs[name] if r.raw is None else next(rows)[None] for r in batch])
        return None if numbers is None else {name: numbers}


def _joined(parts: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    if len(parts) == 1 or not parts[0]:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
