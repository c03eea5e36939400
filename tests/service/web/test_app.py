"""service.web.app: the paths that every web server of ours answers, and whom it refuses."""

import pytest

from service.client import Client
from tests.ports import free_port
from tests.service.web.support import get, web


def test_the_page(address):
    """The page and its files come from the package."""
    assert get(address, "/")[:2] == (200, "text/html")
    assert get(address, "/static/index.html") == get(address, "/")
    assert get(address, "/static/../app.py")[0] == get(address, "/absent")[0] == 404


def test_probes(address):
    """It is alive, and ready while the server that it asks serves."""
    assert get(address, "/healthz") == get(address, "/readyz") == (200, "text/plain", "ok\n")


def test_a_server_that_is_away():
    """Without its server it is alive, and not ready."""
    with Client(f"127.0.0.1:{free_port()}") as client, web(client) as address:
        assert get(address, "/healthz")[0] == 200
        status, _, text = get(address, "/readyz")
        assert (status, "connect" in text) == (503, True)


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:5001", "127.0.0.1.attacker.example", ""])
def test_a_name_that_is_not_ours(address, host):
    """A request under a name that an attacker chose is refused, except for probes."""
    assert get(address, "/", Host=host)[0] == 400
    assert get(address, "/healthz", Host=host)[0] == 200
    assert get(address, "/", Host="localhost:5001")[0] == get(address, "/", Host="[::1]:5001")[0] == 200
