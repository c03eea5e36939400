"""The web server in this process, and requests of it."""

import threading
from contextlib import contextmanager
from http.client import HTTPConnection

from service.web import http
from service.web.app import create_app
from tests.service.support import eventually


@contextmanager
def web(client, *settings):
    """Serves the application for a client's server; gives its host and port."""
    with http.listen("127.0.0.1:0") as listening:
        server = http.http_server(create_app(client, *settings))
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
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read().decode()
    finally:
        connection.close()
