"""A small HTTP server for exposed ports: connections are limited in number, and each has a deadline.

It is http.server, with a thread for each connection, and these two bounds. Whoever opens more connections than it holds
makes it close the oldest: a genuine request takes milliseconds, so the oldest is the least likely to be one.
"""

import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.config import split_address

MOST_CONNECTIONS = 16
REQUEST_SECONDS = 10.0  # for a connection, from its start to its end
PAUSE_SECONDS = 0.1  # after a connection that could not be accepted, for want of descriptors

logger = logging.getLogger(__name__)


class BoundedHTTPServer(ThreadingHTTPServer):
    """Serves on a port until it is closed."""

    block_on_close = False  # its threads end with their connections
    request_queue_size = 128  # connections that wait in the system, where they hold no descriptor

    def __init__(self, address: str, handler: type[BaseHTTPRequestHandler]) -> None:
        """Raises InvalidArgumentError for what is no address, OSError where it cannot be listened on."""
        host, port = split_address(address)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: dict[socket.socket, float] = {}  # connections, oldest first, and when they began; monotonic seconds
        self._running = 0  # connections that are not closed, those among them that are being ended included
        self._closed = threading.Condition()  # guards the two
        try:
            super().__init__((host, port), handler)
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None

    def start(self, name: str) -> None:
        """Serves in a thread of that name."""
        threading.Thread(target=self.serve_forever, name=name, daemon=True).start()

    def close(self) -> None:
        """Stops serving, and closes the port and the connections. To be called once, after `start`."""
        self.shutdown()
        self.server_close()
        self._cut(0, time.monotonic())

    # What socketserver calls.

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection. Where none can be, it is waiting already: trying again at once would take a core."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Has a thread serve a connection, and makes room for it."""
        self._cut(MOST_CONNECTIONS - 1, time.monotonic() - REQUEST_SECONDS)
        with self._closed:  # until those that are ended now have let go of their descriptors
            self._closed.wait_for(lambda: self._running < MOST_CONNECTIONS, REQUEST_SECONDS)
            self._open[request] = time.monotonic()
            self._running += 1
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Ends connections that took too long; called twice a second."""
        self._cut(MOST_CONNECTIONS, time.monotonic() - REQUEST_SECONDS)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection."""
        try:
            super().shutdown_request(request)
        finally:
            with self._closed:
                self._open.pop(request, None)
                self._running -= 1
                self._closed.notify()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says in a line what failed; that a client is gone, or was cut off, is no news."""
        logger.debug("a request from %s failed", client_address, exc_info=True)

    def _cut(self, most: int, begun_before: float) -> None:
        """Ends the oldest connections until so many are left, and all that began before a moment."""
        with self._closed:
            excess = len(self._open) - most
            for i, (connection, begun) in enumerate(list(self._open.items())):
                if i >= excess and begun >= begun_before:
                    break
                del self._open[connection]
                # Its thread is woken and closes it; to close it here would be to close what may be another's by then.
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
