"""service.observe.traces, service.supervisor.tracing: which calls are traced, and what a collector receives of them."""

import gzip
import http.server
import json
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.client import Client
from service.model.engines.choice import Choice
from service.observe.traces import Sampler, Traces, hindrance, wanted
from service.pb import unroll_pb2 as pb
from service.pb import unroll_pb2_grpc
from service.serving.batching import Batcher
from service.serving.fast_path import FastPath
from service.serving.slots import Slots
from service.supervisor.tracing import Tracing
from tests.ports import free_port
from tests.service.support import R3_INPUTS, Server, entry, eventually, running, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT, LEFT_OUT = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
PREDICT = "unroll.v1.PredictionService/Predict"
REQUEST = pb.PredictRequest(model="traced", inputs=[pb.Tensor(shape=[1, 3, 2], values=[1, 2, 2, 3, 3, 4])])


class Collector(http.server.ThreadingHTTPServer):
    """What receives OTLP over HTTP, as a collector does, and keeps the spans."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Receive)
        self.spans = []  # with the attributes of their resource
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, trace_id):
        """The spans of a trace, by name; the last of each."""
        return {span.name: span for span, _ in list(self.spans) if span.trace_id.hex() == trace_id}


class _Receive(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = attributes(resource.resource)
            self.server.spans += [(span, about) for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


def attributes(message):
    """The attributes of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in message.attributes}


@pytest.fixture(scope="module")
def collector():
    """A collector on a free port."""
    with Collector() as collector:
        yield collector
        collector.shutdown()


@pytest.mark.parametrize(
    ("name", "argument", "without", "kept", "left_out"),
    [
        ("", "", True, True, False),
        ("parentbased_always_on", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("parentbased_traceidratio", "0", False, True, False),
        ("parentbased_traceidratio", "1", True, True, False),
        ("traceidratio", "0.7", None, True, True),  # by the trace id: a3ce929d0e0e4736 is at 0.64 of all
        ("traceidratio", "0.6", None, False, False),
        ("traceidratio", "much", True, True, True),
        ("dice", "", True, True, False),
    ],
)
def test_samplers(name, argument, without, kept, left_out):
    """Samplers decide as OpenTelemetry's do: by the parent's flag, by the trace id, or by chance."""
    sampler = Sampler({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert sampler.keeps(KEPT) is kept
    assert sampler.keeps(LEFT_OUT) is left_out
    for header in ("", "nonsense", f"00-{'0' * 32}-{PARENT}-00", f"ff-{TRACE}-{PARENT}-00", f"{LEFT_OUT}-more"):
        assert without is None or sampler.keeps(header) is without
    assert sampler.keeps(f"01-{TRACE}-{PARENT}-01-more") is kept  # a later version may say more


def test_a_share_is_sampled():
    """Of calls without a parent about the share is traced that was asked for."""
    sampler = Sampler({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"})
    assert 1500 < sum(sampler.keeps("") for _ in range(8000)) < 2500  # 13 standard deviations


def test_when_traces_are_sent():
    """Traces are sent where an endpoint is named and nothing turns them off; what hinders them is said."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert wanted(endpoint)
    for others in ({"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
        assert not wanted(endpoint | others)
    assert not wanted({})
    assert not hindrance(endpoint)
    assert "only http/protobuf" in hindrance({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_nothing_is_imported_where_none_are_sent():
    """A worker without an endpoint does not import OpenTelemetry."""
    code = "import sys, service.worker; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def traced(registry, collector, edge, tmp_path_factory):
    """A server on each edge whose calls are traced where their caller's are, and its folder."""
    if edge == "http2":
        registry.register("traced", "r3-1", "champion")
    folder = tmp_path_factory.mktemp("traced")
    env = registry.env | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
        "UNROLL_LOG_FORMAT": "json",
    }  # fmt: skip
    server = Server(
        "models:/traced@champion", cache=folder, env=env, workers=1, poll=0.2, access_log=folder / "access.jsonl"
    )
    try:
        address = server.logged(r"serving \S+ version \d+ on ([\d.:]+)", timeout=150)[1]
        with Client(address) as client:
            eventually(client.health)
            yield server, address, folder
    finally:
        server.stop()


def trace_of():
    """The id of a new trace that is sampled, and the headers of a call in it."""
    trace_id = uuid.uuid4().hex
    return trace_id, (("traceparent", f"00-{trace_id}-{PARENT}-01"), ("tracestate", "vendor=1"))


def test_a_call_that_is_traced(traced, collector):
    """A traced call is a SERVER span below its caller's, with the forward pass below it; the access log has its id."""
    _, address, folder = traced
    trace_id, metadata = trace_of()
    with Client(address) as client:
        stub = unroll_pb2_grpc.PredictionServiceStub(client._channels[0])
        answer = stub.Predict(REQUEST, metadata=metadata)
        eventually(lambda: PREDICT in collector.of(trace_id))
        span = collector.of(trace_id)[PREDICT]
        assert (span.kind, span.parent_span_id.hex(), span.trace_state) == (Span.SPAN_KIND_SERVER, PARENT, "vendor=1")
        found = attributes(span)
        host, port = address.split(":")
        assert found.pop("unroll.request_id")
        assert found == {
            "rpc.system.name": "grpc", "rpc.method": PREDICT, "rpc.response.status_code": "OK",
            "server.address": host, "server.port": int(port), "network.transport": "tcp", "network.type": "ipv4",
            "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
            "unroll.worker": "worker-0", "unroll.caller": "local", "unroll.model": "traced",
            "unroll.version": answer.version,
        }  # fmt: skip
        forward = collector.of(trace_id)["forward"]
        assert forward.parent_span_id == span.span_id
        assert span.start_time_unix_nano <= forward.start_time_unix_nano < forward.end_time_unix_nano
        assert forward.end_time_unix_nano <= span.end_time_unix_nano
        (about,) = [about for found, about in collector.spans if found.span_id == span.span_id]
        assert about["service.name"] == "unroll"
        assert about["deployment.environment.name"] == "tests"
    assert f'"trace_id": "{trace_id}"' in (folder / "access.jsonl").read_text()


def test_a_call_that_fails(traced, collector, edge):
    """The status is on the span; only what is the server's fault, or no method, makes it an error."""
    _, address, _ = traced
    trace_id, metadata = trace_of()
    with Client(address) as client:
        channel = client._channels[0]
        with pytest.raises(grpc.RpcError, match="no model 'other'"):
            unroll_pb2_grpc.PredictionServiceStub(channel).Predict(pb.PredictRequest(model="other"), metadata=metadata)
        span = eventually(lambda: collector.of(trace_id).get(PREDICT))
        assert attributes(span)["rpc.response.status_code"] == "NOT_FOUND"
        assert span.status.code == Status.STATUS_CODE_UNSET
        if edge == "grpcio":  # which answers by itself where there is no such method
            return
        trace_id, metadata = trace_of()
        with pytest.raises(grpc.RpcError, match="there is no method"):
            channel.unary_unary("/some.Service/Method")(b"", metadata=metadata)
        span = eventually(lambda: collector.of(trace_id).get("grpc"))
        found = attributes(span)
        assert (found["rpc.method"], found["rpc.method_original"]) == ("_OTHER", "some.Service/Method")
        assert (found["error.type"], span.status.code) == ("UNIMPLEMENTED", Status.STATUS_CODE_ERROR)


def test_calls_that_are_not_sampled(traced, collector):
    """No span is made of a call whose caller's is not sampled, nor of one without a caller's."""
    _, address, _ = traced
    marker, metadata = trace_of()
    with Client(address) as client:
        stub = unroll_pb2_grpc.PredictionServiceStub(client._channels[0])
        stub.Predict(REQUEST)
        stub.Predict(REQUEST, metadata=[("traceparent", LEFT_OUT)])
        before = Counter(span.trace_id for span, _ in collector.spans)
        stub.Predict(REQUEST, metadata=metadata)
        eventually(lambda: PREDICT in collector.of(marker))
    assert TRACE not in {trace_id.hex() for trace_id in before}


def test_a_stream(traced, collector):
    """A stream is one span, with a forward pass for each message."""
    _, address, _ = traced
    trace_id, metadata = trace_of()
    with Client(address) as client:
        stub = unroll_pb2_grpc.PredictionServiceStub(client._channels[0])
        pieces = [pb.Tensor(shape=[1, 1, 2], values=[1, 2])] * 3
        answers = stub.PredictStream(
            iter([pb.PredictStreamRequest(inputs=[piece]) for piece in pieces]), metadata=metadata
        )
        assert len(list(answers)) == 3
    eventually(lambda: "unroll.v1.PredictionService/PredictStream" in collector.of(trace_id))
    names = Counter(span.name for span, _ in collector.spans if span.trace_id.hex() == trace_id)
    assert names["forward"] == 3


def test_a_swap_belongs_to_the_call_that_asked_for_it(traced, collector):
    """What the supervisor does for an override is below the span of the call, and its log lines have the call's ids."""
    server, address, _ = traced
    trace_id, metadata = trace_of()
    request_id = f"override-{trace_id}"
    with Client(address) as client:
        version = client.model().default_version
        stub = unroll_pb2_grpc.WeightServiceStub(client._channels[0])
        change = pb.WeightChange(
            weight="output/bias", operation=pb.WEIGHT_OPERATION_ADD, value=pb.Tensor(shape=[], values=[1.0])
        )
        request = pb.OverrideWeightsRequest(changes=[change], expected_version=version, actor="ann", reason="drift")
        stub.OverrideWeights(request, metadata=(*metadata, ("x-request-id", request_id)))
    eventually(lambda: {"swap", "unroll.v1.WeightService/OverrideWeights"} <= collector.of(trace_id).keys())
    spans = collector.of(trace_id)
    swap = spans["swap"]
    assert swap.parent_span_id == spans["unroll.v1.WeightService/OverrideWeights"].span_id
    assert {spans[step].parent_span_id for step in ("prepare", "registry", "commit")} == {swap.span_id}
    line = server.logged(rf'"process": "supervisor".*serving .*"request_id": "{request_id}"')
    assert f'"trace_id": "{trace_id}"' in line.string


def test_the_last_spans_are_sent(registry, collector, tmp_path):
    """Spans that wait to be sent when a server is stopped are sent before it ends."""
    registry.register("drained", "r3-1", "champion")
    env = registry.env | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with running("models:/drained@champion", cache=tmp_path, env=env, workers=1) as (server, client):
        client.predict(R3_INPUTS)
        assert "drained" not in {attributes(span).get("unroll.model") for span, _ in collector.spans}
        assert server.stop() == 0
    assert "drained" in {attributes(span).get("unroll.model") for span, _ in collector.spans}


@contextmanager
def observed(version, monkeypatch, endpoint):
    """A server in this process that traces every call; a client; and what sends the spans."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    tracing = Tracing()
    tracing.start()
    traces = Traces("127.0.0.1:1", lambda calls: tracing.called("tests", json.loads(json.dumps(calls))))
    with serving(entry("model", "champion", v1=version), observers=[traces]) as (host, client):
        yield host, client
    traces.close()
    tracing.close()


class Held:
    """An engine that computes when it is let."""

    name = "held"

    def __init__(self, network):
        self._network = network
        self.let, self.began = threading.Event(), threading.Semaphore(0)

    def forward(self, inputs, state=None):
        self.began.release()
        assert self.let.wait(30)
        return self._network.forward(inputs, state)


def test_a_batch_is_linked(versions, collector, monkeypatch):
    """Calls of one batch have a span each for waiting and for the batch, which is linked to the other calls."""
    with observed(versions["r3-1"], monkeypatch, collector.url) as (host, client):
        loaded = host.snapshot().models["model"]
        version = loaded.versions["1"]
        held = Held(version.network)
        batcher = Batcher(Choice(version.network, held, held, (), batches=True), host.limits.computed, Slots(1))
        version = replace(version, computes=batcher, fast_path=FastPath(version.network, batcher, host.limits))
        host._snapshot = replace(host.snapshot(), models={"model": replace(loaded, versions={"1": version})})
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(client.predict, R3_INPUTS[:1])
            assert held.began.acquire(timeout=30)
            others = [pool.submit(client.predict, R3_INPUTS[:1]) for _ in range(2)]
            eventually(lambda: batcher.waiting() == 2)
            held.let.set()
            for future in (first, *others):
                future.result()
    found = [span for span, _ in collector.spans]
    servers = [span for span in found if attributes(span).get("unroll.worker") == "tests"]
    traces = {span.trace_id for span in servers}
    sent = [span for span in found if span.trace_id in traces]
    batches = {span.trace_id: span for span in sent if span.name == "batch"}
    queued = {span.trace_id for span in sent if span.name == "queue"}
    assert len(servers) == len(batches) == 3
    linked = {trace_id: {link.span_id for link in span.links} for trace_id, span in batches.items()}
    together = [span for span in servers if linked[span.trace_id]]
    assert len(together) == 2
    for span, other in (together, together[::-1]):
        assert linked[span.trace_id] == {other.span_id}
        assert span.trace_id in queued
        assert attributes(batches[span.trace_id])["unroll.batch.sequences"] == 2


def test_a_collector_that_is_away(versions, monkeypatch, caplog):
    """Calls are answered where spans cannot be sent; the log says so once."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with observed(versions["r3-1"], monkeypatch, f"http://127.0.0.1:{free_port()}") as (_, client):
        for _ in range(3):
            assert client.predict(R3_INPUTS[:1]).version == "1"
        eventually(lambda: caplog.records)
        for _ in range(3):
            assert client.predict(R3_INPUTS[:1]).version == "1"
    assert caplog.records
    assert max(Counter((record.pathname, record.lineno) for record in caplog.records).values()) == 1
