"""`unroll serve`, and the related `unroll health` and `unroll ui`."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import DEFAULT_ADDRESS, connected, console
from service.cli.extras import require
from service.config import DEFAULT_EDGE, DEFAULT_LIMITS, EDGES

if TYPE_CHECKING:
    from service.client import Client
    from service.config import ServerConfig

CANNOT_START, CANNOT_GO_ON = 1, 3  # exit statuses; docs/operations.md has them all
DEFAULT_METRICS = "127.0.0.1:9464"  # the port that OpenTelemetry gives to exporters for Prometheus
OBSERVE = "Observe"
SECURITY, LIMITS, REGISTRY, CONNECTIONS = "Security", "Limits", "Registry", "Connections"


def serve(
    model: Annotated[
        list[str],
        typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; can be repeated.", metavar="REFERENCE"),
    ],
    address: Annotated[
        str, typer.Option(envvar="UNROLL_ADDRESS", help="Address to listen on.", metavar="HOST:PORT")
    ] = DEFAULT_ADDRESS,
    admin_address: Annotated[
        str,
        typer.Option(
            envvar="UNROLL_ADMIN_ADDRESS",
            help="Second address, which alone serves overrides, alias moves, loading and unloading.",
            metavar="HOST:PORT",
            rich_help_panel=SECURITY,
        ),
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0: one for each core.")] = 0,
    cache: Annotated[
        Path, typer.Option(envvar="UNROLL_CACHE", help="Folder for downloaded versions and the last good snapshot.")
    ] = Path("~/.cache/unroll"),
    poll: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two polls of the registry.", rich_help_panel=REGISTRY)
    ] = 2.0,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait for a registry or model that is not available yet.", rich_help_panel=REGISTRY
        ),
    ] = False,
    registry_lock: Annotated[
        str,
        typer.Option(
            envvar="UNROLL_REGISTRY_LOCK",
            help="Lock that servers of the same registry share when they move aliases: postgresql://… or "
            "file:///…; a SQLite registry has its own.",
            metavar="URI",
            rich_help_panel=REGISTRY,
        ),
    ] = "",
    engine: Annotated[
        str,
        typer.Option(
            help="Engine for all networks: numpy, scalar or onnxruntime; default: the fastest for each. With "
            "tensorflow, Keras computes files that the reader does not support; weights and states cannot be seen."
        ),
    ] = "",
    require_proof: Annotated[
        bool, typer.Option("--require-proof", help="Refuse versions without a proof.", rich_help_panel=SECURITY)
    ] = False,
    operator_token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer token of operators (or UNROLL_OPERATOR_TOKEN).", rich_help_panel=SECURITY
        ),
    ] = None,
    reader_token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer token that every call needs (or UNROLL_READER_TOKEN).", rich_help_panel=SECURITY
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate chain of the server.", rich_help_panel=SECURITY)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM private key of the server.", rich_help_panel=SECURITY)
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM certificate authorities of clients; every client needs a certificate, and is an operator.",
            rich_help_panel=SECURITY,
        ),
    ] = None,
    tls_client_optional: Annotated[
        bool,
        typer.Option(
            "--tls-client-optional",
            help="Also serve clients without a certificate (needs --edge http2).",
            rich_help_panel=SECURITY,
        ),
    ] = False,
    drain: Annotated[
        float,
        typer.Option(min=0, help="Seconds that calls in progress may take after SIGTERM.", rich_help_panel=LIMITS),
    ] = 30.0,
    max_message: Annotated[
        int, typer.Option(min=1024, help="Largest message in bytes.", rich_help_panel=LIMITS)
    ] = DEFAULT_LIMITS.message_bytes,
    max_computed: Annotated[
        int,
        typer.Option(
            min=1,
            help="Largest cost of a call: the array elements that all layers compute together.",
            rich_help_panel=LIMITS,
        ),
    ] = DEFAULT_LIMITS.computed,
    max_streams: Annotated[
        int, typer.Option(min=1, help="Largest number of open streams in a worker.", rich_help_panel=LIMITS)
    ] = DEFAULT_LIMITS.streams,
    stream_idle: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds without a message after which a stream ends.", rich_help_panel=LIMITS),
    ] = DEFAULT_LIMITS.stream_idle_seconds,
    overload_after: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds for which many calls must have waited before others are refused; 0: they always wait.",
            rich_help_panel=LIMITS,
        ),
    ] = DEFAULT_LIMITS.overload_seconds,
    edge: Annotated[
        str,
        typer.Option(
            envvar="UNROLL_EDGE",
            help=f"gRPC server to use: {' or '.join(EDGES)}.",
            rich_help_panel=CONNECTIONS,
        ),
    ] = DEFAULT_EDGE,
    max_connection_age: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds after which a client is asked to reconnect, which balances the load; 0: never.",
            rich_help_panel=CONNECTIONS,
        ),
    ] = 0.0,
    max_connection_idle: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds without a call after which a client is asked to disconnect; 0: never.",
            rich_help_panel=CONNECTIONS,
        ),
    ] = 0.0,
    callers: Annotated[
        Path | None,
        typer.Option(
            envvar="UNROLL_CALLERS",
            help="YAML file of callers and their roles; reloaded when it changes.",
            metavar="FILE",
            rich_help_panel=SECURITY,
        ),
    ] = None,
    audit_log: Annotated[
        Path | None,
        typer.Option(
            help="Audit log, a line for each call that changes what is served; default: audit.jsonl in the cache.",
            metavar="FILE",
            rich_help_panel=OBSERVE,
        ),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            envvar="UNROLL_METRICS",
            help="Address for Prometheus and probes (/metrics, /healthz, /readyz), or off.",
            metavar="HOST:PORT",
            rich_help_panel=OBSERVE,
        ),
    ] = DEFAULT_METRICS,
    log_format: Annotated[
        str,
        typer.Option(
            envvar="UNROLL_LOG_FORMAT",
            help="text, json, or auto: text on a terminal, else json.",
            rich_help_panel=OBSERVE,
        ),
    ] = "auto",
    access_log: Annotated[
        str,
        typer.Option(
            help="File with a JSON line for each call; - for standard output.",
            metavar="FILE",
            rich_help_panel=OBSERVE,
        ),
    ] = "",
    access_log_sample: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of calls to log; calls that the server fails are always logged.",
            rich_help_panel=OBSERVE,
        ),
    ] = 1.0,
    webhook: Annotated[
        str,
        typer.Option(
            help="Address to listen on for MLflow webhooks, which trigger a poll.",
            metavar="HOST:PORT",
            rich_help_panel=REGISTRY,
        ),
    ] = "",
) -> None:
    """Serve registered networks over gRPC, and follow their aliases.

    Overriding weights and moving aliases needs the operator role. On a loopback address every caller has it until
    you set up a token or certificates. On any other address no caller has it until then.
    """
    require("serve")
    from registry import location
    from service import logs
    from service.config import Limits, ServerConfig, Tls
    from service.supervisor.observation import read_callers

    if log_format not in logs.FORMATS:
        raise typer.BadParameter(f"no format {log_format!r}; there are: {', '.join(logs.FORMATS)}")
    if (tls_certificate is None) != (tls_key is None) or (tls_client_ca and not tls_key):
        raise typer.BadParameter("--tls-certificate and --tls-key need each other, and --tls-client-ca needs both")
    if tls_client_optional and tls_client_ca is None:
        raise typer.BadParameter("--tls-client-optional needs --tls-client-ca")
    if edge not in EDGES:
        raise typer.BadParameter(f"no edge {edge!r}; there are: {', '.join(EDGES)}", param_hint="--edge")
    if edge != "http2" and (tls_client_optional or max_connection_age or max_connection_idle):
        raise typer.BadParameter(
            "--tls-client-optional, --max-connection-age and --max-connection-idle need --edge http2"
        )

    def configure() -> ServerConfig:
        """The configuration, with what the files of tokens hold now."""
        return ServerConfig(
            references=tuple(model),
            address=address,
            admin_address=admin_address,
            workers=workers,
            cache=cache.expanduser(),
            poll_seconds=poll,
            registry_lock=registry_lock,
            drain_seconds=drain,
            require_proof=require_proof,
            engine=engine,
            wait=wait,
            operator_token=_secret(operator_token_file, "UNROLL_OPERATOR_TOKEN"),
            reader_token=_secret(reader_token_file, "UNROLL_READER_TOKEN"),
            tls=Tls(tls_certificate, tls_key, tls_client_ca, tls_client_optional)
            if tls_certificate and tls_key
            else None,
            limits=Limits(
                message_bytes=max_message,
                computed=max_computed,
                streams=max_streams,
                stream_idle_seconds=stream_idle,
                overload_seconds=overload_after,
            ),
            edge=edge,
            connection_age_seconds=max_connection_age,
            connection_idle_seconds=max_connection_idle,
            metrics_address="" if metrics == "off" else metrics,
            log_format=log_format,
            access_log=access_log,
            access_log_sample=access_log_sample,
            audit_log=audit_log,
            callers_file=callers,
            callers=read_callers(callers) if callers else None,
            webhook_address=webhook,
            webhook_secret=os.environ.get("UNROLL_WEBHOOK_SECRET", ""),
        )

    location.check_installed()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    logs.configure("supervisor", form=log_format)
    status = _run(configure)
    # A thread that waits for the registry may hold locks (h5py's) which the interpreter would wait for at its end.
    logging.shutdown()
    os._exit(status)


@connected
def health(
    service: Annotated[str, typer.Argument(help="Service to check; default: the whole server.")] = "",
    *,
    client: "Client",
) -> None:
    """Show whether a server serves, and what. Exits with 0 only if it serves: a probe for containers."""
    from service.errors import NotFoundError, PermissionDeniedError, UnauthenticatedError

    serving = client.health(service)
    console.print("SERVING" if serving else "NOT_SERVING")
    try:
        if not client.health("callers"):
            console.print("callers: the file has an error, and an earlier one is in force; the server's log has it")
    except NotFoundError:  # there is no such file
        pass
    try:
        models = list(client.models()) if serving else []
    except (PermissionDeniedError, UnauthenticatedError) as error:
        console.print(f"what is served: {error}")
        models = []
    for model in models:
        console.print(f"{model.name} version {model.default_version}: {model.stale_reason or 'as the registry says'}")
    if not serving:
        raise typer.Exit(1)


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
) -> None:
    """Open MLflow's web interface on the registry that the other commands use."""
    require("local")
    from registry.store import ui_command

    command = ui_command(host, port)
    os.execvp(command[0], command)  # noqa: S606  # MLflow's own server takes this process over


def _run(configure: "Callable[[], ServerConfig]") -> int:
    """Runs a server until its end; gives the exit status."""
    from registry.errors import RegistryError
    from service.errors import ServiceError
    from service.supervisor.supervisor import Supervisor

    try:
        Supervisor(configure()).run(configure)
    except Exception as error:
        print(f"unroll: {error}", file=sys.stderr)
        return CANNOT_START if isinstance(error, ServiceError | RegistryError | OSError) else CANNOT_GO_ON
    return 0


def _secret(path: Path | None, variable: str) -> str:
    """A secret from a file, else from the environment. Raises InvalidArgumentError, OSError."""
    from service.errors import InvalidArgumentError

    if path is None:
        return os.environ.get(variable, "")
    try:
        secret = path.read_text().strip()
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{path} is not text") from None
    if not secret:
        raise InvalidArgumentError(f"{path} is empty")
    return secret
