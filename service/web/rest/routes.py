"""The paths of the protocol, and what is checked before a handler is asked."""

import json
from collections.abc import Callable
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import CancelledError, InvalidArgumentError, PermissionDeniedError, ServiceError
from service.web.rest import handlers
from service.web.rest.answers import Answer, Asked, failed
from service.web.rest.bodies import Bodies, compressed
from service.web.rest.upstream import Upstream

MOST_CALLS = 32  # that wait for the server, or compute what goes there and comes back
LARGE = 1024 * 1024  # bytes of a body, beyond which a call waits for those of its kind, and takes no place of others
MOST_LARGE = 2
Handler = Callable[[Upstream, Asked], Answer]
MODEL = "/v2/models/{model}"
# Path, method, handler, and whether it changes what others are served.
PATHS: tuple[tuple[str, str, Handler, bool], ...] = (
    ("/v2", "GET", handlers.metadata, False),
    ("/v2/health/live", "GET", handlers.live, False),
    ("/v2/health/ready", "GET", handlers.ready, False),
    ("/v2/models/stats", "GET", handlers.statistics, False),
    *(
        (f"{path}{rest}", method, handler, False)
        for path in (MODEL, f"{MODEL}/versions/{{version}}")
        for rest, method, handler in (
            ("", "GET", handlers.model_metadata),
            ("/ready", "GET", handlers.model_ready),
            ("/config", "GET", handlers.config),
            ("/stats", "GET", handlers.statistics),
            ("/infer", "POST", handlers.infer),
        )
    ),
    *((f"/v2/repository{name}/index", "POST", handlers.index, False) for name in ("", "/{repository}")),
    ("/v2/repository/models/{model}/load", "POST", handlers.load, True),
    ("/v2/repository/models/{model}/unload", "POST", handlers.unload, True),
    *(
        (path, method, handler, method == "POST")
        for method in ("GET", "POST")
        for path, handler in (
            ("/v2/trace/setting", handlers.trace_settings),
            (f"{MODEL}/trace/setting", handlers.trace_settings),
            ("/v2/logging", handlers.log_settings),
            ("/v2/systemsharedmemory/{rest:path}", handlers.system_memory),
            ("/v2/cudasharedmemory/{rest:path}", handlers.cuda_memory),
        )
    ),
)


class Rules(Protocol):
    """What an operator decided: `service.web.app.Settings`."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names under which requests may come."""

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""

    @property
    def exposed(self) -> bool:
        """Whether other machines reach us."""


class Rest:
    """The protocol, for one server. `routes` go into an application."""

    def __init__(self, server: Upstream, rules: Rules) -> None:
        self._server = server
        self._rules = rules
        self._bodies = Bodies()
        self._calls = anyio.CapacityLimiter(MOST_CALLS)
        self._large = anyio.CapacityLimiter(MOST_LARGE)

    def routes(self) -> list[Route]:
        """All paths that begin with /v2."""
        named = [
            Route(path, partial(self._answer, handler, changes), methods=[method])
            for path, method, handler, changes in PATHS
        ]
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return [*named, Route("/v2/{rest:path}", partial(self._answer, handlers.unknown, False), methods=every)]

    async def _answer(self, handler: Handler, changes: bool, request: Request) -> Response:
        try:
            self._check(request, changes)
            async with self._bodies.read(request) as body:
                asked = Asked(request.path_params, request.headers, body)
                limiter = self._large if len(body) > LARGE else self._calls
                return await unless_left(request, asked, partial(self._respond, handler, asked), limiter)
        except ServiceError as error:
            return response(failed(error))

    def _respond(self, handler: Handler, asked: Asked) -> Response:
        """In a thread: asks the server, and writes what it says."""
        try:
            if self._rules.exposed:
                self._server.check_distrusting()
            return response(handler(self._server, asked), asked.headers.get("accept-encoding", ""))
        except ServiceError as error:
            return response(failed(error))

    def _check(self, request: Request, changes: bool) -> None:
        """Raises for what a browser sends on behalf of another site, under any name; and for changes, if none may be.

        These paths are for programs, which have no cookies: whoever they are, they say in a header that no other site
        can set.
        """
        host = request.headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            name = None
        if name not in {known.strip("[]").lower() for known in self._rules.hosts}:
            raise InvalidArgumentError(f"the header Host: {host[:80]!r} is not a name of this server; see --host")
        origin = request.headers.get("origin")
        if origin is not None and origin != f"{request.url.scheme}://{host}":
            raise PermissionDeniedError("the header Origin: requests of other sites are refused")
        if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            raise PermissionDeniedError("the header Sec-Fetch-Site: requests of other sites are refused")
        if changes and self._rules.read_only:
            raise PermissionDeniedError("this address is read-only")


async def unless_left(
    request: Request, asked: Asked, respond: Callable[[], Response], limiter: anyio.CapacityLimiter
) -> Response:
    """The answer of `respond`, which runs in a thread, unless the caller leaves meanwhile: then nobody reads it."""
    answer = response(failed(CancelledError("the caller has left")))
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            # Its body has been read: what else comes of a request is that its connection is closed.
            while (await request.receive())["type"] != "http.disconnect":
                pass
            asked.leaving.leave()
            group.cancel_scope.cancel()  # ends the wait for a place among the calls; a thread ends with its call

        group.start_soon(watch)
        answer = await to_thread.run_sync(respond, limiter=limiter)
        group.cancel_scope.cancel()
    return answer


def response(answer: Answer, accepted: str = "") -> Response:
    """An answer in HTTP; `accepted` is the header Accept-Encoding of the request."""
    document = json.dumps(answer.document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    headers = dict(answer.headers)
    kind = "application/json"
    if answer.tensors:
        headers["inference-header-content-length"] = str(len(document))
        kind = "application/octet-stream"
    body, encoding = compressed(b"".join((document, *answer.tensors)), accepted if answer.inference else "")
    if encoding:
        headers["content-encoding"] = encoding
    return Response(body, answer.status, headers, media_type=kind)
