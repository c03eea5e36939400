"""Batching for heavy networks: what arrives while a network computes is the next batch. No timer, nothing to tune.

Only for networks whose engine gives each sequence the same bits whatever it is batched with, so nobody can tell.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.model.engines import MANY, Choice
from service.model.network import Result
from service.model.tensors import Array
from service.threads import blocking, let_in, tasks_queued


@dataclass(frozen=True)
class Shared(Result):
    """A result, with what a caller cannot see of the forward pass that gave it."""

    rows: int  # sequences in the pass
    leads: bool  # whether this is the first of its requests, so that each pass has one that does
    waited: int  # nanoseconds before the pass began


class _Request:
    """One caller's part of a batch. Its thread sleeps until it has a result, or is to compute."""

    def __init__(self, inputs: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        self.inputs = inputs
        self.state = state
        self.rows = len(next(iter(inputs.values())))
        # What has to agree in a batch: names and shapes without the batch, and which states are given.
        self.kind = (
            *((name, array.shape[1:]) for name, array in sorted(inputs.items())),
            *sorted(state),
        )
        self.arrived = time.perf_counter_ns()
        self.ready = threading.Event()
        self.leads = False  # whether it computes, for itself and for others
        self.result: Shared | None = None
        self.error: Exception | None = None


class Batcher:
    """Computes for one caller at a time; those who come meanwhile wait, and the first of them computes for all."""

    def __init__(self, engine: Choice) -> None:
        self._engine = engine
        self._lock = threading.Lock()  # guards the next two
        self._computing = False
        self._waiting: list[_Request] = []

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Shared:
        """As `Choice.forward`, alone or with others."""
        request = _Request(inputs, initial_state or {})
        with self._lock:
            request.leads = not self._computing
            if request.leads:
                self._computing = True
            else:
                self._waiting.append(request)
        if not request.leads:
            with blocking():
                request.ready.wait()
        if request.leads:
            try:
                self._compute(self._gather(request))
            finally:
                self._hand_over()
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _gather(self, first: _Request) -> list[_Request]:
        """The batch that a request leads: itself, and all waiting ones that go with it, in their order.

        On one core nobody arrives while it computes. So those whose requests are here, but not read yet, are let in
        before, as long as that makes the batch larger.
        """
        before = -1
        while tasks_queued() and before < len(self._waiting) < MANY:
            before = len(self._waiting)
            let_in()
        batch, rows, others = [first], first.rows, []
        with self._lock:
            for request in self._waiting:
                if request.kind == first.kind and rows + request.rows <= MANY:
                    rows += request.rows
                    batch.append(request)
                else:
                    others.append(request)
            self._waiting = others
        return batch

    def _hand_over(self) -> None:
        """Lets the first who waits compute for those who wait with it."""
        with self._lock:
            if not self._waiting:
                self._computing = False
                return
            first = self._waiting.pop(0)
        first.leads = True
        first.ready.set()

    def _compute(self, batch: Sequence[_Request]) -> None:
        """Gives each request of a batch its result; wakes all but the first, which computes."""
        began, rows = time.perf_counter_ns(), sum(request.rows for request in batch)
        try:
            results: Sequence[Result | Exception] = self._together(batch)
        except Exception:
            results = [self._alone(request) for request in batch]  # one of them is at fault, and the others are not
            rows = 0
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                request.error = result
            else:
                leads, waited = request is batch[0] or not rows, began - request.arrived
                request.result = Shared(
                    result.outputs, result.final_state, rows or request.rows, leads=leads, waited=waited
                )
        for request in batch[1:]:
            request.ready.set()

    def _alone(self, request: _Request) -> Result | Exception:
        try:
            return self._engine.forward(request.inputs, request.state)
        except Exception as error:
            return error

    def _together(self, batch: Sequence[_Request]) -> Sequence[Result]:
        if len(batch) == 1:
            return [self._engine.forward(batch[0].inputs, batch[0].state)]
        result = self._engine.forward(_joined([r.inputs for r in batch]), _joined([r.state for r in batch]))
        ends = np.cumsum([request.rows for request in batch])[:-1]
        outputs = {name: np.split(array, ends) for name, array in result.outputs.items()}
        states = {name: np.split(array, ends) for name, array in result.final_state.items()}
        return [
            Result(
                {name: parts[i] for name, parts in outputs.items()}, {name: parts[i] for name, parts in states.items()}
            )
            for i in range(len(batch))
        ]


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
