"""`unroll page`: a web page and the standard REST protocol, for a server that runs anywhere."""

import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import connected, console
from service.cli.extras import require

if TYPE_CHECKING:
    from service.client import Client

DEFAULT_LISTEN = "127.0.0.1:5001"


@connected
def page(
    listen: Annotated[
        str, typer.Option(envvar="UNROLL_PAGE", help="Address to listen on.", metavar="HOST:PORT")
    ] = DEFAULT_LISTEN,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse everything that changes the server.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    *,
    client: "Client",
) -> None:
    """Show a server's networks on a web page, and answer the standard REST protocol, until Ctrl-C.

    The page is a client like any other: it asks the server with the credentials given here.
    """
    require("page")
    from service.web import http
    from service.web.app import Settings, create_app

    with http.listen(listen) as listening:
        server = http.http_server(create_app(client, Settings(read_only=read_only)))
        console.print(f"page of {client.address} on {http.url(listening)}", highlight=False)
        if open_browser:
            webbrowser.open(http.url(listening))  # it waits for the answer: what listens keeps its request
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
