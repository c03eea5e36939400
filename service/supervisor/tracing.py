"""OpenTelemetry spans of traced calls and of changes of what is served, sent by OTLP over HTTP.

Workers say what is known of the calls that they keep (`service.observe.traces`); all spans of a server are made here.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from service import current
from service.logs import RateLimit
from service.observe.traces import FLUSH_SECONDS, TRACEPARENT, TRACESTATE, Sampler, hindrance, wanted
from service.version import version

# Statuses by which a server's span is an error, in OpenTelemetry's conventions for gRPC: Unknown, DeadlineExceeded,
# Unimplemented, Internal, Unavailable, DataLoss.
ERRORS = frozenset((2, 4, 12, 13, 14, 15))
MOST_WAITING = 8_192  # calls whose spans are still to be made
MAKE_SECONDS = 0.2  # between two times that they are
LOG_SECONDS = 600.0  # between two lines that say why spans cannot be sent
EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)

SWAP_STEPS = ("prepare", "registry", "commit")

logger = logging.getLogger(__name__)


class Tracing:
    """Makes and sends the spans of a server, on a thread of its own. Any thread calls."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MOST_WAITING)  # the oldest are lost
        self._swaps: deque[tuple[int, list[int], str, bool]] = deque(maxlen=MOST_WAITING)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins, where traces are wanted and can be sent; else the log says why not."""
        if not wanted():
            return
        if why := hindrance():
            logger.error("no traces are sent: %s", why)
            return
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def called(self, worker: str, calls: Sequence[dict[str, Any]]) -> None:
        """Takes what a worker knows of calls that it traced."""
        if self._thread is not None:
            self._waiting.extend((worker, call) for call in calls)

    def swapped(self, generation: int, times: Sequence[float], *, refused: bool) -> None:
        """Takes a change of what is served: when it began, and when each of its steps ended; monotonic seconds.

        The call for which this thread runs, if it runs one, is its parent.
        """
        if self._thread is not None:
            epoch = time.time_ns() - time.monotonic_ns()
            moments = [round(moment * 1e9) + epoch for moment in times]
            self._swaps.append((generation, moments, getattr(current.call(), "traceparent", ""), refused))

    def close(self) -> None:
        """Makes and sends what is left, for about a second at most."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2 * FLUSH_SECONDS)

    def _run(self) -> None:
        try:
            spans = Spans()
        except Exception as error:  # whatever is wrong with OpenTelemetry, calls are served
            logger.error("no traces are sent: %s: %s", type(error).__name__, error)
            return
        ended = False
        while not ended:
            ended = self._closing.wait(MAKE_SECONDS)
            for _ in range(len(self._waiting)):
                spans.call(*self._waiting.popleft())
            for _ in range(len(self._swaps)):
                spans.swap(*self._swaps.popleft())
        spans.close()


class Spans:
    """What makes spans, and sends them in batches. One thread calls."""

    def __init__(self) -> None:
        """Raises ImportError without the extra `otel`."""
        import grpc
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(RateLimit(1, LOG_SECONDS))
        resource = Resource.create({"service.version": version(), "process.pid": os.getpid()})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):  # nobody gave one
            resource = resource.merge(Resource({"service.name": "unroll"}))
        self._api, self._codes = trace, {code.value[0]: code.name for code in grpc.StatusCode}
        self._sampler = Sampler()
        self._propagator = TraceContextTextMapPropagator()
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._ids = _ids()
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )  # what comes here is sampled
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("unroll", version())

    def call(self, worker: str, call: dict[str, Any]) -> None:
        """Makes the spans of a call: SERVER, and below it those of its steps. See `service.observe.traces`."""
        api, name = self._api, call["path"] if call["known"] else "_OTHER"
        attributes: dict[str, Any] = {"rpc.system.name": "grpc", "rpc.method": name}
        if not call["known"]:
            attributes["rpc.method_original"] = call["path"]
        status = self._codes[call["code"]]
        attributes |= _server(call["address"]) | _client(call["peer"])
        attributes |= {"rpc.response.status_code": status, "unroll.worker": worker}
        for key in ("request_id", "caller", "model", "version"):
            if call[key]:
                attributes[f"unroll.{key}"] = call[key]
        if call["code"] in ERRORS:
            attributes["error.type"] = status
        self._ids.next(call["trace_id"], call["span_id"])
        span = self._tracer.start_span(
            name if call["known"] else "grpc",
            self._parent(call["parent"], call["state"]),
            api.SpanKind.SERVER,
            attributes,
            start_time=call["began"],
        )
        within = api.set_span_in_context(span)
        for step, begin, end, sequences, others in call["steps"]:
            links = [api.Link(_context(api, *other)) for other in others]
            found = {"unroll.batch.sequences": sequences} if sequences else None
            self._tracer.start_span(step, within, attributes=found, links=links, start_time=begin).end(end)
        if call["code"] in ERRORS:
            span.set_status(api.Status(api.StatusCode.ERROR))
        span.end(call["ended"])

    def swap(self, generation: int, moments: Sequence[int], parent: str, refused: bool) -> None:
        """Makes the spans of a change of what is served: `swap`, and below it those of its steps, if it is sampled."""
        if not self._sampler.keeps(parent):
            return
        api = self._api
        began, *ended = moments
        swap = self._tracer.start_span(
            "swap", self._parent(parent, ""), attributes={"unroll.generation": generation}, start_time=began
        )
        for step, end in zip(SWAP_STEPS, ended, strict=False):
            self._tracer.start_span(step, api.set_span_in_context(swap), start_time=began).end(end)
            began = end
        if refused:
            swap.set_status(api.Status(api.StatusCode.ERROR, "a worker refused it"))
        swap.end(began)

    def close(self) -> None:
        """Sends what is left, for a second at most."""
        closing = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)

    def _parent(self, traceparent: str, tracestate: str) -> Any:
        return self._propagator.extract({TRACEPARENT: traceparent, TRACESTATE: tracestate})


def _ids() -> Any:
    """A generator of ids that gives the next span those that its worker has given it already."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Given(RandomIdGenerator):
        def __init__(self) -> None:
            self._trace_id = self._span_id = 0

        def next(self, trace_id: str, span_id: str) -> None:
            self._trace_id, self._span_id = int(trace_id, 16), int(span_id, 16)

        def generate_span_id(self) -> int:
            span_id, self._span_id = self._span_id, 0
            return span_id or super().generate_span_id()

        def generate_trace_id(self) -> int:
            trace_id, self._trace_id = self._trace_id, 0
            return trace_id or super().generate_trace_id()

    return Given()


def _context(api: Any, trace_id: str, span_id: str) -> Any:
    return api.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=api.TraceFlags(1))


def _server(address: str) -> dict[str, Any]:
    """Attributes for `HOST:PORT` or `unix:PATH`."""
    if address.startswith("unix:"):
        return {"server.address": address.removeprefix("unix:"), "network.transport": "unix"}
    host, _, port = address.rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port), "network.transport": "tcp"}


def _client(peer: str) -> dict[str, str]:
    """Attributes for what a call says of its peer: `ipv4:10.0.0.7`, `ipv6:…`, or `unix…`."""
    kind, _, host = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return {}
    host = host.strip("[]").replace("%5B", "").replace("%5D", "")
    return {"client.address": host, "network.peer.address": host, "network.type": kind}
