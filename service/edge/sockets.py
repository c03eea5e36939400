"""Listening and accepted sockets: IPv4, IPv6 and unix addresses, plain or with TLS."""

import os
import resource
import select
import socket
import ssl
import stat
from contextlib import suppress

from service.config import Tls, split_address
from service.edge.tls import TlsFiles

UNIX = "unix:"
BACKLOG = 1_024
SPARE_DESCRIPTORS = 128  # for files, the link, and what libraries open


class Listener:
    """A socket that accepts connections."""

    due = 0.0  # as of connections: first, but not twice before one of them

    def __init__(self, address: str, tls: Tls | None) -> None:
        """`HOST:PORT` (port 0 takes a free one; IPv6 in brackets) or `unix:PATH`. Raises OSError where it is taken."""
        self.tls = TlsFiles(tls) if tls is not None else None
        self.path = address.removeprefix(UNIX) if address.startswith(UNIX) else ""
        try:
            self.socket = self._unix() if self.path else self._tcp(address)
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error.strerror or error}") from error
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()

    def port(self) -> int:
        """The port; 0 for a unix address."""
        return 0 if self.path else int(self.socket.getsockname()[1])

    def accept(self) -> tuple[socket.socket, str] | None:
        """A connection that waits, and the address it came from; None: there is none. Raises OSError."""
        try:
            accepted, address = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        accepted.setblocking(False)
        if self.path:
            return accepted, "unix"
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = "ipv6" if accepted.family == socket.AF_INET6 else "ipv4"
        return accepted, f"{kind}:{address[0]}"

    def wrapped(self, accepted: socket.socket) -> socket.socket:
        """The same socket, TLS on it where that is asked for; the handshake is still to come."""
        if self.tls is None:
            return accepted
        return self.tls.context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        """Accepts no more."""
        self.socket.close()

    def _tcp(self, address: str) -> socket.socket:
        host, port = split_address(address)
        family, kind, protocol, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # workers share the port
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            listening.bind(where)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening

    def _unix(self) -> socket.socket:
        """A unix socket that takes the place of one that nobody listens on any more, or of another worker's."""
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                raise OSError("there is a file that is no socket")
        listening = socket.socket(socket.AF_UNIX)
        own = f"{self.path}.{os.getpid()}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(own)
            listening.bind(own)
            listening.listen(BACKLOG)
            os.replace(own, self.path)  # there is no moment without a socket
        except OSError:
            listening.close()
            raise
        return listening


def most_connections() -> int:
    """How many connections a process may hold; takes as many descriptors as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(soft - SPARE_DESCRIPTORS, SPARE_DESCRIPTORS) if soft != resource.RLIM_INFINITY else 1 << 20


def handshake(sock: socket.socket) -> int:
    """Goes on with a TLS handshake: 0 when it is done, else what epoll is to wait for. Raises OSError if it fails."""
    assert isinstance(sock, ssl.SSLSocket)
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return select.EPOLLIN
    except ssl.SSLWantWriteError:
        return select.EPOLLOUT
    if sock.selected_alpn_protocol() != "h2":
        raise OSError("the client does not offer HTTP/2")
    return 0
