"""Listening for HTTP, and serving an application on it with Uvicorn."""

import socket

import uvicorn
from starlette.applications import Starlette

from service.config import split_address

DRAIN_SECONDS = 5  # that requests in progress may take when the process is to end
MOST_CONCURRENT = 256  # connections and requests, each with a share of the memory; more are answered 503


def listen(address: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`; port 0 selects a free port.

    Raises InvalidArgumentError for what is no address, OSError where it cannot be listened on.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None
    # asyncio sets this only on sockets that say they are TCP. Without it the body of an answer, which is written after
    # its headers, waits 40 ms for the client to acknowledge those.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url(listening: socket.socket) -> str:
    """Where a browser of this machine finds what listens there."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # every interface: this machine's own
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Server(uvicorn.Server):
    """Ends the streams of events before it waits for requests in progress: they would never end by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once, by the loop."""
        app: Starlette = self.config.app  # type: ignore[assignment]  # it is what http_server was given
        app.state.watches.stop()
        await super().shutdown(sockets)


def http_server(app: Starlette) -> uvicorn.Server:
    """The server of an application: `run(sockets=[…])` serves until a signal, or until its `should_exit` is set."""
    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=MOST_CONCURRENT,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
