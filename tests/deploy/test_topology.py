"""The deployment without containers: real database, MLflow, servers and gateway, with the files that are deployed."""

import json
import os
import queue
import re
import signal
import struct
import urllib.error
import urllib.request
from contextlib import contextmanager

import grpc
import pytest
import tritonclient.grpc as triton
from google.rpc.error_details_pb2 import RequestInfo
from google.rpc.status_pb2 import Status
from tritonclient.grpc import service_pb2

from benchmarks.load import Shape, has_h2load, load
from service.client import Client, WeightChange, to_tensor
from service.edge.status import DETAILS_KEY
from service.errors import PermissionDeniedError, UnauthenticatedError
from service.pb import unroll_pb2 as pb
from tests.deploy.support import ROOT, SEQUENCES, Load, channel
from tests.service.support import eventually, stopped

INFER = "/inference.GRPCInferenceService/ModelInfer"
REGISTERED = "/api/2.0/mlflow/registered-models"


def fetch(url, data=None, method=None, **headers):
    """Status, headers and body of an HTTP request."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_calls_are_spread_over_the_servers(topology, client):
    """Both servers answer calls of one client connection, and all answers are the same."""
    eventually(lambda: topology.healthy() == 2)
    before = topology.replicas()
    answers = {client.predict(SEQUENCES).output.tobytes() for _ in range(40)}
    after = topology.replicas()
    assert len(answers) == 1
    assert all(after[server][1] - before[server][1] >= 10 for server in after)


def test_an_override_reaches_every_server(topology, client):
    """Who names the new version gets it at once from any server; soon everybody gets it from all; no call fails."""
    before = client.predict(SEQUENCES)
    with Load(topology.gateway) as load:
        change = WeightChange("output/bias", 1.0, "add")
        changed = client.override_weights([change], reason="test", expected_version=before.version)
        for server in topology.servers:
            with Client(server.address) as direct:
                named = direct.predict(SEQUENCES, version=changed.version)
                assert named.output == pytest.approx(before.output + 1)
                eventually(lambda c=direct: c.predict(SEQUENCES).version == changed.version)
        load.more()
    assert not load.failures
    assert load.versions() == {before.version, changed.version}


def test_an_alias_moved_in_mlflow_is_followed_by_every_server(topology, client):
    """The alias is moved by MLflow's own API; all servers serve the other version, and no call fails."""
    now = client.model()
    change = WeightChange("output/bias", 2.0, "add")
    made = client.override_weights([change], reason="test", expected_version=now.default_version, keep_alias=True)
    other = made.version
    with Load(topology.gateway) as load:
        body = json.dumps({"name": now.name, "alias": now.default_alias, "version": other}).encode()
        url = f"{topology.mlflow}{REGISTERED}/alias"
        assert fetch(url, body, "POST", Content_Type="application/json")[0] == 200
        for server in topology.servers:
            with Client(server.address) as direct:
                eventually(lambda c=direct: c.predict(SEQUENCES).version == other)
        load.more()
    assert not load.failures
    assert load.versions() == {now.default_version, other}


def test_changing_needs_the_operator_token(topology):
    """Through the gateway, as everywhere, nobody overrides without the token, and a wrong one is refused."""
    change = [WeightChange("output/bias", 1.0, "add")]
    for token, error in (("", PermissionDeniedError), ("wrong", UnauthenticatedError)):
        with Client(topology.gateway, token=token) as client, pytest.raises(error):
            client.override_weights(change, reason="test", expected_version="1")


def test_streams_pass(client):
    """A sequence sent in pieces gives what it gives in one call."""
    whole = client.predict(SEQUENCES)
    *_, last = client.stream([SEQUENCES[:, :1], SEQUENCES[:, 1:]])
    assert last.output == pytest.approx(whole.output)
    assert last.timesteps == 3


@contextmanager
def standard_client(address):
    """A client of the Open Inference Protocol, and a call that gives the bytes of an answer as they came."""
    with triton.InferenceServerClient(address) as client:
        yield client, channel(address, repeating=False).unary_unary(INFER)


def inferred(**options):
    """An input for the network, and the request that the standard client makes of it."""
    given = triton.InferInput("sequence", SEQUENCES.shape, "FP32")
    given.set_data_from_numpy(SEQUENCES)
    request = service_pb2.ModelInferRequest(model_name="reference", inputs=[given._get_tensor()], **options)
    request.raw_input_contents.append(SEQUENCES.tobytes())
    return given, request.SerializeToString()


def test_standard_clients_pass(topology):
    """A standard client gets through the gateway, byte by byte, what it gets from a server itself; and its errors."""
    given, request = inferred(id="seven")
    wrong = inferred(model_version="99")[1]
    with standard_client(topology.gateway) as (client, call), standard_client(topology.servers[1].address) as (_, own):
        assert client.is_server_ready()
        assert client.get_model_metadata("reference").inputs[0].name == "sequence"
        assert call(request) == own(request)
        answer = client.infer("reference", [given])
        assert answer.as_numpy("output").tobytes() == own(request)[-4:]
        errors = []
        for way in (call, own):
            with pytest.raises(grpc.RpcError) as caught:
                way(wrong)
            trailers = dict(caught.value.trailing_metadata())
            # The gateway gives each call an id, which an error says; all else is the server's.
            details = [d for d in Status.FromString(trailers[DETAILS_KEY]).details if not d.Is(RequestInfo.DESCRIPTOR)]
            errors.append((caught.value.code(), caught.value.details(), details))
        assert errors[0] == errors[1]
        assert errors[0][0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("headers", [None, {"triton_grpc_error": "true"}])
def test_streams_of_standard_clients_pass(topology, headers):
    """A sequence of a standard client, timestep by timestep, ends as the whole does; whatever errors it asks for."""
    answers = queue.Queue()
    with standard_client(topology.gateway) as (client, _):
        whole = client.infer("reference", [inferred()[0]]).as_numpy("output")
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for t in range(SEQUENCES.shape[1]):
            step = triton.InferInput("sequence", [1, 1, 2], "FP32")
            step.set_data_from_numpy(SEQUENCES[:, t : t + 1])
            client.async_stream_infer("reference", [step], sequence_id=7, sequence_start=t == 0, sequence_end=t == 2)
            result, error = answers.get(timeout=20)
            assert error is None
        assert result.as_numpy("output").tobytes() == whole.tobytes()
        client.async_stream_infer("other", [step])
        _, error = answers.get(timeout=20)
        assert error.status() == ("StatusCode.NOT_FOUND" if headers else None)
        client.stop_stream()


@pytest.mark.skipif(not has_h2load(), reason="h2load (Debian: nghttp2-client) is not installed")
def test_load_passes(topology, tmp_path):
    """Thousands of requests of another HTTP/2 library pass the gateway, and every answer has all its bytes."""
    _, request = inferred()
    file = tmp_path / "request"
    file.write_bytes(struct.pack(">BI", 0, len(request)) + request)
    with standard_client(topology.gateway) as (_, call):
        length = len(call(request))
    done = load(f"{topology.gateway}{INFER}", file, length, Shape(8, 4, 2), min(os.sched_getaffinity(0)))
    assert done.requests > 100


def test_browsers_speak_grpc_web(topology):
    """A prediction over HTTP/1.1 as gRPC-Web, from a page of this machine; a page from elsewhere may not read it."""
    message = pb.PredictRequest(inputs=[to_tensor(SEQUENCES)]).SerializeToString()
    url = f"http://{topology.gateway}/unroll.v1.PredictionService/Predict"
    body, kind = struct.pack(">BI", 0, len(message)) + message, "application/grpc-web+proto"
    status, headers, answer = fetch(url, body, Content_Type=kind, X_Grpc_Web="1", Origin="http://localhost:8080")
    assert status == 200
    assert headers["access-control-allow-origin"] == "http://localhost:8080"
    flag, length = struct.unpack(">BI", answer[:5])
    assert flag == 0
    assert pb.PredictResponse.FromString(answer[5 : 5 + length]).outputs[0].shape == [1, 1]
    assert b"grpc-status:0" in answer[5 + length :]
    _, headers, _ = fetch(url, body, Content_Type=kind, X_Grpc_Web="1", Origin="http://elsewhere.example")
    assert headers["access-control-allow-origin"] is None
    asking = {"Origin": "http://localhost:8080", "Access-Control-Request-Method": "POST"}
    status, headers, _ = fetch(url, method="OPTIONS", **asking)
    assert (status, headers["access-control-allow-methods"]) == (200, "POST, OPTIONS")
    assert fetch(url, b"{}", Content_Type="application/json")[0] == 415


def test_mlflow_can_be_read_and_not_written(topology, client):
    """The published interface shows versions and answers searches; creating, moving and deleting are refused."""
    name = client.model().name
    status, headers, _ = fetch(topology.mlflow_ui)
    assert (status, headers.get_content_type()) == (200, "text/html")
    status, _, body = fetch(f"{topology.mlflow_ui}{REGISTERED}/get?name={name}")
    assert status == 200
    assert json.loads(body)["registered_model"]["aliases"][0]["alias"] == "champion"
    search = fetch(
        f"{topology.mlflow_ui}/ajax-api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": ["1"]}).encode(),
        Content_Type="application/json",
    )
    assert (search[0], len(json.loads(search[2])["runs"])) == (200, 1)
    moved = json.dumps({"name": name, "alias": "champion", "version": "1"}).encode()
    for method, path in (("POST", "/alias"), ("DELETE", "/alias"), ("POST", "/create"), ("DELETE", "/delete")):
        status, _, body = fetch(
            f"{topology.mlflow_ui}{REGISTERED}{path}", moved, method, Content_Type="application/json"
        )
        assert status == 403
        assert b"read-only" in body
    assert fetch(f"{topology.mlflow_ui}/api/2.0/mlflow-artifacts/artifacts/x", b"x", "PUT")[0] == 403


def test_mlflow_knows_its_names(topology):
    """A name that is not the deployment's is refused, so that no page can reach MLflow by a name of its own."""
    for host, status in (("mlflow:5000", 200), ("localhost:5000", 200), ("evil.example", 403)):
        assert fetch(f"{topology.mlflow_ui}{REGISTERED}/search", Host=host)[0] == status


def test_statistics_and_nothing_else(topology, client):
    """Every series that dashboard and alarms draw on is there, and Envoy's administration is not behind that port."""
    client.predict(SEQUENCES)
    status, _, body = fetch(f"{topology.statistics}/stats/prometheus")
    assert status == 200
    there = set(re.findall(r"^(envoy_\w+)\{", body.decode(), re.MULTILINE))
    for file in ("alerts.yml", "grafana/dashboards/unroll.json"):
        drawn = set(re.findall(r"\b(envoy_\w+)\{", (ROOT / "deploy" / "observe" / file).read_text().replace("\\", "")))
        assert drawn, file
        assert drawn <= there, file
    counted = r'^envoy_cluster_grpc_total\{(?=.*grpc_service="unroll.v1.PredictionService")(?=.*grpc_method="Predict")'
    assert re.search(counted, body.decode(), re.MULTILINE)
    assert fetch(f"{topology.statistics}/config_dump")[0] == 404
    assert fetch(f"{topology.statistics}/quitquitquit", b"", "POST")[0] == 404


def test_a_server_that_hangs_is_not_noticed(topology):
    """A server stopped in the middle of everything: its calls are answered by the other, and it is left out."""
    server = topology.servers[0]
    with Load(topology.gateway) as load:
        load.more()
        with stopped(*server.workers()):
            eventually(lambda: topology.healthy() == 1)
            load.more()
        eventually(lambda: topology.healthy() == 2)
    assert not load.failures


def test_a_killed_server_is_not_noticed(topology):
    """A server killed with all its processes while clients call: no call fails, and none is sent there any more."""
    server = topology.servers[0]
    with Load(topology.gateway) as load:
        load.more()
        for pid in (server.process.pid, *server.workers()):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: topology.healthy() == 1)
        sent = topology.replicas()[server.address][1]
        load.more()
        assert topology.replicas()[server.address][1] == sent
    assert not load.failures
