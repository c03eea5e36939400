"""service.supervisor.webhook: hints from MLflow, and what only looks like them."""

import base64
import hashlib
import hmac
import threading
import time
import urllib.error
import urllib.request

import pytest

from service.errors import InvalidArgumentError, UnauthenticatedError
from service.supervisor.webhook import LARGEST_BODY, WINDOW_SECONDS, Verifier, listen

NOW = 1_800_000_000


def signed(body=b"{}", *, secret="s", delivery="d1", stamp=NOW):
    text = f"{delivery}.{stamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()
    return {
        "X-MLflow-Signature": f"v1,{signature}",
        "X-MLflow-Timestamp": str(stamp),
        "X-MLflow-Delivery-Id": delivery,
    }


def test_genuine():
    """What MLflow signs is accepted, as its own code signs it."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    headers = signed(b'{"a":1}')
    assert headers["X-MLflow-Signature"] == _generate_hmac_signature("s", "d1", str(NOW), '{"a":1}')
    Verifier("s").verify(headers, b'{"a":1}', NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(secret="other"),
        signed(b"[]"),
        signed() | {"X-MLflow-Delivery-Id": "d2"},
        signed(stamp=NOW - WINDOW_SECONDS - 1),
        signed(stamp=NOW + WINDOW_SECONDS + 1),
        signed(stamp="soon"),
        signed(stamp="9" * 5000),
    ],
    ids=["none", "secret", "body", "delivery", "old", "future", "no number", "huge"],
)
def test_not_genuine(headers):
    """Another secret, body, delivery or time is refused."""
    with pytest.raises(UnauthenticatedError):
        Verifier("s").verify(headers, b"{}", NOW)


def test_repeated():
    """A delivery counts once."""
    verifier = Verifier("s")
    verifier.verify(signed(), b"{}", NOW)
    with pytest.raises(UnauthenticatedError, match="before"):
        verifier.verify(signed(), b"{}", NOW)
    verifier.verify(signed(delivery="d2"), b"{}", NOW)


def test_over_http():
    """A genuine webhook hints; others get a status and hint nothing."""
    hints = threading.Semaphore(0)
    server = listen("127.0.0.1:0", "s", hints.release)

    def post(body, headers):
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    try:
        now = int(time.time())
        assert post(b"{}", signed(stamp=now)) == 204
        assert hints.acquire(timeout=10)
        assert post(b"{}", signed(stamp=now)) == 401
        assert post(b"{}", {}) == 401
        assert post(b"{}", {"Content-Length": str(LARGEST_BODY + 1)}) == 413
        assert not hints.acquire(blocking=False)
    finally:
        server.close()


def test_no_secret():
    """Webhooks without a secret to check them by are not listened for."""
    with pytest.raises(InvalidArgumentError, match="UNROLL_WEBHOOK_SECRET"):
        listen("127.0.0.1:0", "", lambda: None)
