"""Requests of which all is known but their numbers: they are answered without being read.

A client sends one message again and again with other numbers in it. So what the first of them meant is kept under the
bytes around its numbers, with the answer up to its own numbers, which come last there. It holds for one snapshot, and
is kept in it.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from service.serving.forms import Form
from service.serving.host import Host
from service.serving.loaded import LoadedSnapshot, LoadedVersion
from service.serving.statistics import InferenceStatistics

MOST_BYTES = 1_024  # around the numbers

Numbers = Callable[[Any], bytes]


class Counted(Protocol):
    """A call, as far as it keeps what was computed for it."""

    inference: tuple[Any, ...] | None


class Known:
    """Answers requests of one method by what others of its requests meant, and learns from those that were read."""

    def __init__(
        self, protocol: str, host: Host, statistics: InferenceStatistics, given: Numbers, found: Numbers
    ) -> None:
        """`given` has the numbers of a request with one input, `found` those of an answer with one output."""
        self._protocol, self._host, self._statistics = protocol, host, statistics
        self._given, self._found = given, found

    def answer(self, data: bytes, call: Counted) -> bytes | None:
        """The answer to a request, both as on the wire; None where it has to be read. Raises what computing raises."""
        begin = time.perf_counter_ns()
        known = self._host.snapshot().forms[self._protocol].find(data)
        if known is None:
            return None
        form, numbers = known
        decoded = time.perf_counter_ns()
        try:
            result = form.forward(numbers)
        except Exception as error:
            self._statistics.failed(form.key, time.perf_counter_ns() - begin, error)
            raise
        if result is None:  # one of the numbers is not finite; whoever reads the message says so
            return None
        computed = time.perf_counter_ns()
        raw, shared = result
        times = begin, decoded, computed, computed
        call.inference = self._statistics.answered(form.key, form.shape, times, shared)
        return form.answer + raw

    def learn(
        self,
        snapshot: LoadedSnapshot,
        version: LoadedVersion,
        request: Message,
        response: Message,
        shape: tuple[int, ...],
    ) -> None:
        """Keeps what a request meant that has nothing but one input of this shape, and what was answered.

        `snapshot` is what was served before the version was found.
        """
        forms = snapshot.forms[self._protocol]
        data, numbers = request.SerializeToString(), self._given(request)
        if len(data) - len(numbers) > MOST_BYTES or version.entry.on_demand or forms.find(data) is not None:
            return
        forward = version.fast_path.prepare(shape)
        begin, answer = _place(request, self._given), response.SerializeToString()
        answer_begin = _place(response, self._found)
        if forward is None or begin < 0 or answer_begin < 0 or answer_begin + len(self._found(response)) < len(answer):
            return
        end = begin + len(numbers)
        forms.add(data[:begin] + data[end:], Form(begin, end, version.key, shape, forward, answer[:answer_begin]))


def _place(message: Message, numbers_of: Numbers) -> int:
    """Where the numbers of a message begin on the wire; -1 where that is not certain.

    It is where other bytes make a message with other numbers.
    """
    data, numbers = message.SerializeToString(), numbers_of(message)
    begin = data.rfind(numbers) if numbers else -1
    others = bytes(byte ^ 0xFF for byte in numbers)
    with suppress(DecodeError):
        if numbers_of(type(message).FromString(data[:begin] + others + data[begin + len(others) :])) == others:
            return begin
    return -1
