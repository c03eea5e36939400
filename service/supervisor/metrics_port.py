"""The metrics port: `/metrics`, `/healthz` and `/readyz` over HTTP, for Prometheus and for probes."""

import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.config import split_address
from service.observe.page import page
from service.observe.samples import Samples

MOST_CONNECTIONS = 16  # at once; more are closed
REQUEST_SECONDS = 10.0  # for a whole request and its answer

logger = logging.getLogger(__name__)


class MetricsPort(ThreadingHTTPServer):
    """Answers in threads of its own, few at once, each within a time limit."""

    daemon_threads = True

    def __init__(self, address: str, samples: Callable[[], Samples], not_ready: Callable[[], str]) -> None:
        """`samples` is asked for each page; `not_ready` says why the server is not, or nothing.

        Raises OSError where the port is taken.
        """
        host, port = split_address(address)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.samples, self.not_ready = samples, not_ready
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise OSError(
                f"cannot listen for metrics on {address}: {error.strerror or error}; "
                "--metrics takes another HOST:PORT, or off"
            ) from None
        self.address = f"[{host}]:{self.server_port}" if ":" in host else f"{host}:{self.server_port}"
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in another thread; closes what is one too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no room for a thread
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers one request, and ends it when its time is over."""
        late = threading.Timer(REQUEST_SECONDS, request.shutdown, (socket.SHUT_RDWR,))
        late.daemon = True
        try:
            late.start()
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no event."""

    def close(self) -> None:
        """Listens no longer."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsPort
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:  # the name that http.server looks for
        path = self.path.partition("?")[0]
        if path == "/metrics":
            try:
                kind, body = page(self.server.samples(), self.headers.get("Accept", ""))
            except Exception:
                logger.exception("the metrics page cannot be made")
                self._answer(500, "text/plain; charset=utf-8", b"see the server's log\n")
            else:
                self._answer(200, kind, body)
        elif path == "/healthz":
            self._answer(200, "text/plain; charset=utf-8", b"the supervisor runs\n")
        elif path == "/readyz":
            reason = self.server.not_ready()
            self._answer(503 if reason else 200, "text/plain; charset=utf-8", f"{reason or 'ready'}\n".encode())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as in the class that this is made of
        """Scrapes are no events."""
