"""The server's configuration, with defaults: immutable, read once, documented field by field."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from service.callers import Callers
from service.errors import InvalidArgumentError


@dataclass(frozen=True)
class Limits:
    """Bounds on what one call may ask. Each answers with the number that exceeded it."""

    message_bytes: int = 64 * 1024 * 1024
    """Largest message received."""
    batch: int = 16_384
    """Most sequences in one call."""
    timesteps: int = 65_536
    """Most timesteps in one message."""
    elements: int = 16_777_216
    """Most elements of one tensor received, and of the states that the sequences of one stream keep together."""
    computed: int = 33_554_432
    """Most elements of all tensors together that one call computes, or all large ones in a worker at once. In single
    precision these are 128 MiB; with what engines lay out on the way, up to five times as much."""
    changes: int = 1_024
    """Most weight changes in one call."""
    concurrent_calls: int = 1_024
    """Most calls in progress or waiting in one worker, streams included."""
    streams: int = 256
    """Most open streams in one worker."""
    streams_of_one: int = 128
    """Most open streams of one caller in one worker: of a client certificate, else of an address."""
    stream_idle_seconds: float = 300.0
    """Longest wait for the next message of a stream."""
    stream_seconds: float = 86_400.0
    """Longest life of a stream."""
    ping_seconds: float = 5.0
    """Least pause between two pings of a connection; after three that come sooner it is closed."""
    silent_seconds: float = 60.0
    """Pause after which a silent connection is pinged; one that does not answer within a third of it is closed."""
    on_demand_versions: int = 8
    """Most versions held in memory only because clients named them, over all models."""

    @property
    def quick(self) -> int:
        """Most elements that a call computes without asking for room: all that can be in progress make `computed`."""
        return self.computed // 256


DEFAULT_LIMITS = Limits()
EDGES = ("http2", "grpcio")
DEFAULT_EDGE = "http2" if sys.platform == "linux" else "grpcio"  # ours waits by epoll


@dataclass(frozen=True)
class Tls:
    """Files of a TLS server, PEM."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    """Certificates that sign client certificates. With it every client must show one, and has the operator role."""
    client_optional: bool = False
    """Whether clients may also come without a certificate, and are then who they are by their tokens."""

    def check(self) -> None:
        """Raises InvalidArgumentError where a file cannot be read as what it is to be, or two do not fit together."""
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
    """How a server listens, whom it lets do what, and how it follows the registry."""

    references: tuple[str, ...]
    """What to serve, in MLflow's syntax; the first of a model is its default."""
    address: str = "127.0.0.1:50051"
    """Host and port, port 0 takes a free one; or `unix:PATH`."""
    workers: int = 0
    """Worker processes; 0: one for each core."""
    cache: Path = Path("~/.cache/unroll")
    """Folder for downloaded versions and the last good snapshot."""
    poll_seconds: float = 2.0
    """Pause between two looks at the registry."""
    registry_lock: str = ""
    """URI of the lock that servers of one registry share when they move aliases; empty: a file next to SQLite."""
    drain_seconds: float = 30.0
    """How long calls in progress may take to finish after SIGTERM."""
    require_proof: bool = False
    """Whether versions without a proof are refused."""
    engine: str = ""
    """The engine that is to compute every network, such as `numpy`; empty: the fastest by measurement."""
    wait: bool = False
    """Whether to wait for a registry that does not answer, or a model that is not there yet, instead of giving up."""
    operator_token: str = ""
    """Bearer token of operators; empty: none, and only a loopback address lets callers override."""
    reader_token: str = ""
    """Bearer token that every call must carry; empty: reading and predicting are open."""
    tls: Tls | None = None
    """TLS; None: plain text."""
    limits: Limits = field(default_factory=Limits)
    """Bounds on calls."""
    edge: str = DEFAULT_EDGE
    """What answers on the socket: `http2`, our own, or `grpcio`."""
    connection_age_seconds: float = 0.0
    """Age at which a connection is asked to go, so that clients spread anew; 0: none. Of the edge http2."""
    connection_idle_seconds: float = 0.0
    """Time without a call after which a connection is asked to go; 0: none. Of the edge http2."""
    unary_threads: int = 4
    """Threads of a worker for calls that are not answered at once."""
    metrics_address: str = ""
    """Host and port of metrics over HTTP; empty: none."""
    log_format: str = "auto"
    """How processes log: text, json, or auto: text on a terminal."""
    access_log: str = ""
    """File with a line for each call, `-` for standard output; empty: none."""
    access_log_sample: float = 1.0
    """Share of calls that get a line; those that failed by a fault of the server get one in any case."""
    audit_log: Path | None = None
    """File with a line for each operator call; None: `audit.jsonl` next to the cache."""
    callers_file: Path | None = None
    """File that says who may do what; None: the two tokens and the certificates do."""
    callers: Callers | None = None
    """What that file says, and is in force."""
    webhook_address: str = ""
    """Host and port for MLflow webhooks, hints to poll at once; empty: none."""
    webhook_secret: str = ""
    """Secret that the webhooks are signed with."""


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
