"""Traces: OpenTelemetry spans of the calls that are sampled, sent by OTLP over HTTP.

Only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Whether a call is traced is decided before anything is made for it, and
nothing of OpenTelemetry is imported here until `Traces` is made.
"""

import logging
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.logs import RateLimit
from service.observe.calls import Done
from service.version import DISTRIBUTION, version

if TYPE_CHECKING:
    from service.edge.calls import ServedCall

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
# version-trace id-parent id-flags, as W3C's Trace Context has it; later versions may go on after a dash.
PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1  # flag
MOST_PASSES = 64  # forward passes of one call that have spans: a stream may have any number
# Statuses by which a server's span is an error, in OpenTelemetry's conventions for gRPC: Unknown, DeadlineExceeded,
# Unimplemented, Internal, Unavailable, DataLoss.
ERRORS = frozenset((2, 4, 12, 13, 14, 15))
FLUSH_SECONDS = 1.0  # at the end, for what is not sent yet
LOG_SECONDS = 600.0  # between two lines that say why spans cannot be sent
EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)

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
        self._ratio = {"always_on": 1.0, "always_off": 0.0}.get(root, _ratio(environment))

    def keeps(self, traceparent: str) -> bool:
        """Whether a call is traced that came with this header; empty: with none."""
        parent = PARENT.fullmatch(traceparent) if traceparent else None
        if parent is None or (parent[1] == "00" and parent[5]):
            return random.random() < self._ratio  # noqa: S311  # a sample, no secret
        if self._follows_parent:
            return bool(int(parent[4], 16) & SAMPLED)
        return int(parent[2][16:], 16) < self._ratio * 2**64  # so that all who see the trace decide alike


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

    def __init__(self, span: Any) -> None:
        self.span = span
        self.context = span.get_span_context()
        self.passes: list[tuple[Any, ...]] = []  # what it computed, as handlers leave it in `call.inference`

    def header(self) -> str:
        """The `traceparent` of what this call causes elsewhere."""
        return f"00-{self.context.trace_id:032x}-{self.context.span_id:016x}-{SAMPLED:02x}"

    def note(self, inference: tuple[Any, ...] | None) -> None:
        """Notes what a message of the call computed, if it did."""
        if inference is None or (self.passes and self.passes[-1] is inference) or len(self.passes) >= MOST_PASSES:
            return
        self.passes.append(inference)


class Spans:
    """What makes spans and sends them, in one process."""

    def __init__(self, process: str) -> None:
        """`process` names the process within the server. Raises ImportError without the extra `otel`."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(RateLimit(1, LOG_SECONDS))
        resource = Resource.create(
            {"service.version": version(), "unroll.process": process, "process.pid": os.getpid()}
        )
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):  # nobody gave one
            resource = resource.merge(Resource({"service.name": "unroll"}))
        self.sampler = Sampler()
        self._propagator = TraceContextTextMapPropagator()
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self.tracer = provider.get_tracer("unroll", version())

    def parent(self, traceparent: str, tracestate: str = "") -> Any:
        """The context of a caller's headers; without a parent where they name none."""
        return self._propagator.extract({TRACEPARENT: traceparent, TRACESTATE: tracestate})

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Sends what is left, for so many seconds at most."""
        closing = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(seconds)


def spans_of(process: str) -> Spans | None:
    """What makes the spans of a process; None where no traces are wanted, or none can be sent, which the log says.

    Whatever is wrong with it, calls are served.
    """
    if not wanted():
        return None
    try:
        why = hindrance()
        if not why:
            return Spans(process)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    logger.error("no traces are sent: %s", why)
    return None


SWAP_STEPS = ("prepare", "registry", "commit")


def trace_swap(spans: Spans, generation: int, times: Sequence[float], parent: str, *, refused: bool) -> None:
    """Makes the spans of a change of what is served: `swap`, and one for each of its steps.

    `times` are when it began, and when each step ended; monotonic seconds. `parent` is the `traceparent` of the call
    that asked for it, if one did.
    """
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    if not spans.sampler.keeps(parent):
        return
    epoch = time.time_ns() - time.monotonic_ns()
    began, *ended = [round(moment * 1e9) + epoch for moment in times]
    swap = spans.tracer.start_span(
        "swap", spans.parent(parent), attributes={"unroll.generation": generation}, start_time=began
    )
    context = set_span_in_context(swap)
    for name, end in zip(SWAP_STEPS, ended, strict=False):
        spans.tracer.start_span(name, context, start_time=began).end(end)
        began = end
    if refused:
        swap.set_status(Status(StatusCode.ERROR, "a worker refused it"))
    swap.end(began)


class Traces:
    """The spans of calls; an observer of calls.

    A SERVER span for the call, and for each of its forward passes the spans `queue` (from being ready to the begin of
    the computation), `batch` where others were in it (linked to theirs), and `forward`.
    """

    watches_begin = True

    def __init__(self, spans: Spans, address: str) -> None:
        """`address` is where the server listens."""
        import grpc
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

        self._keeps = spans.sampler.keeps
        self._spans = spans
        self._codes = {code.value[0]: code.name for code in grpc.StatusCode}
        self._server_kind, self._link, self._within = SpanKind.SERVER, Link, set_span_in_context
        self._failed = Status(StatusCode.ERROR)
        self._server = _address("server", address)

    def began(self, call: "ServedCall") -> None:
        """Begins a span where the call is sampled."""
        if self._keeps(call.metadata(TRACEPARENT)):
            self._begin(call)

    def _begin(self, call: "ServedCall") -> None:
        known = call.method is not None
        name = call.path[1:] if known else "_OTHER"
        attributes: dict[str, Any] = {"rpc.system.name": "grpc", "rpc.method": name, **self._server}
        if not known:
            attributes["rpc.method_original"] = call.path[1:201]
        attributes |= _peer(call.peer())
        parent = self._spans.parent(call.metadata(TRACEPARENT), call.metadata(TRACESTATE))
        span = self._spans.tracer.start_span(
            name if known else "grpc", parent, self._server_kind, attributes, start_time=time.time_ns()
        )
        call.trace = CallTrace(span)
        call.trace_id = f"{call.trace.context.trace_id:032x}"

    def ended(self, call: "ServedCall") -> None:
        """Ends the span of a call that has one."""
        trace = call.trace
        if trace is None:
            return
        epoch = time.time_ns() - time.perf_counter_ns()
        trace.note(call.inference)
        for inference in trace.passes:
            self._compute(trace, Done.of(inference), epoch)
        status = self._codes[call.code or 0]
        attributes = {
            "rpc.response.status_code": status,
            "unroll.request_id": call.id(),
            "unroll.caller": call.who.name,
        }
        if call.inference is not None:
            attributes |= {"unroll.model": call.inference[0], "unroll.version": call.inference[1]}
        if call.code in ERRORS:
            attributes["error.type"] = status
            trace.span.set_status(self._failed)
        trace.span.set_attributes(attributes)
        trace.span.end(call.ended + epoch)

    def _compute(self, trace: CallTrace, done: Done, epoch: int) -> None:
        """The spans of a forward pass."""
        shared, asked, computed = done.shared, done.asked, done.computed
        begin = asked + (shared.waited_ns if shared is not None else 0)
        if begin > asked:
            self._child(trace, "queue", asked + epoch, begin + epoch)
        forward = begin, computed
        if shared is not None and shared.forward is not None:
            forward = shared.forward
            others = [self._link(other) for other in shared.traces if other is not trace.context]
            sizes = {"unroll.batch.sequences": shared.sequences}
            self._child(trace, "batch", begin + epoch, computed + epoch, sizes, others)
        self._child(trace, "forward", forward[0] + epoch, forward[1] + epoch)

    def _child(
        self,
        trace: CallTrace,
        name: str,
        begin: int,
        end: int,
        attributes: Mapping[str, Any] | None = None,
        links: Any = (),
    ) -> None:
        span = self._spans.tracer.start_span(
            name, self._within(trace.span), attributes=attributes, links=links, start_time=begin
        )
        span.end(end)


def _address(of: str, address: str) -> dict[str, Any]:
    """Attributes for `HOST:PORT` or `unix:PATH`."""
    if address.startswith("unix:"):
        return {f"{of}.address": address.removeprefix("unix:"), "network.transport": "unix"}
    host, _, port = address.rpartition(":")
    return {f"{of}.address": host.strip("[]"), f"{of}.port": int(port), "network.transport": "tcp"}


def _peer(peer: str) -> dict[str, str]:
    """Attributes for what a call says of its peer: `ipv4:10.0.0.7`, `ipv6:…`, or `unix…`."""
    kind, _, host = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return {}
    host = host.strip("[]").replace("%5B", "").replace("%5D", "")
    return {"client.address": host, "network.peer.address": host, "network.type": kind}
