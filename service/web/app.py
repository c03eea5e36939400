"""The web application: what it serves under which path, and what is checked before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from service.client import Client
from service.errors import ServiceError
from service.web import api
from service.web.rest.routes import Rest
from service.web.rest.upstream import Upstream
from service.web.safety import BoundHeaders, OwnPage
from service.web.watching import Watches

STATIC = Path(__file__).parent / "static"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Settings:
    """How the application behaves, beyond the server that it asks."""

    hosts: tuple[str, ...] = LOOPBACK
    """Names that a request may have in its header Host, without the port. Any other name is refused: it may be a name
    that an attacker lets resolve to this machine (DNS rebinding)."""
    key: str = ""
    """What a person has to know to use the page; empty: nothing."""
    read_only: bool = False
    """Whether everything that changes what the server serves is refused here, whatever the server would allow."""
    exposed: bool = False
    """Whether other machines reach the application."""


def create_app(client: Client, settings: Settings = Settings()) -> Starlette:
    """The application, which asks the server of `client`.

    Handlers find both arguments in `request.app.state`. Handlers that are no coroutines run in threads, and may block.
    """
    checked: list[BaseRoute] = [
        Route("/", index),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount("/api", routes=api.routes()),
    ]
    server = Upstream(client)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        server.close()

    app = Starlette(
        middleware=[Middleware(BoundHeaders)],
        lifespan=lifespan,
        routes=[
            # Probes come under any name, such as the address of a container, and tell nothing that is worth hiding.
            Route("/healthz", healthy),
            Route("/readyz", ready),
            *Rest(server, settings).routes(),  # for programs: with checks of its own
            Mount(
                "/",
                routes=checked,
                middleware=[
                    Middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False),
                    Middleware(OwnPage, key=settings.key),
                ],
            ),
        ],
    )
    app.state.client = client
    app.state.settings = settings
    app.state.watches = Watches(client)
    return app


def index(_: Request) -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


def healthy(_: Request) -> PlainTextResponse:
    """That this process answers."""
    return PlainTextResponse("ok\n")


def ready(request: Request) -> PlainTextResponse:
    """Whether the server that it asks serves: 200, or 503 with what is the matter."""
    try:
        serving = request.app.state.client.health()
    except ServiceError as error:
        return PlainTextResponse(f"{error}\n", 503)
    return PlainTextResponse("ok\n") if serving else PlainTextResponse("the server does not serve\n", 503)
