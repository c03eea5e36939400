"""The JSON API of the page: its routes, the bounds of its requests, and errors as statuses."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from service.client import Client
from service.errors import (
    CancelledError,
    ConflictError,
    InvalidArgumentError,
    LimitExceededError,
    ModelError,
    NotFoundError,
    NotReadyError,
    NotSupportedError,
    PermissionDeniedError,
    ServiceError,
    TimeLimitError,
    UnauthenticatedError,
    UnavailableError,
)
from service.web import plain, questions

MOST_BODY_BYTES = 16 << 20

# The first that fits counts. 401 is left to the key of the page itself: what the server refuses is 403 here.
STATUSES: tuple[tuple[type[ServiceError], int], ...] = (
    (InvalidArgumentError, 400),
    (UnauthenticatedError, 403),
    (PermissionDeniedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (NotReadyError, 412),
    (ModelError, 422),
    (LimitExceededError, 413),
    (CancelledError, 499),
    (NotSupportedError, 501),
    (UnavailableError, 503),
    (TimeLimitError, 504),
)

Handler = Callable[[Client, Mapping[str, Any]], Any]


def routes() -> list[Route]:
    """The routes, for a place of their own such as `/api`."""
    reading = {
        "/models": questions.models,
        "/versions": questions.versions,
        "/examples": questions.examples,
        "/weights": questions.weights,
        "/compare": questions.compare,
    }
    asking = {
        "/predict": questions.predict,
        "/trace": questions.trace,
        "/play": questions.play,
        "/attribute": questions.attribute,
        "/gradients": questions.gradients,
        "/memory": questions.memory,
        "/dynamics": questions.dynamics,
    }
    changing = {"/override": questions.override, "/serve": questions.serve}
    return [
        Route("/state", state),
        Route("/watch", watch),
        *(Route(path, _reading(handler)) for path, handler in reading.items()),
        *(Route(path, _asking(handler), methods=["POST"]) for path, handler in asking.items()),
        *(Route(path, _asking(handler, changes=True), methods=["POST"]) for path, handler in changing.items()),
    ]


async def state(request: Request) -> Response:
    """The server that is asked, who the page is to it, and what the page may do; also while the server is away."""
    client, settings = request.app.state.client, request.app.state.settings
    found: dict[str, Any] = {"address": client.address, "read_only": settings.read_only}
    try:
        found |= {"connected": True, "server": plain.message(await run_in_threadpool(client.server))}
    except ServiceError as error:
        found |= {"connected": False, "error": error.message}
    return JSONResponse(found)


async def watch(request: Request) -> Response:
    """The changes of a model as server-sent events."""
    events = request.app.state.watches.read(request.query_params.get("model", ""))
    return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def failure(error: ServiceError) -> JSONResponse:
    """An error as the page reads it."""
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 502)
    return JSONResponse(
        {"error": type(error).reason(), "message": error.message, "field": error.field, "details": error.details},
        status,
    )


def _reading(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        return await _answer(request, handler, request.query_params)

    return run


def _asking(handler: Handler, *, changes: bool = False) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        if changes and request.app.state.settings.read_only:
            return failure(PermissionDeniedError("this page was started with --read-only"))
        try:
            document = plain.read_object(await _body(request))
        except ServiceError as error:
            return failure(error)
        return await _answer(request, handler, document)

    return run


async def _answer(request: Request, handler: Handler, asked: Mapping[str, Any]) -> Response:
    try:
        return JSONResponse(await run_in_threadpool(handler, request.app.state.client, asked))
    except ServiceError as error:
        return failure(error)


async def _body(request: Request) -> bytes:
    """The body of a request. Raises LimitExceededError as soon as it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise LimitExceededError(
                f"the body has more than {MOST_BODY_BYTES} bytes", limit=MOST_BODY_BYTES, actual=len(body)
            )
    return bytes(body)
