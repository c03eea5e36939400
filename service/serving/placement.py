"""Where a version computes: short calls on the calling thread, all others in one of a few slots."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from service.errors import ServiceError
from service.model.engines.choice import TENSORFLOW, Choice, sample
from service.model.proof import Proof
from service.model.results import RawForward, RawResult, Result, Shared
from service.model.tensors import Array, RawSequence
from service.serving.slots import Slots

SHORT_SECONDS = 300e-6  # of a computation that others may wait for
BATCHES = (1, 32, 256, 1_024)
ROUNDS = 3


class Computes(Protocol):
    """What computes a version: an engine, one in its place, or batches of it."""

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """The forward pass."""

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """As `Choice.prepare`."""


def short_input_bytes(engine: Choice, proof: Proof | None) -> int:
    """Bytes of inputs up to which a forward pass takes no longer than SHORT_SECONDS, as measured now."""
    if engine.single.name == TENSORFLOW or engine.many.name == TENSORFLOW:  # which computes on threads of its own
        return 0
    found = 0
    with suppress(ServiceError):  # it takes no random inputs
        for batch in BATCHES:
            inputs = sample(engine.network, proof, batch)
            size, seconds = sum(array.nbytes for array in inputs.values()), _seconds(engine, inputs)
            if seconds > SHORT_SECONDS:
                return found or int(size * SHORT_SECONDS / seconds)
            found = size
    return found


def _seconds(engine: Choice, inputs: Mapping[str, Array]) -> float:
    """Processor time of a forward pass: the least of a few, but one is enough to see that it is not short."""
    least = float("inf")
    for _ in range(ROUNDS):
        begin = time.thread_time()
        engine.forward(inputs)
        least = min(least, time.thread_time() - begin)
        if least > 4 * SHORT_SECONDS:
            break
    return least


class Placed:
    """An engine that computes on the thread that asks what is short, and all else in a slot."""

    def __init__(self, engine: Computes, short: int, slots: Slots) -> None:
        """short: bytes of inputs up to which a forward pass is short."""
        self._engine, self._short, self._slots = engine, short, slots

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As the engine's."""
        if sum(array.nbytes for array in inputs.values()) <= self._short:
            return self._engine.forward(inputs, initial_state)
        with self._slots as waited:
            result = self._engine.forward(inputs, initial_state)
        return result._replace(shared=Shared(len(next(iter(inputs.values()))), True, waited)) if waited else result

    def prepare(self, shape: tuple[int, ...]) -> RawForward | None:
        """As the engine's."""
        forward = self._engine.prepare(shape)
        if forward is None or RawSequence.size(shape) <= self._short:
            return forward

        def in_a_slot(raw: bytes) -> RawResult | None:
            with self._slots as waited:
                result = forward(raw)
            return (result[0], Shared(1, True, waited)) if result is not None and waited else result

        return in_a_slot
