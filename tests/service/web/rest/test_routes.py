"""service.web.rest.routes: who may ask, as whom, and how what is wrong is answered."""

import asyncio
import json
import threading
from http.client import HTTPConnection

import anyio
import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from service.callers import Callers, Entry, token_hash
from service.client import Client
from service.web.app import Settings
from service.web.rest.answers import Asked
from service.web.rest.routes import unless_left
from tests.ports import free_port
from tests.service.support import entry, eventually, serving
from tests.service.web.support import web

INFER = "/v2/models/reference/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 3, 2], "datatype": "FP32", "data": [[[1, 2], [2, 3], [3, 4]]]}]}
OPERATOR = {"Authorization": "Bearer operator"}


def ask(address, path, document=None, method="", **headers):
    """Status and JSON of an answer."""
    body = None if document is None else document if isinstance(document, bytes) else json.dumps(document)
    connection = HTTPConnection(address, timeout=60)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = connection.getresponse()
        assert answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_as_curl_and_kserve_send_it(address, server):
    """A plain JSON request is answered in plain JSON: with nested or flat data, and whatever its content type."""
    expected = server.predict(BODY["inputs"][0]["data"], model="reference")
    flat = {"id": "1", "inputs": [{**BODY["inputs"][0], "data": [1, 2, 2, 3, 3, 4]}]}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for document, headers in ((BODY, form), (flat, {"content-type": "application/json"})):
        status, found = ask(address, INFER, document, **headers)
        assert (status, found["model_name"], found["model_version"]) == (200, "reference", "1")
        (output,) = found["outputs"]
        assert output == {"name": "output", "datatype": "FP32", "shape": [1, 1], "data": expected.output[0].tolist()}
    assert ask(address, "/v2/health/live") == (200, {"live": True})
    assert ask(address, "/v2/health/ready") == (200, {"ready": True})
    assert ask(address, "/v2/models/reference/ready") == (200, {"name": "reference", "ready": True})
    assert ask(address, "/v2/models/reference/versions/77/ready") == (503, {"name": "reference", "ready": False})


@pytest.mark.parametrize(
    ("path", "method"), [("/v2/nothing", "GET"), ("/v2/models/reference/infer", "GET"), ("/v2/health/live", "DELETE")]
)
def test_what_the_protocol_does_not_have(address, path, method):
    """An unknown path or method is answered in JSON too."""
    assert ask(address, path, method=method) == (404, {"error": "there is no such path, or not with this method"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("path", "document"), [(INFER, BODY), ("/v2/models/reference", None)])
def test_requests_for_other_sites(address, path, document, headers):
    """What a browser sends on behalf of another site, or under a name that is not ours, is refused."""
    status, found = ask(address, path, document, **headers)
    assert status == (400 if "Host" in headers else 403)
    assert next(iter(headers)).lower() in found["error"].lower()


@pytest.fixture(scope="module")
def guarded(versions):
    """Host and port of the protocol for a server that knows two callers; our own client is the operator."""
    tokens = {"operator": ("predict", "observe", "load"), "reader": ("observe",)}
    callers = tuple(Entry(name, roles, token_sha256=token_hash(name)) for name, roles in tokens.items())
    with (
        serving(entry("reference", "champion", v1=versions["r3-1"]), callers=Callers(callers, listed=True)) as (
            _,
            plain,
        ),
        Client(plain.address, token="operator") as client,
        web(client) as address,
    ):
        assert client.predict(BODY["inputs"][0]["data"]).version == "1"
        yield address


@pytest.mark.parametrize("path", [INFER, "/v2/repository/models/reference/unload"])
def test_who_asks_is_who_sends(guarded, path):
    """The token of a request is passed on, and that of this process is never used, whoever it belongs to."""
    assert ask(guarded, path, BODY)[0] == 401
    assert ask(guarded, path, BODY, Authorization="Bearer guess")[0] == 401
    status, found = ask(guarded, path, BODY, Authorization="Bearer reader")
    assert (status, "reader has observe" in found["error"]) == (403, True)
    status, _ = ask(guarded, path, BODY if path == INFER else {}, **OPERATOR)
    assert status == (200 if path == INFER else 501)  # allowed, by a server without a registry
    assert ask(guarded, "/v2/models/reference", Authorization="Bearer é\u0080".encode().decode("latin-1"))[0] == 400


def test_an_address_that_others_reach(server, versions):
    """A server that trusts its own machine is not opened to others; one that knows its callers is."""
    with web(server, Settings(exposed=True)) as address:
        for path, document in (("/v2/models/reference", None), (INFER, BODY)):
            status, found = ask(address, path, document)
            assert (status, "trusts everybody on its own machine" in found["error"]) == (403, True)
    with (
        serving(entry("reference", "champion", v1=versions["r3-1"]), operator_token="operator") as (_, client),
        web(client, Settings(exposed=True)) as address,
    ):
        assert ask(address, INFER, BODY)[0] == 200
        assert ask(address, "/v2/repository/models/reference/unload", {})[0] == 403


def test_read_only(server):
    """What changes the server is refused where that was decided, and nothing else."""
    with web(server, Settings(read_only=True)) as address:
        for path in ("/v2/repository/models/reference/load", "/v2/repository/models/reference/unload", "/v2/logging"):
            assert ask(address, path, {}) == (403, {"error": "this address is read-only"})
        assert ask(address, INFER, BODY)[0] == 200
        assert ask(address, "/v2/repository/index", {})[0] == 200


def test_a_caller_that_leaves(versions):
    """The call that is made for a caller is cancelled in the server when the caller leaves."""
    calls, begun, let = [], threading.Event(), threading.Event()

    class Watching:
        header, share, faults = "", 0.0, False

        def watches(self, method):
            return True

        def began(self, call):
            calls.append(call)

        def ended(self, call):
            pass

    def load(*_):
        begun.set()
        let.wait(60)

    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, load=load, observers=[Watching()]) as (_, client), web(client) as address:
        connection = HTTPConnection(address, timeout=60)
        connection.request("POST", "/v2/models/reference/versions/7/infer", json.dumps(BODY))
        assert begun.wait(30)
        (call,) = calls
        assert call.active()
        connection.close()
        eventually(lambda: not call.active())
        let.set()


def test_a_caller_that_leaves_the_line():
    """A caller that leaves before there was a place for its call leaves the line, and no call is made."""
    made = []

    async def receive():
        return {"type": "http.disconnect"}

    async def ask():
        full = anyio.CapacityLimiter(1)
        await full.acquire()
        asked = Asked({}, Headers(), b"")
        return await unless_left(Request({"type": "http"}, receive), asked, lambda: made.append(1), full)

    assert (asyncio.run(ask()).status_code, made) == (499, [])


def test_a_server_that_is_away():
    """Without its server it answers 503, and says when to come again."""
    with Client(f"127.0.0.1:{free_port()}") as client, web(client) as address:
        connection = HTTPConnection(address, timeout=60)
        connection.request("GET", "/v2/health/ready")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "error" in json.loads(answer.read())
        connection.close()
