"""`unroll page`: a web page and the standard REST protocol, for a server that runs anywhere."""

import os
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import connected
from service.cli.extras import require

if TYPE_CHECKING:
    from service.client import Client

DEFAULT_LISTEN = "127.0.0.1:5001"


@connected
def page(
    listen: Annotated[
        str, typer.Option(envvar="UNROLL_PAGE", help="Address to listen on.", metavar="HOST:PORT")
    ] = DEFAULT_LISTEN,
    page_key_file: Annotated[
        str,
        typer.Option(
            help="File with the key of the page (or UNROLL_PAGE_KEY); default on a loopback address: a random one.",
            metavar="FILE",
        ),
    ] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A further name under which browsers may find the page; can be repeated.", metavar="NAME"),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse everything that changes the server.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    *,
    client: "Client",
) -> None:
    """Show a server's networks on a web page, and answer the standard REST protocol, until Ctrl-C.

    The page is a client like any other: it asks the server with the credentials given here. Only a browser that was
    opened with the printed address, which holds a key, may use it.
    """
    require("page")
    from service.edge.access import is_loopback
    from service.web import http
    from service.web.app import LOOPBACK, Settings, create_app

    key = _key(listen, page_key_file)
    hosts = (*LOOPBACK, *(host or os.environ.get("UNROLL_PAGE_HOSTS", "").split()))
    with http.listen(listen) as listening:
        settings = Settings(hosts=hosts, key=key, read_only=read_only, exposed=not is_loopback(listen))
        server = http.http_server(create_app(client, settings))
        url = f"{http.url(listening)}?key={key}"
        typer.echo(f"page of {client.address} on {url}")  # on one line, however narrow the terminal is
        if open_browser:
            webbrowser.open(url)  # it waits for the answer: what listens keeps its request
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _key(listen: str, file: str) -> str:
    """The key of the page: one that the operator chose, else a random one.

    Raises InvalidArgumentError where other machines reach the page and nobody chose a key, OSError for a file that
    cannot be read.
    """
    from service.edge.access import is_loopback
    from service.errors import InvalidArgumentError
    from service.web import safety

    chosen = Path(file).read_text().strip() if file else os.environ.get("UNROLL_PAGE_KEY", "")
    if chosen or file:
        return safety.checked_key(chosen)
    if not is_loopback(listen):
        raise InvalidArgumentError(
            f"--listen {listen}: other machines reach this address, so the page needs a key that you choose: "
            "--page-key-file or UNROLL_PAGE_KEY"
        )
    return safety.new_key()
