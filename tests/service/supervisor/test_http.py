"""service.supervisor.http: a port that anybody may reach, and what that costs at most."""

import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler

import psutil
import pytest

from service.supervisor import http
from service.supervisor.http import MOST_CONNECTIONS, REQUEST_SECONDS, BoundedHTTPServer
from tests.service.support import eventually


class Handler(BaseHTTPRequestHandler):
    """Answers a POST when its whole body is here."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(params=["127.0.0.1", "[::1]"])
def port(request):
    """A server's host and port."""
    server = BoundedHTTPServer(f"{request.param}:0", Handler)
    server.start("test-http")
    yield request.param.strip("[]"), server.server_port
    server.close()


def slow(port):
    """A connection whose request does not end."""
    connection = socket.create_connection(port, 10)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    return connection


def answered(port):
    host = f"[{port[0]}]" if ":" in port[0] else port[0]
    with urllib.request.urlopen(f"http://{host}:{port[1]}/", b"{}", timeout=10) as answer:
        return answer.status == 204


def ended(connection):
    """Waits until the server has ended a connection."""
    connection.settimeout(3 * REQUEST_SECONDS)
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_flood_of_slow_requests(port):
    """Requests that do not end hold sixteen descriptors and threads, and a genuine one is answered."""
    process = psutil.Process()
    descriptors, threads = process.num_fds(), threading.active_count()
    flood = [slow(port) for _ in range(200)]
    try:
        assert answered(port)
        assert threading.active_count() <= threads + MOST_CONNECTIONS
        eventually(lambda: process.num_fds() <= descriptors + len(flood) + MOST_CONNECTIONS)
        assert all(ended(connection) for connection in flood[:-MOST_CONNECTIONS])
    finally:
        for connection in flood:
            connection.close()


def test_a_request_that_trickles(port, monkeypatch):
    """A request that sends a byte now and then is ended at the deadline of the whole."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 1.0)
    connection = slow(port)
    trickling = threading.Event()

    def trickle():
        try:
            while not trickling.wait(0.1):
                connection.sendall(b"x")
        except OSError:
            pass

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert ended(connection)
    finally:
        trickling.set()
        thread.join()
        connection.close()
    assert answered(port)


def test_closed():
    """A server that is closed has let go of its port and its connections."""
    server = BoundedHTTPServer("127.0.0.1:0", Handler)
    server.start("test-http")
    with slow(("127.0.0.1", server.server_port)) as connection:
        eventually(lambda: server._open)
        server.close()
        assert ended(connection)
    BoundedHTTPServer(f"127.0.0.1:{server.server_port}", Handler).server_close()


def test_out_of_descriptors(port, monkeypatch):
    """A server that cannot accept connections waits, and accepts them when it can."""
    accept, failures = socket.socket.accept, []

    def failing(_):
        failures.append(time.monotonic())
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", failing)
    with slow(port):
        eventually(lambda: len(failures) > 3)
        monkeypatch.setattr(socket.socket, "accept", accept)
        assert answered(port)
