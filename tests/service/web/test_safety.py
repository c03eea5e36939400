"""service.web.safety: the page belongs to whoever has its key, and only the page itself may ask its server."""

import json
from urllib.parse import urlencode

import pytest

from service.client import Client
from service.errors import InvalidArgumentError
from service.web import api, safety
from service.web.app import STATIC, Settings
from service.web.rest.routes import PATHS
from tests.service.support import entry, serving
from tests.service.web.support import KEY, ask, get, post, web

QUESTION = {"model": "reference", "inputs": {"x": [[[1, 2], [2, 3], [3, 4]]]}}


@pytest.fixture(scope="module")
def locked(server):
    """Host and port of a page with a key."""
    with web(server[1], Settings(key=KEY)) as address:
        yield address


@pytest.fixture(scope="module")
def cookie(locked):
    """What a browser has once it was opened with the key."""
    status, headers, _ = ask(locked, "GET", f"/?key={KEY}")
    assert status == 200
    return headers["set-cookie"].partition(";")[0]


def test_the_key_becomes_a_cookie(locked, cookie):
    """The key opens the page once, and then a cookie does that no script reads and no other site sends."""
    _, headers, _ = ask(locked, "GET", f"/?key={KEY}")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert KEY not in headers["set-cookie"]
    assert get(locked, "/", Cookie=cookie)[0] == get(locked, "/api/models", Cookie=cookie)[0] == 200


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", f"?key={KEY}x", "?key=%FF"])
def test_no_key(locked, query):
    """Without the key there is no page, no cookie and no answer of the API."""
    status, headers, text = ask(locked, "GET", f"/{query}")
    assert (status, headers["set-cookie"], "needs its key" in text) == (401, None, True)
    assert get(locked, f"/api/models{query}")[0] == 401
    assert post(locked, "/api/predict", QUESTION)[1]["error"] == "KEY"
    assert get(locked, "/api/models", Cookie="unroll=1; x")[0] == 401


@pytest.mark.parametrize(
    "origin", ["", "null", "http://attacker.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://"]
)
def test_another_site_asks(locked, cookie, origin):
    """A request that another site makes a browser send is refused, even with the cookie."""
    assert post(locked, "/api/predict", QUESTION, Cookie=cookie)[0] == 200
    status, answer = post(locked, "/api/predict", QUESTION, Cookie=cookie, Origin=origin)
    assert (status, answer["error"]) == (403, "ORIGIN")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send(locked, cookie, kind):
    """A body that a form of another site could send is refused."""
    own = {"Origin": f"http://{locked}", "Cookie": cookie, "Content-Type": kind}
    assert ask(locked, "POST", "/api/override", json.dumps(QUESTION), **own)[0] == 415


def test_what_browsers_are_told(locked, cookie):
    """Every answer forbids scripts and frames of others, and says nothing to them about where people come from."""
    for path in ("/", "/static/style.css", "/api/models", "/api/absent"):
        _, headers, _ = ask(locked, "GET", path, Cookie=cookie)
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_the_operator_token_stays_here(versions):
    """No answer holds the token that the page asks its server with: no page, script, header, cookie or error."""
    token = "operator-token-that-stays-in-this-process"
    asked = {"model": "reference", "version": "1", "base": "1", "names": "", "limit": "5"}
    with (
        serving(entry("reference", "champion", v1=versions["r3-1"]), operator_token=token) as (_, plain),
        Client(plain.address, token=token) as client,
        web(client, Settings(key=KEY)) as address,
    ):
        own = {"Origin": f"http://{address}", "Content-Type": "application/json"}
        _, headers, text = ask(address, "GET", f"/?key={KEY}")
        own["Cookie"] = headers["set-cookie"].partition(";")[0]
        seen = [(headers, text)]
        static = [f"/static/{file.relative_to(STATIC)}" for file in STATIC.rglob("*") if file.is_file()]
        for path in [*static, *(path for path, *_ in PATHS), "/healthz", "/readyz", "/absent"]:
            seen += [ask(address, method, path, **own)[1:] for method in ("GET", "POST")]
        answered = set()
        for route in api.routes():
            if route.path == "/watch":  # which has no end
                continue
            path = f"/api{route.path}"
            for document in ({**QUESTION, **asked}, {"model": "absent"}, {"model": 1}):
                body = None if "GET" in route.methods else json.dumps(document)
                status, headers, text = ask(
                    address, "POST" if body else "GET", f"{path}?{urlencode(document)}", body, **own
                )
                seen.append((headers, text))
                answered |= {route.path} if status == 200 else set()
        assert {"/state", "/models", "/weights", "/examples", "/predict", "/trace"} <= answered
        assert json.loads(ask(address, "GET", "/api/state", **own)[2])["server"]["known_by"] == "token"
    assert all(token not in f"{headers}{text}" for headers, text in seen)


@pytest.mark.parametrize("key", ["", "short", "has a space in it …", "?" * 20])
def test_a_key_that_cannot_be_used(key):
    """A key that could be guessed, or does not fit into an address, is refused."""
    with pytest.raises(InvalidArgumentError, match="at least 16"):
        safety.checked_key(key)
    assert safety.checked_key(safety.new_key()) != safety.new_key()


def test_read_only(server):
    """A page that was started read-only changes nothing, whatever its credentials allow."""
    with web(server[1], Settings(read_only=True)) as address:
        assert post(address, "/api/predict", QUESTION)[0] == 200
        for path in ("/api/override", "/api/serve"):
            assert post(address, path, {"model": "reference"})[1]["message"] == "this page was started with --read-only"
