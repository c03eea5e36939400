"""Traces: which calls are sampled, and what is known of these. Their supervisor makes OpenTelemetry spans of it.

Only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Whether a call is traced is decided before anything is made for it, and
nothing of OpenTelemetry is imported here: to make and to encode a span takes longer than to answer a small call.
"""

import logging
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.observe.calls import Done
from service.version import DISTRIBUTION

if TYPE_CHECKING:
    from service.edge.calls import ServedCall
    from service.edge.methods import Method

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
# version-trace id-parent id-flags, as W3C's Trace Context has it; later versions may go on after a dash.
PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1  # flag
MOST_PASSES = 64  # forward passes of one call that have spans: a stream may have any number
MOST_KEPT = 2_048  # calls that wait to be sent
SEND_SECONDS = 0.5  # between two times that they are
FLUSH_SECONDS = 1.0  # at the end, for what is not sent yet

logger = logging.getLogger(__name__)


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether traces are to be sent, as OpenTelemetry's environment variables say."""
    return (
        bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") != "none"
    )


def hindrance(environment: Mapping[str, str] = os.environ) -> str:
    """Why traces cannot be sent though they are wanted; empty where they can."""
    protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol != "http/protobuf":
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; only http/protobuf is supported"
    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        return f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry is missing: pip install '{DISTRIBUTION}[otel]'"
    return ""


class Sampler:
    """Which calls are traced: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, with OpenTelemetry's meanings.

    Samplers of the SDK do the same at six times the cost, which calls would pay that are not traced.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
        root = name.removeprefix("parentbased_")
        if root not in ("always_on", "always_off", "traceidratio"):
            logger.warning("OTEL_TRACES_SAMPLER: there is no %r; every call is traced", name)
            name, root = "parentbased_always_on", "always_on"
        self._follows_parent = name != root
        self.ratio = {"always_on": 1.0, "always_off": 0.0}.get(root, _ratio(environment))

    def keeps(self, traceparent: str) -> bool:
        """Whether a call is traced that came with this header; empty: with none."""
        parent = PARENT.fullmatch(traceparent) if traceparent else None
        if parent is None or (parent[1] == "00" and parent[5]):
            return random.random() < self.ratio  # noqa: S311  # a sample, no secret
        if self._follows_parent:
            return bool(int(parent[4], 16) & SAMPLED)
        return int(parent[2][16:], 16) < self.ratio * 2**64  # so that all who see the trace decide alike


def _ratio(environment: Mapping[str, str]) -> float:
    text = environment.get("OTEL_TRACES_SAMPLER_ARG") or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        logger.warning("OTEL_TRACES_SAMPLER_ARG: a number from 0 to 1 is expected, not %r; 1 is used", text)
        return 1.0
    return ratio


class CallTrace:
    """A call that is traced."""

    def __init__(self, traceparent: str, tracestate: str) -> None:
        """Both are headers of the call, or empty."""
        parent = PARENT.fullmatch(traceparent)
        self.parent = traceparent if parent is not None else ""
        self.state = tracestate if parent is not None else ""
        trace_id = parent[2] if parent is not None else f"{random.getrandbits(128):032x}"  # no secret
        self.context = trace_id, f"{random.getrandbits(64):016x}"  # ids of the trace, and of the span
        self.passes: list[tuple[Any, ...]] = []  # what it computed, as handlers leave it in `call.inference`

    def header(self) -> str:
        """The `traceparent` of what this call causes elsewhere."""
        return f"00-{self.context[0]}-{self.context[1]}-{SAMPLED:02x}"

    def note(self, inference: tuple[Any, ...] | None) -> None:
        """Notes what a message of the call computed, if it did."""
        if inference is None or (self.passes and self.passes[-1] is inference) or len(self.passes) >= MOST_PASSES:
            return
        self.passes.append(inference)


class Traces:
    """Keeps what is known of the calls that are sampled, and sends it off the calls' threads; an observer of calls."""

    header, faults = TRACEPARENT, False

    def __init__(self, address: str, send: Callable[[list[dict[str, Any]]], None]) -> None:
        """`address` is where the server listens. `send` takes records of some calls; it may raise OSError."""
        self._sampler = Sampler()
        self.share = self._sampler.ratio  # most calls have no parent, and are decided by this alone
        self._address, self._send = address, send
        self._kept: deque[ServedCall] = deque(maxlen=MOST_KEPT)  # the oldest are lost where they are too many
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def watches(self, method: "Method | None") -> bool:
        """All or none of them; those with a parent, which may decide, are heard of for their header."""
        return self.share >= 1.0

    def began(self, call: "ServedCall") -> None:
        """Begins a trace where the call is sampled."""
        traceparent = call.metadata(TRACEPARENT)
        if not traceparent or self._sampler.keeps(traceparent):  # without a parent, chance has decided
            trace = call.trace = CallTrace(traceparent, call.metadata(TRACESTATE))
            call.trace_id = trace.context[0]

    def ended(self, call: "ServedCall") -> None:
        """Keeps a call that is traced, and makes its id, before anybody asks for it on two threads."""
        if call.trace is not None:
            call.trace.note(call.inference)
            call.id()
            self._kept.append(call)

    def close(self) -> None:
        """Sends what is left."""
        self._closing.set()
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while not self._closing.wait(SEND_SECONDS):
            self._send_kept()
        self._send_kept()

    def _send_kept(self) -> None:
        epoch = time.time_ns() - time.perf_counter_ns()
        calls = [self._record(self._kept.popleft(), epoch) for _ in range(len(self._kept))]
        if calls:
            with suppress(OSError):  # the supervisor is gone, and this worker with it
                self._send(calls)

    def _record(self, call: "ServedCall", epoch: int) -> dict[str, Any]:
        """What is known of a call, as JSON. Times are nanoseconds since the epoch."""
        trace = call.trace
        model, version = call.inference[0] if call.inference is not None else ("", "")
        return {
            "trace_id": trace.context[0], "span_id": trace.context[1], "parent": trace.parent, "state": trace.state,
            "path": call.path[1:201], "known": call.method is not None, "address": self._address, "peer": call.peer(),
            "began": call.began + epoch, "ended": call.ended + epoch, "code": call.code or 0,
            "request_id": call.id(), "caller": call.who.name,
            "model": model, "version": version,
            "steps": [step for inference in trace.passes for step in _steps(trace, Done.of(inference), epoch)],
        }  # fmt: skip


def _steps(trace: CallTrace, done: Done, epoch: int) -> Iterator[tuple[str, int, int, int, list[tuple[str, str]]]]:
    """What a forward pass consists of: name, begin, end; of a batch also its sequences, and the other calls' spans.

    `queue` is from being ready to compute to the begin of that; `forward` is what the engine computes.
    """
    shared, asked, computed = done.shared, done.asked, done.computed
    begin = asked + (shared.waited_ns if shared is not None else 0)
    if begin > asked:
        yield "queue", asked + epoch, begin + epoch, 0, []
    forward = begin, computed
    if shared is not None and shared.forward is not None:
        forward = shared.forward
        others = [other for other in shared.traces if other is not trace.context]
        yield "batch", begin + epoch, computed + epoch, shared.sequences, others
    yield "forward", forward[0] + epoch, forward[1] + epoch, 0, []
