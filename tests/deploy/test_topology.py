"""The deployment without containers: real database, MLflow, servers and gateway, with the files that are deployed."""

import json
import os
import re
import signal
import struct
import urllib.error
import urllib.request

import psutil
import pytest

from service.client import Client, WeightChange, to_tensor
from service.errors import PermissionDeniedError, UnauthenticatedError
from service.pb import unroll_pb2 as pb
from tests.deploy.support import ROOT, SEQUENCES, Load
from tests.service.support import eventually

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
        stopped = [psutil.Process(pid) for pid in server.workers()]
        for process in stopped:
            process.suspend()
        try:
            eventually(lambda: topology.healthy() == 1)
            load.more()
        finally:
            for process in stopped:
                process.resume()
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
