"""service.web.safety: the page belongs to whoever has its key, and only the page itself may ask its server."""

import json

import pytest

from service.errors import InvalidArgumentError
from service.web import safety
from service.web.app import Settings
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
