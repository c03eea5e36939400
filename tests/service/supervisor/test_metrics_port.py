"""service.supervisor.metrics_port: the page and the probes over HTTP."""

import http.client
import re

import pytest

from service.supervisor.metrics_port import MetricsPort

STARTED = {("grpc_server_started_total", ("unary", "s", "m")): 3.0}


@pytest.fixture
def ask():
    """Asks a port for a path; gives status and body. `reasons` is what keeps the server from being ready."""
    reasons = [""]

    def samples():
        if reasons[0] == "broken":
            raise RuntimeError("no page")
        return STARTED

    port = MetricsPort("127.0.0.1:0", samples, lambda: reasons[0])

    def get(path, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", port.server_port, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read().decode()
        connection.close()
        return status, body

    yield get, reasons
    port.close()


def test_the_page(ask):
    """/metrics has what was counted; a page that cannot be made is an error whose cause stays in the log."""
    get, reasons = ask
    status, body = get("/metrics")
    assert status == 200
    assert re.search(r'^grpc_server_started_total\{.*grpc_method="m".*\} 3', body, re.MULTILINE)
    assert get("/metrics", "HEAD") == (200, "")
    reasons[0] = "broken"
    assert get("/metrics") == (500, "see the server's log\n")


def test_probes(ask):
    """The supervisor lives while it answers; whether the server is ready comes with the reason why not."""
    get, reasons = ask
    assert get("/healthz")[0] == get("/readyz?verbose")[0] == 200
    reasons[0] = "no model is loaded"
    assert get("/readyz") == (503, "no model is loaded\n")
    assert get("/healthz")[0] == 200
    assert get("/other")[0] == 404


def test_a_port_in_use():
    """A port that another holds is an error that names the option."""
    first = MetricsPort("127.0.0.1:0", dict, str)
    with pytest.raises(OSError, match=r"cannot listen for metrics on .*--metrics takes another"):
        MetricsPort(first.address, dict, str)
    first.close()
