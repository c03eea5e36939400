"""What a server shows of itself, as Prometheus, probes, clients and auditors see it."""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.callers import token_hash
from service.client import Client, WeightChange
from service.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from service.pb import unroll_pb2 as pb
from service.pb import unroll_pb2_grpc
from tests.ports import free_port
from tests.service.support import R3_INPUTS, Server, eventually, stopped

OBSERVE = Path(__file__).parent.parent.parent.parent / "deploy" / "observe"
PREDICTION = "unroll.v1.PredictionService"


def fetch(url):
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Observed:
    """A server and where its metrics are."""

    def __init__(self, server, cache):
        self.server, self.cache = server, cache
        self.address = server.address
        self.url = server.logged(r"metrics on (http://[\d.:]+)/metrics")[1]

    def scrape(self):
        """Every sample, by name and labels."""
        status, text = fetch(f"{self.url}/metrics")
        assert status == 200
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def value(self, name, **labels):
        """The sum of the samples of a metric that have these labels."""
        return total(self.scrape(), name, **labels)

    def audit(self):
        """The lines of the audit."""
        return [json.loads(line) for line in (self.cache / "audit.jsonl").read_text().splitlines()]


def total(samples, name, **labels):
    """The sum of the samples of a metric that have these labels."""
    return sum(v for (n, found), v in samples.items() if n == name and labels.items() <= dict(found).items())


@pytest.fixture(scope="module")
def observed(registry, tmp_path_factory):
    """A server with two workers and two models, whose metrics are on a port."""
    registry.register("reference", "r3-1", "champion")
    registry.register("linear", "r2", "champion")
    cache = tmp_path_factory.mktemp("cache")
    server = Server(
        "models:/reference@champion", "models:/linear@champion", cache=cache, env=registry.env, workers=2, poll=0.2,
        metrics="127.0.0.1:0", access_log=cache / "access.jsonl",
    )  # fmt: skip
    with Client(server.address) as client:
        eventually(client.health)
    yield Observed(server, cache)
    assert server.stop() == 0


def test_sums_are_what_clients_sent(observed):
    """Every call, message and sequence of many clients is in the sums once, whichever worker answered it."""
    before = observed.scrape()
    calls, streams, wrong = 40, 5, 7

    def work():
        with Client(observed.address) as client:
            for _ in range(calls):
                client.predict(np.repeat(R3_INPUTS[:1], 3, axis=0), model="reference")
            for _ in range(streams):
                assert len(list(client.stream([R3_INPUTS[:1, :1], R3_INPUTS[:1, 1:]], model="reference"))) == 2
            for _ in range(wrong):
                with pytest.raises(InvalidArgumentError):
                    client.predict(np.ones((1, 3, 9), np.float32), model="reference")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with triton.InferenceServerClient(observed.address) as client:
        given = triton.InferInput("x", R3_INPUTS[:1].shape, "FP32")
        given.set_data_from_numpy(R3_INPUTS[:1])
        client.infer("reference", [given])

    def increase(name, **labels):
        return total(after, name, **labels) - total(before, name, **labels)

    def streams_ended():
        nonlocal after
        after = observed.scrape()
        return increase("grpc_server_handled_total", grpc_method="PredictStream") == 6 * streams

    after = {}
    eventually(streams_ended)  # a stream ends a moment after its last answer
    method = {"grpc_service": PREDICTION, "grpc_method": "Predict", "grpc_type": "unary"}
    assert increase("grpc_server_started_total", **method) == 6 * (calls + wrong)
    assert increase("grpc_server_handled_total", **method, grpc_code="OK") == 6 * calls
    assert increase("grpc_server_handled_total", **method, grpc_code="InvalidArgument") == 6 * wrong
    assert increase("grpc_server_handling_seconds_count", **method) == 6 * (calls + wrong)
    assert increase("grpc_server_handling_seconds_bucket", **method, le="+Inf") == 6 * (calls + wrong)
    assert increase("grpc_server_msg_received_total", grpc_method="PredictStream") == 6 * streams * 3
    assert increase("grpc_server_msg_sent_total", grpc_method="PredictStream") == 6 * streams * 3
    version = {"model": "reference", "version": "1"}
    assert increase("nv_inference_request_success", **version) == 6 * (calls + 2 * streams) + 1
    assert increase("nv_inference_request_failure", **version, reason="OTHER") == 6 * wrong
    assert increase("nv_inference_count", **version) == 6 * (3 * calls + 2 * streams) + 1
    assert increase("unroll_batch_size_sum", **version) == increase("nv_inference_count", **version)
    assert increase("unroll_batch_size_count", **version) == increase("nv_inference_exec_count", **version)
    assert increase("unroll_auth_total", role="predict", result="ok") == 6 * (calls + wrong + streams) + 1
    assert total(after, "unroll_streams_open") == 0


def test_what_is_served(observed):
    """Versions, aliases and processes are on the page as the server has them."""
    page = observed.scrape()
    assert total(page, "unroll_model_info", model="reference", version="1", alias="champion", origin="trained") == 1
    assert total(page, "unroll_model_ready", model="linear") == 1
    assert total(page, "unroll_worker_up") == 2
    assert total(page, "unroll_registry_requests_total", result="ok") > 0
    assert total(page, "unroll_registry_last_success_timestamp_seconds") > 1e9
    assert total(page, "unroll_swaps_total", result="ok") == total(page, "unroll_swap_seconds_count") >= 2
    assert total(page, "process_resident_memory_bytes", worker="supervisor") > 1e7
    assert total(page, "process_cpu_seconds_total", worker="worker-1") > 0
    assert total(page, "unroll_build_info") == 1
    assert all(re.fullmatch("[0-9a-f]{64}", dict(labels)["digest"]) for n, labels in page if n == "unroll_model_info")


def test_probes(observed):
    """/healthz and /readyz say that the server runs and is ready; other paths are not found."""
    assert [fetch(observed.url + path)[0] for path in ("/healthz", "/readyz", "/", "/metrics/x")] == [
        200,
        200,
        404,
        404,
    ]


def test_open_metrics(observed):
    """Who asks for OpenMetrics gets it."""
    request = urllib.request.Request(f"{observed.url}/metrics", headers={"Accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_counts_survive_their_worker(observed):
    """What a worker counted that was killed stays in the sums, and its successor counts on."""
    with Client(observed.address) as client:
        for _ in range(20):
            client.predict(R3_INPUTS, model="reference")
    before = observed.scrape()
    os.kill(observed.server.workers()[0], signal.SIGKILL)
    eventually(lambda: observed.value("unroll_worker_restarts_total") >= 1)
    eventually(lambda: observed.value("unroll_worker_up") == 2, timeout=60)
    after = observed.scrape()
    for key, value in before.items():
        if key[0].endswith(("_total", "_bucket", "_count")) or key[0].startswith("nv_inference_"):
            assert after[key] >= value or "pending" in key[0], key


def test_a_worker_that_hangs_costs_nothing_else(observed):
    """A worker that does not answer is said to be down; what it last counted is on the page."""
    before = observed.value("grpc_server_handled_total", grpc_method="Predict")
    with stopped(observed.server.workers()[0]):
        page = observed.scrape()
        assert total(page, "unroll_worker_up") == 1
        assert total(page, "grpc_server_handled_total", grpc_method="Predict") == before


def test_versions_that_leave_leave_the_page(observed):
    """A version is on the page while it is in memory, and gone when the model is served no longer."""
    with triton.InferenceServerClient(observed.address) as client:
        client.unload_model("linear")
        assert not [key for key in observed.scrape() if dict(key[1]).get("model") == "linear"]
        client.load_model("linear")
        eventually(lambda: observed.value("unroll_model_ready", model="linear") == 1)


def test_a_request_id(observed):
    """Who sends a request id gets it back, with the version that answered and where the time went; the log has it."""
    given = str(uuid.uuid4())
    with Client(observed.address) as client:
        stub = unroll_pb2_grpc.PredictionServiceStub(client._channels[0])
        request = pb.PredictRequest(model="reference", inputs=[pb.Tensor(shape=[1, 3, 2], values=[1, 2, 2, 3, 3, 4])])
        _, call = stub.Predict.with_call(request, metadata=[("x-request-id", given)])
        told = dict(call.trailing_metadata())
        assert told["x-request-id"] == given
        assert told["unroll-version"] == "models:/reference/1"
        assert re.fullmatch(r"queue;dur=\d+\.\d+, compute;dur=\d+\.\d+", told["server-timing"])
        _, call = stub.Predict.with_call(request)
        assert "x-request-id" not in dict(call.trailing_metadata())
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(pb.PredictRequest(model="none"), metadata=[("x-request-id", given)])
        assert given.encode() in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]

    def lines():
        text = (observed.cache / "access.jsonl").read_text()
        return [line for line in map(json.loads, text.splitlines()) if line["request_id"] == given]

    ok, failed = eventually(lambda: lines() if len(lines()) == 2 else None)
    assert (ok["method"], ok["code"], ok["model"], ok["version"]) == (f"/{PREDICTION}/Predict", "OK", "reference", "1")
    assert (ok["batch"], ok["timesteps"], ok["caller"]) == (1, 3, "local")
    assert ok["ms"] > 0
    assert ok["request_bytes"] == len(request.SerializeToString())
    assert "127.0.0.1" in ok["peer"]
    assert (failed["code"], failed["model"]) == ("NotFound", None)
    assert "none" in failed["error"]


def test_health_of_a_model(observed):
    """Health answers for `models/NAME`, and knows no model that is not served."""
    with Client(observed.address) as client:
        assert client.health("models/reference")
        with pytest.raises(NotFoundError):
            client.health("models/other")


def test_the_audit(observed, registry):
    """An override, a move, a refused move and a move in the registry each leave a line that says who, what and why."""
    with Client(observed.address) as client:
        seen = len(observed.audit())
        made = client.override_weights(
            [WeightChange("output/bias", 1.0, "add")],
            model="reference",
            reason="drift",
            expected_version="1",
            actor="ann",
        )
        client.move_alias("1", expected_version=made.version, model="reference", reason="back", actor="bob")
        with pytest.raises(ConflictError):
            client.move_alias("1", expected_version="99", model="reference", reason="again")
        registry.store.set_alias("reference", "champion", made.version)
        eventually(lambda: len(observed.audit()) >= seen + 4)
        override, back, refused, outside = observed.audit()[seen : seen + 4]
        client.move_alias("1", expected_version=made.version, model="reference", reason="as it was")
    assert (override["action"], override["claims"], override["caller"], override["how"]) == (
        "OverrideWeights", "ann", "local", "local",
    )  # fmt: skip
    assert (override["model"], override["alias"], override["from_version"]) == ("reference", "champion", "1")
    assert (override["to_version"], override["to_digest"]) == (made.version, made.digest)
    assert (override["changed_weights"], override["reason"]) == (["output/bias"], "drift")
    assert (override["result"], override["role"]) == ("ok", "override")
    assert (back["action"], back["from_version"], back["to_version"]) == ("MoveAlias", made.version, "1")
    assert back["from_digest"] == made.digest
    assert (refused["result"], refused["code"], refused["claims"]) == ("failed", "Aborted", None)
    assert (outside["caller"], outside["from_version"], outside["to_version"]) == ("registry", "1", made.version)
    assert all(line["time"] and (line["request_id"] or line["how"] == "registry") for line in observed.audit())


def test_a_port_in_use(observed, registry, tmp_path):
    """A second server on the same port of metrics ends with one line."""
    taken = observed.url.removeprefix("http://")
    command = [sys.executable, "-m", "service.cli", "serve", "--model=models:/linear@champion", f"--metrics={taken}"]
    env = {**os.environ, **registry.env, "UNROLL_ADDRESS": "127.0.0.1:0", "UNROLL_CACHE": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("unroll:")]
    assert line.startswith(f"unroll: cannot listen for metrics on {taken}: Address already in use")
    assert "Traceback" not in done.stderr


def callers(*entries):
    """A file of callers: names, tokens and roles."""
    lines = [f"- {{name: {n}, token_sha256: {token_hash(t)}, roles: [{', '.join(r)}]}}" for n, t, r in entries]
    return "callers:\n" + "\n".join(lines) + "\n"


def health(address):
    """What `unroll health` prints of a server that serves."""
    command = [sys.executable, "-m", "service.cli", "health", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "SERVING")
    return done.stdout


def given(chunks):
    """What comes in a queue, until None does."""
    while (chunk := chunks.get()) is not None:
        yield chunk


def test_callers_of_a_file(registry, tmp_path):
    """Roles of a file hold, the file is read again when it changes, and an error in it keeps what was in force."""
    registry.register("guarded", "r3-1", "champion")
    file = tmp_path / "callers.yaml"
    file.write_text(callers(("ann", "one", ["predict"]), ("bob", "two", ["observe", "override", "promote"])))
    file.chmod(0o600)
    server = Server(
        "models:/guarded@champion", cache=tmp_path / "cache", env=registry.env, workers=1, callers=file,
        metrics="127.0.0.1:0",
    )  # fmt: skip
    try:
        observed = Observed(server, tmp_path / "cache")

        def client(token=""):
            return Client(server.address, token=token)

        with client() as nobody, client("one") as ann, client("two") as bob:
            eventually(nobody.health)
            assert nobody.health("callers")
            with pytest.raises(UnauthenticatedError):
                nobody.predict(R3_INPUTS)
            assert ann.predict(R3_INPUTS).version == "1"
            for call in (ann.model, ann.get_weights):
                with pytest.raises(PermissionDeniedError):
                    call()
            with pytest.raises(PermissionDeniedError):
                ann.move_alias("1", expected_version="1", reason="no")
            with pytest.raises(PermissionDeniedError):
                bob.predict(R3_INPUTS)
            change = [WeightChange("output/bias", 1.0, "add")]
            made = bob.override_weights(change, reason="yes", expected_version="1", actor="robert")
            found = {version.version: version.actor for version in bob.model().versions}
            assert found[made.version] == "bob (says robert)"
            refused, done = observed.audit()
            assert (refused["caller"], refused["how"], refused["result"]) == ("ann", "token", "refused")
            assert (done["caller"], done["claims"], done["result"]) == ("bob", "robert", "ok")

            chunks = queue.SimpleQueue()
            answers = ann.stream(given(chunks))
            chunks.put(R3_INPUTS[:1, :1])
            assert next(answers).timesteps == 1  # a stream that is open while callers change

            file.write_text("callers: [")
            eventually(lambda: observed.value("unroll_callers_file_valid") == 0)
            assert ann.predict(R3_INPUTS).version == made.version
            eventually(lambda: not nobody.health("callers"))
            server.logged(r"the previous callers stay in force: .*callers\.yaml: line 1")
            assert "callers: the file has an error" in health(server.address)
            server.process.send_signal(signal.SIGHUP)
            server.logged(r"nothing is reloaded: .*callers\.yaml: line 1")
            assert ann.predict(R3_INPUTS).version == made.version

            file.write_text(callers(("bob", "two", ["predict"])))
            eventually(lambda: observed.value("unroll_callers_file_valid") == 1)
            with pytest.raises(UnauthenticatedError):
                ann.predict(R3_INPUTS)
            assert bob.predict(R3_INPUTS).version == made.version
            assert observed.value("unroll_auth_total", result="unauthenticated", role="predict") >= 2
            assert "callers:" not in health(server.address)
            chunks.put(R3_INPUTS[:1, 1:])
            chunks.put(None)
            assert [answer.timesteps for answer in answers] == [3]  # its connection was kept

            file.write_text(callers(("cid", "three", ["predict"])))
            server.process.send_signal(signal.SIGHUP)
            server.logged("reloaded: all workers are new")
            with client("three") as cid:
                assert cid.predict(R3_INPUTS).version == made.version
            with pytest.raises(UnauthenticatedError):
                bob.predict(R3_INPUTS)
            assert server.process.poll() is None
    finally:
        server.stop()


@pytest.fixture
def prometheus(observed, tmp_path):
    """A Prometheus that scrapes the server, with the rules of the deployment; gives the address of its API."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no program prometheus (Debian: prometheus)")
    config = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OBSERVE / "alerts.yml")]
    config["scrape_configs"] = [
        {"job_name": "unroll", "static_configs": [{"targets": [observed.url.removeprefix("http://")]}]}
    ]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    options = {"config.file": tmp_path / "prometheus.yml", "storage.tsdb.path": tmp_path / "data"}
    options["web.listen-address"] = f"127.0.0.1:{port}"
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}/api/v1"
    process.terminate()
    process.wait(30)


def test_dashboard_and_rules_in_prometheus(observed, prometheus, tmp_path):
    """Prometheus evaluates every rule and panel; those of its own state show something, none alerts; all are drawn."""

    def ask(path, **query):
        try:
            with urllib.request.urlopen(f"{prometheus}/{path}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
                return json.load(answer)["data"]
        except OSError:  # it is not there yet
            return None

    def value(expression):
        return (ask("query", query=expression) or {}).get("result")

    with Client(observed.address) as client:
        client.predict(R3_INPUTS, model="reference")
    eventually(lambda: value('count_over_time(up{job="unroll"}[1m]) > 3'), timeout=90)

    def rules():
        return [rule for group in ask("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: {rule["health"] for rule in rules()} == {"ok"})
    assert {rule["name"] for rule in rules()} >= {"NoServer", "ModelStale", "CallersFileWrong", "ServerMissing"}
    dashboard = json.loads((OBSERVE / "grafana" / "dashboards" / "unroll.json").read_text())
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    drawn = {expression: value(expression) for expression in targets}
    assert None not in drawn.values(), [e for e, found in drawn.items() if found is None]
    for expression in targets:
        if "envoy" not in expression and "histogram_quantile" not in expression and "[5m]" not in expression:
            for kind in (
                "unroll_model_info",
                "unroll_worker_up",
                "unroll_calls_in_flight",
                "process_resident",
                "ready",
            ):
                assert kind not in expression or drawn[expression], expression
    firing = {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"}
    assert not firing & {"NoServer", "ModelNotReady", "ModelStale", "RegistryAway", "CallersFileWrong"}
    picture = tmp_path / "dashboard.png"
    command = [sys.executable, OBSERVE.parent.parent / "tools" / "dashboard.py", prometheus.removesuffix("/api/v1")]
    subprocess.run([*command, picture, "1"], check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
