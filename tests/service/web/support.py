"""The web server in this process, and requests of it."""

import json
import threading
from contextlib import contextmanager
from http.client import HTTPConnection

from service.web import http
from service.web.app import Settings, create_app
from tests.service.support import eventually

KEY = "a-key-for-tests-only"


@contextmanager
def web(client, settings=Settings()):  # noqa: B008  # it is immutable
    """Serves the application for a client's server; gives its host and port."""
    with http.listen("127.0.0.1:0") as listening:
        server = http.http_server(create_app(client, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            eventually(lambda: server.started)
            yield "{}:{}".format(*listening.getsockname())
        finally:
            server.should_exit = True
            thread.join()


def get(address, path, **headers):
    """Status, type and text of an answer."""
    status, headers, text = ask(address, "GET", path, **headers)
    return status, headers.get_content_type(), text


def post(address, path, document, **headers):
    """Status and JSON of an answer to what the page itself sends."""
    own = {"Origin": f"http://{address}", "Content-Type": "application/json", **headers}
    status, _, text = ask(address, "POST", path, json.dumps(document), **own)
    return status, json.loads(text)


def ask(address, method, path, body=None, **headers):
    """Status, headers and text of an answer."""
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()
