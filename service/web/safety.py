"""Who may use the page: a key that becomes a cookie, requests of the page itself only, and headers that bind browsers.

A browser sends requests for any site that it has open. What keeps other sites out: they cannot read the cookie, which
SameSite=Strict keeps out of their requests; a POST has to name our own origin and to be JSON, which no form can send;
and the header Host is checked (service.web.app), so that no name of theirs leads here.
"""

import hashlib
import hmac
import secrets
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InvalidArgumentError

SHORTEST_KEY = 16  # characters of a key that somebody chose
BOUND = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LOCKED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Unroll</title></head><body><main>
<h1>This page needs its key</h1><p>Open the address that <code>unroll page</code> printed when it started: it ends in
<code>?key=…</code>. The key changes whenever the page is started anew, unless the operator gave it one.</p>
</main></body></html>"""


def new_key() -> str:
    """A key that nobody can guess."""
    return secrets.token_urlsafe(24)


def checked_key(key: str) -> str:
    """A key that somebody chose. Raises InvalidArgumentError where it could be guessed, or does not fit into a URL."""
    if len(key) < SHORTEST_KEY or not all(c.isascii() and (c.isalnum() or c in "-_.~") for c in key):
        raise InvalidArgumentError(
            f"the key of the page: expected at least {SHORTEST_KEY} letters, digits, - and _; `openssl rand -hex 24` "
            "makes one"
        )
    return key


class BoundHeaders:
    """Adds to every answer what browsers are told about it. As middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on."""

        async def bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in BOUND.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        await self.app(scope, receive, bound)


class OwnPage:
    """Lets only requests of this page through to the API, and only people with the key to the page.

    As middleware; `key` empty lets everybody in, for tests of what lies behind.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        digest = hashlib.sha256(key.encode()).hexdigest()
        # Cookies do not know ports: pages of several servers on one machine must not overwrite each other's.
        self._name, self._value = f"unroll-{digest[:12]}", digest[12:]
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or hands it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and shown:
                secure = "; Secure" if scope["scheme"] == "https" else ""
                cookie = f"{self._name}={self._value}; HttpOnly; SameSite=Strict; Path=/{secure}"
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        headers, path = Headers(scope=scope), scope["path"]
        shown = path == "/" and self._shows_key(scope)
        refusal = None if path.startswith("/static/") else self._refusal(headers, path, scope["method"], shown=shown)
        await (refusal or self.app)(scope, receive, with_cookie)

    def _refusal(self, headers: Headers, path: str, method: str, *, shown: bool) -> Response | None:
        """What a request that may not pass gets."""
        if not shown and not self._has_cookie(headers):
            if not path.startswith("/api/"):
                return HTMLResponse(LOCKED, 401)
            return _refused(401, "KEY", "Open the address that `unroll page` printed: it ends in ?key=…")
        if method in ("GET", "HEAD"):
            return None
        origin = urlsplit(headers.get("origin", ""))
        if origin.scheme not in ("http", "https") or origin.netloc != headers.get("host"):
            return _refused(403, "ORIGIN", "only this page itself may ask this")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refused(415, "CONTENT_TYPE", "content-type: expected application/json")
        return None

    def _shows_key(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        return bool(given) and hmac.compare_digest(given.encode(), self._key.encode())

    def _has_cookie(self, headers: Headers) -> bool:
        given = cookie_parser(headers.get("cookie", "")).get(self._name, "")
        return not self._key or hmac.compare_digest(given.encode(), self._value.encode())


def _refused(status: int, reason: str, message: str) -> JSONResponse:
    return JSONResponse({"error": reason, "message": message}, status)
