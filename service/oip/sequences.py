"""Sequences of the Open Inference Protocol: states that are carried between the requests of one stream."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError
from service.model.tensors import Array
from service.serving.loaded import LoadedVersion

SEQUENCES = 1_024  # in one stream
SequenceKey = tuple[str, int | str]  # model as requests name it, sequence_id


@dataclass(frozen=True)
class Sequence:
    """A sequence between two of its requests. The version it began with stays its own."""

    version: LoadedVersion
    state: Mapping[str, Array]
    batch: int  # 0 before its first answer
    used: float  # monotonic seconds

    @property
    def elements(self) -> int:
        """How many numbers are kept for it."""
        return sum(array.size for array in self.state.values())


class Sequences:
    """The sequences of one stream: bounded in number, in what they keep together, and in how long they wait."""

    def __init__(self, limits: Limits) -> None:
        self._idle = limits.stream_idle_seconds
        self._limit = limits.elements
        self._open: dict[SequenceKey, Sequence] = {}  # the one that was not used for longest first
        self._elements = 0

    def find(self, key: SequenceKey) -> Sequence:
        """A sequence that goes on. Raises InvalidArgumentError where there is none."""
        self._expire()
        found = self._open.get(key)
        if found is None:
            raise InvalidArgumentError(
                f"sequence {key[1]} of model {key[0]} did not begin in this stream, or was idle for {self._idle:g} s: "
                "its first request must set sequence_start",
                field="parameters[sequence_start]",
            )
        return found

    def check_room(self, key: SequenceKey) -> None:
        """Raises LimitExceededError where one more cannot begin; one that begins again can."""
        self._expire()
        if key not in self._open and len(self._open) >= SEQUENCES:
            raise LimitExceededError(
                f"{len(self._open)} sequences are open in this stream; the limit is {SEQUENCES}",
                limit=SEQUENCES,
                actual=len(self._open) + 1,
            )

    def keep(self, key: SequenceKey, version: LoadedVersion, state: Mapping[str, Array], batch: int) -> None:
        """Keeps a sequence for its next request.

        Raises LimitExceededError where the states of all sequences are too much; then the sequence stays as it was.
        """
        own = {name: np.array(array) for name, array in state.items()}  # not a part of what others were computed with
        sequence = Sequence(version, own, batch, time.monotonic())
        before = self._open[key].elements if key in self._open else 0
        elements = self._elements - before + sequence.elements
        if elements > self._limit:
            raise LimitExceededError(
                f"the sequences of this stream would keep {elements} elements of states; the limit is {self._limit}",
                limit=self._limit,
                actual=elements,
            )
        self.drop(key)
        self._open[key] = sequence
        self._elements = elements

    def drop(self, key: SequenceKey) -> None:
        """Forgets a sequence, if there is one."""
        sequence = self._open.pop(key, None)
        if sequence is not None:
            self._elements -= sequence.elements

    def _expire(self) -> None:
        """Lets go of those that waited too long."""
        now = time.monotonic()
        while self._open:
            key, oldest = next(iter(self._open.items()))
            if now - oldest.used <= self._idle:
                return
            self.drop(key)
