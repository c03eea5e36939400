"""The port for MLflow webhooks. A webhook only makes the server look at the registry; its content is not trusted."""

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler

from service.errors import InvalidArgumentError, UnauthenticatedError
from service.supervisor.http import BoundedHTTPServer

WINDOW_SECONDS = 300.0  # how far a webhook's clock may be from ours
REMEMBERED = 10_000  # deliveries, to tell a repeated one
LARGEST_BODY = 1024 * 1024

logger = logging.getLogger(__name__)


class Verifier:
    """Tells webhooks of our MLflow server from everything else that reaches the port."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()  # guards _seen

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Checks the signature, HMAC-SHA256 over `delivery id.timestamp.body`, its age, and that it is new.

        Raises UnauthenticatedError.
        """
        delivery = headers.get("X-MLflow-Delivery-Id", "")
        stamp = headers.get("X-MLflow-Timestamp", "")
        signed = f"{delivery}.{stamp}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()
        if not hmac.compare_digest(expected.encode(), headers.get("X-MLflow-Signature", "").encode()):
            raise UnauthenticatedError("the signature is wrong")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12) or abs(now - int(stamp)) > WINDOW_SECONDS:
            raise UnauthenticatedError("the timestamp is too far from now")
        with self._lock:
            if delivery in self._seen:
                raise UnauthenticatedError("this delivery was seen before")
            self._seen[delivery] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)


def listen(address: str, secret: str, hint: Callable[[], None]) -> BoundedHTTPServer:
    """Listens until the server that is returned is closed; calls `hint` for each webhook that is genuine.

    Raises InvalidArgumentError without a secret, OSError where the port is taken.
    """
    if not secret:
        raise InvalidArgumentError("webhooks need the secret they are signed with: set UNROLL_WEBHOOK_SECRET")
    verifier = Verifier(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and len(length) <= 9) or int(length) > LARGEST_BODY:
                self._answer(413)
                return
            try:
                verifier.verify(self.headers, self.rfile.read(int(length)), time.time())  # type: ignore[arg-type]  # a Message reads like a mapping
            except UnauthenticatedError as error:
                logger.warning("webhook refused: %s", error)
                self._answer(401)
                return
            hint()
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            """Keeps http.server from writing a line for each request."""

    server = BoundedHTTPServer(address, Handler)
    server.start("webhooks")
    return server
