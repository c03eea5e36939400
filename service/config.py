"""The server's configuration, with defaults: immutable, read once, documented field by field."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from service.callers import Callers
from service.errors import InvalidArgumentError


@dataclass(frozen=True)
class Limits:
    """Limits on calls. The error of a call that exceeds one names the limit and the actual number."""

    message_bytes: int = 64 * 1024 * 1024
    """Largest size of a received message, in bytes."""
    batch: int = 16_384
    """Largest number of sequences in one call."""
    timesteps: int = 65_536
    """Largest number of timesteps in one message."""
    elements: int = 16_777_216
    """Largest number of elements in a received tensor, and in the states of all sequences of a stream."""
    characters: int = 1_048_576
    """Largest number of characters in the texts of one tensor."""
    computed: int = 33_554_432
    """Largest cost: array elements that one call computes in all layers together, or that all large calls of a worker
    compute at once. The default is 128 MiB in single precision, and up to five times that with working memory."""
    changes: int = 1_024
    """Largest number of weight changes in one call."""
    concurrent_calls: int = 1_024
    """Largest number of calls in progress or waiting in one worker, streams included."""
    streams: int = 256
    """Largest number of open streams in one worker."""
    streams_of_one: int = 128
    """Largest number of open streams of one caller in one worker. A caller is a client certificate, else an address."""
    overload_seconds: float = 0.5
    """Seconds for which many calls must have waited without a break before a worker refuses others; 0: none is refused
    for that. See `service.serving.line`."""
    stream_idle_seconds: float = 300.0
    """Seconds without a message after which a stream ends."""
    stream_seconds: float = 86_400.0
    """Seconds after which a stream ends in any case."""
    ping_seconds: float = 5.0
    """Shortest allowed interval between a client's pings; a connection is closed after three pings that come sooner."""
    silent_seconds: float = 60.0
    """Seconds after which a silent connection is pinged; it is closed if it does not answer within a third of that."""
    on_demand_versions: int = 8
    """Largest number of versions, over all models, that are held in memory only because clients named them."""

    @property
    def quick(self) -> int:
        """Largest cost of a call that skips admission: all such calls together cost at most `computed`."""
        return self.computed // 256


DEFAULT_LIMITS = Limits()
EDGES = ("http2", "grpcio")
DEFAULT_EDGE = "http2" if sys.platform == "linux" else "grpcio"  # http2 needs epoll


@dataclass(frozen=True)
class Tls:
    """PEM files of a TLS server."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    """Authorities of client certificates. If set, every client must present a certificate, unless `client_optional`."""
    client_optional: bool = False
    """Whether clients may also connect without a certificate. Tokens then identify them."""

    def check(self) -> None:
        """Raises InvalidArgumentError if a file cannot be read, or the certificate and the key do not match."""
        import ssl  # here, not above: most servers have no TLS files

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A key with a password would be asked for on the terminal; an empty one fails.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(
                f"certificate {self.certificate} and key {self.key} cannot be used: {error}"
            ) from None
        if self.client_authority:
            try:
                context.load_verify_locations(self.client_authority)
            except (OSError, ValueError) as error:
                raise InvalidArgumentError(
                    f"client authorities {self.client_authority} cannot be used: {error}"
                ) from None


@dataclass(frozen=True)
class ServerConfig:
    """How a server listens, who may do what, and how it follows the registry."""

    references: tuple[str, ...]
    """References to serve, in MLflow's syntax; the first reference of a model is its default."""
    address: str = "127.0.0.1:50051"
    """`HOST:PORT` (port 0 selects a free port) or `unix:PATH`."""
    admin_address: str = ""
    """A second address, which alone has the methods that change what is served; empty: the first one has them."""
    workers: int = 0
    """Worker processes; 0: one for each core."""
    cache: Path = Path("~/.cache/unroll")
    """Folder for downloaded versions and the last good snapshot."""
    poll_seconds: float = 2.0
    """Seconds between two polls of the registry."""
    registry_lock: str = ""
    """URI of the lock that servers of one registry share when they move aliases; empty: a file next to SQLite."""
    drain_seconds: float = 30.0
    """Seconds that calls in progress may take after SIGTERM."""
    require_proof: bool = False
    """Whether versions without a proof are refused."""
    engine: str = ""
    """The engine for every network, such as `numpy`; empty: the fastest for each, by measurement."""
    wait: bool = False
    """Whether to wait for a registry that does not answer, or for a missing model, instead of exiting."""
    operator_token: str = ""
    """Bearer token of operators; empty: none. Without credentials, only callers on a loopback address may override."""
    reader_token: str = ""
    """Bearer token that every call needs; empty: reading and predicting need none."""
    tls: Tls | None = None
    """TLS; None: plain text."""
    limits: Limits = field(default_factory=Limits)
    """Limits on calls."""
    edge: str = DEFAULT_EDGE
    """The gRPC server: `http2` (our own) or `grpcio`."""
    connection_age_seconds: float = 0.0
    """Seconds after which a client is asked to reconnect, which balances load; 0: never. Only for the edge http2."""
    connection_idle_seconds: float = 0.0
    """Seconds without a call after which a client is asked to disconnect; 0: never. Only for the edge http2."""
    unary_threads: int = 4
    """Threads of a worker for calls that compute and are not answered at once."""
    metrics_address: str = ""
    """Address of the metrics port; empty: none."""
    log_format: str = "auto"
    """Format of logs: text, json, or auto, which is text on a terminal and else json."""
    access_log: str = ""
    """File with a line for each call, `-` for standard output; empty: none."""
    access_log_sample: float = 1.0
    """Share of calls that are logged; calls that failed by a fault of the server are always logged."""
    audit_log: Path | None = None
    """File with a line for each call that changes what is served; None: `audit.jsonl` in the cache folder."""
    callers_file: Path | None = None
    """YAML file of callers and their roles; None: only the two tokens and client certificates."""
    callers: Callers | None = None
    """The callers that are in force, read from that file."""
    webhook_address: str = ""
    """Address of the port for MLflow webhooks, which trigger a poll; empty: none."""
    webhook_secret: str = ""
    """Secret with which webhooks are signed."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets. Raises InvalidArgumentError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise _wrong_address(address, "it is not HOST:PORT")
    if int(port) > 65535:
        raise _wrong_address(address, "the highest port is 65535")
    if not host:
        # Elsewhere this means all interfaces. Here the interface decides who is trusted, so it is to be named.
        every = f"0.0.0.0:{port} (or [::]:{port}) listens on all interfaces"
        raise _wrong_address(address, f"it names no host; {every}, 127.0.0.1:{port} for this machine only")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if not set(host).isdisjoint("/[] "):
        raise _wrong_address(address, "it is not HOST:PORT")
    if ":" in host:
        raise _wrong_address(address, f"an IPv6 host stands in brackets, [{host}]:{port}")
    return host, int(port)


def unix_path(address: str) -> Path | None:
    """The path of `unix:PATH`; None for an address of another kind. Raises InvalidArgumentError."""
    if not address.startswith("unix:"):
        return None
    path = address.removeprefix("unix:")
    if not path.strip("/"):
        raise _wrong_address(address, "it is not unix:PATH")
    if len(path.encode()) > 98:  # the system takes 107, and workers add their number for a moment
        raise _wrong_address(address, "the path of a unix socket may have 98 bytes")
    return Path(path)


def _wrong_address(address: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"address {address!r}: {what}", field="address")
