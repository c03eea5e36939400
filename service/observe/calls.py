"""Observers of calls: the access log, the audit, and the trailing metadata that callers ask for.

The observers of service.edge.calls, which knows none of them.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

from service.observe.counts import CODES

if TYPE_CHECKING:
    from service.edge.calls import ServedCall
    from service.edge.methods import Method
    from service.model.results import Shared

REQUEST_ID = "x-request-id"

logger = logging.getLogger(__name__)

_encoded = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


class Done(NamedTuple):
    """What a call computed, or the last message of a stream; as handlers leave it in `call.inference`."""

    model: str
    version: str
    batch: int
    timesteps: int
    queue_ns: int
    compute_ns: int
    asked: int  # when it was ready to compute; time.perf_counter_ns()
    computed: int  # when that was done
    shared: "Shared | None"  # the forward pass, where others may have been in it

    @classmethod
    def of(cls, inference: tuple[Any, ...]) -> Self:
        """What a handler left there."""
        (model, version), (batch, *others), queue_ns, compute_ns, asked, computed, shared = inference
        timesteps = others[0] if others else 0  # a network without time has none
        return cls(model, version, batch, timesteps, queue_ns, compute_ns, asked, computed, shared)


NOTHING = (None,) * len(Done._fields)  # of calls that computed nothing


class Answering:
    """Tells callers that sent a request id what became of the call: the id, the version, where the time went."""

    header, share, faults = REQUEST_ID, 0.0, False

    def watches(self, method: "Method | None") -> bool:
        """No others."""
        return False

    def began(self, call: "ServedCall") -> None:
        """Nothing yet."""

    def ended(self, call: "ServedCall") -> None:
        """Adds to the trailing metadata."""
        done = call.inference
        if done is None:
            call.trailing = (*call.trailing, (REQUEST_ID, call.id()))
            return
        key, _, queue_ns, compute_ns, *_ = done  # to make a `Done` takes longer than all that is told
        told = _told(key, queue_ns // 1000, compute_ns // 1000)
        call.trailing = (*call.trailing, (REQUEST_ID, call.id()), *told)


@lru_cache(4096)  # most small calls take one of few numbers of microseconds
def _told(key: tuple[str, str], queue_us: int, compute_us: int) -> tuple[tuple[str, str], ...]:
    """What became of a call, as trailing metadata."""
    model, version = key
    timing = f"queue;dur={queue_us / 1000}, compute;dur={compute_us / 1000}"
    return ("unroll-version", f"models:/{quote(model)}/{version}"), ("server-timing", timing)


class AccessLog:
    """One JSON line for a call: a sample of all, and each that failed by no fault of its client."""

    header, faults = "", True

    def __init__(self, place: str, sample: float) -> None:
        """`place` is a file, or `-` for standard output; `sample` the share of calls. Raises OSError."""
        self.share = sample
        self._failing = False
        if place == "-":
            self._descriptor = sys.stdout.fileno()
        else:
            self._descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def watches(self, method: "Method | None") -> bool:
        """All or none of them."""
        return self.share >= 1.0

    def began(self, call: "ServedCall") -> None:
        """Nothing yet."""

    def ended(self, call: "ServedCall") -> None:
        """Writes the line."""
        line = _encoded(access_record(call)).encode() + b"\n"
        try:
            os.write(self._descriptor, line)  # in one piece, so that lines of several workers do not mix
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.error("the access log cannot be written: %s", error)
            self._failing = True


def access_record(call: "ServedCall") -> dict[str, Any]:
    """What the access log says of a call: never what it carried, nor what the caller proved itself with."""
    model, version, batch, timesteps, queue_ns, *_ = Done.of(call.inference) if call.inference else NOTHING
    error = call.error
    return {
        "time": now(),
        "request_id": call.id(),
        "trace_id": call.trace_id,
        "method": call.path if call.method is not None else "unknown",
        "code": CODES[call.code or 0],
        "ms": round((call.ended - call.began) / 1e6, 3),
        "queue_ms": round(queue_ns / 1e6, 3) if queue_ns is not None else None,
        "model": model,
        "version": version,
        "batch": batch,
        "timesteps": timesteps,
        "request_bytes": call.request_bytes,
        "response_bytes": call.response_bytes,
        "caller": call.who.name,
        "peer": call.peer(),
        "error": str(error)[:500] if error is not None else None,
    }


class Auditing:
    """Sends a record of each call that changes, or would change, what others are served."""

    header, share, faults = "", 0.0, False

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send

    def watches(self, method: "Method | None") -> bool:
        """Those of operators' methods."""
        return method is not None and method.operates

    def began(self, call: "ServedCall") -> None:
        """Nothing yet."""

    def ended(self, call: "ServedCall") -> None:
        """Sends the record."""
        with suppress(OSError):  # the supervisor is gone, and this worker with it
            self._send(audit_record(call))


def audit_record(call: "ServedCall") -> dict[str, Any]:
    """Who asked for what, and what came of it; digests are the supervisor's to add."""
    assert call.method is not None
    refused = call.code in (7, 16)  # PermissionDenied, Unauthenticated
    return {
        "time": now(),
        "request_id": call.id(),
        "caller": call.who.name,
        "how": call.who.how,
        "peer": call.peer(),
        "role": call.method.role.value,
        "action": call.method.path.rpartition("/")[2],
        **_asked(call.request),
        **_done(call.response),
        "result": "ok" if not call.code else "refused" if refused else "failed",
        "code": CODES[call.code or 0],
        "error": str(call.error)[:500] if call.error is not None else None,
    }


def _asked(request: Any) -> dict[str, Any]:
    """What a request says of these, under the names of the audit; texts are cut."""
    found: dict[str, Any] = {}
    for name, fields in (
        ("claims", ("actor",)), ("model", ("model", "model_name")), ("alias", ("alias",)),
        ("from_version", ("expected_version",)), ("to_version", ("version",)), ("reason", ("reason",)),
    ):  # fmt: skip
        for field in fields:
            if request is not None and (value := getattr(request, field, "")):
                found[name] = str(value)[:500]
    changes = getattr(request, "changes", None)
    if changes:
        found["changed_weights"] = sorted({change.weight[:200] for change in changes})[:100]
    return found


def _done(response: Any) -> dict[str, Any]:
    """What an answer adds: the version that was made or taken."""
    found: dict[str, Any] = {}
    for name, field in (
        ("model", "model"), ("alias", "alias"), ("from_version", "previous_version"), ("from_version", "base_version"),
        ("to_version", "version"), ("to_digest", "digest"),
    ):  # fmt: skip
        if response is not None and (value := getattr(response, field, "")):
            found[name] = value
    return found


def now() -> str:
    """The time in UTC, as logs have it."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1_000)
    return f"{_second(seconds)}.{milliseconds:03}Z"


@lru_cache(4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
