"""Counters of the calls of a worker: each thread has cells of its own, which are added up when metrics are read.

A call costs two look-ups and a few additions: nothing is shared between threads, so nothing is locked.
"""

import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol

from service.errors import LimitExceededError, TimeLimitError
from service.observe.samples import SampleKey, Samples, plus
from service.observe.table import METRICS

if TYPE_CHECKING:
    from service.edge.calls import ServedCall

CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip  # by number, as Go writes them
PERMISSION_DENIED, UNAUTHENTICATED = 7, 16
BUCKETS = METRICS["grpc_server_handling_seconds"].buckets
# Places in a cell.
STARTED, RECEIVED, SENT, SECONDS = range(4)
FIRST_CODE = 4
FIRST_BUCKET = FIRST_CODE + len(CODES)
EMPTY = [0.0] * (FIRST_BUCKET + len(BUCKETS) + 1)
BOUNDS = ("computed", "calls_per_second", "queue")  # that are counted by their names


class Countable(Protocol):
    """What is counted of a method."""

    @property
    def path(self) -> str:
        """/package.Service/Method."""

    @property
    def request_streams(self) -> bool:
        """Whether the client sends several messages."""

    @property
    def response_streams(self) -> bool:
        """Whether the server does."""


class CallCounts:
    """Counts the calls of one process, and what bounds refused. An observer, as `service.edge.calls` has them."""

    header, share, faults = "", 0.0, False

    def __init__(self) -> None:
        self._here = threading.local()  # .cells of the thread: by path
        self._threads: list[dict[str, list[float]]] = []  # the cells of all threads, those that ended included
        self._refusing = threading.Lock()  # guards the next
        self._refused: dict[str, float] = {}

    def watches(self, method: Countable | None) -> bool:
        """All of them."""
        return True

    def began(self, call: "ServedCall") -> None:
        """A call begins."""
        try:
            self._here.cells[call.method.path][STARTED] += 1  # type: ignore[union-attr]  # None: as below
        except (AttributeError, KeyError):
            self._cell(call.method)[STARTED] += 1

    def ended(self, call: "ServedCall") -> None:
        """A call has its status; on the thread on which it began or another."""
        try:
            cell = self._here.cells[call.method.path]  # type: ignore[union-attr]  # a call of no method is made one
        except (AttributeError, KeyError):
            cell = self._cell(call.method)
        seconds = (call.ended - call.began) * 1e-9
        cell[FIRST_CODE + (call.code or 0)] += 1
        cell[FIRST_BUCKET + bisect_left(BUCKETS, seconds)] += 1
        cell[SECONDS] += seconds
        cell[RECEIVED] += call.requests
        cell[SENT] += call.responses
        if call.error is not None:
            self._failed(call.error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, LimitExceededError):
            bound = error.details.get("bound", "")
            limit = "open_streams" if bound.startswith("open_streams") else bound if bound in BOUNDS else "other"
        elif isinstance(error, TimeLimitError):
            limit = "time"
        else:
            return
        with self._refusing:
            self._refused[limit] = self._refused.get(limit, 0.0) + 1

    def refused(self) -> Samples:
        """What bounds refused, by their names."""
        with self._refusing:
            return {("unroll_refused_total", (limit,)): number for limit, number in self._refused.items()}

    def _cell(self, method: Countable | None) -> list[float]:
        path = method.path if method is not None else ""
        cells = getattr(self._here, "cells", None)
        if cells is None:
            cells = self._here.cells = {}
            self._threads.append(cells)
        return cells.setdefault(path, list(EMPTY))  # type: ignore[no-any-return]  # a local's attributes have no types

    def by_path(self) -> dict[str, list[float]]:
        """One cell for each path."""
        total: dict[str, list[float]] = {}
        for cells in list(self._threads):
            for path, cell in list(cells.items()):
                have = total.get(path)
                total[path] = list(cell) if have is None else [a + b for a, b in zip(have, cell, strict=True)]
        return total


def call_samples(counts: CallCounts, methods: Iterable[Countable]) -> Samples:
    """The samples of calls; those of paths that are no method are put together."""
    samples: Samples = {}
    by_path = counts.by_path()
    in_flight = streams = 0.0
    for method in methods:
        cell = by_path.pop(method.path, EMPTY)
        open_now = cell[STARTED] - sum(cell[FIRST_CODE:FIRST_BUCKET])
        in_flight += open_now
        if method.request_streams or method.response_streams:
            streams += open_now
        _add(samples, labels_of(method), cell)
    for cell in by_path.values():
        _add(samples, ("unary", "unknown", "unknown"), cell)
    samples["unroll_calls_in_flight", ()] = in_flight
    samples["unroll_streams_open", ()] = streams
    return samples


def access_samples(counts: CallCounts, roles: Collection[tuple[str, str]]) -> Samples:
    """How calls fared by the role that they need; `roles` has path and role of each method."""
    samples: Samples = {}
    by_path = counts.by_path()
    for path, role in roles:
        cell = by_path.get(path, EMPTY)
        codes = cell[FIRST_CODE:FIRST_BUCKET]
        wrong, denied = codes[UNAUTHENTICATED], codes[PERMISSION_DENIED]
        for result, number in (("ok", sum(codes) - wrong - denied), ("unauthenticated", wrong), ("denied", denied)):
            key: SampleKey = ("unroll_auth_total", (result, role))
            samples[key] = plus(samples.get(key, 0.0), number)
    return samples


def labels_of(method: Countable) -> tuple[str, str, str]:
    """Type, service and method, as go-grpc's middleware has them."""
    _, service, name = method.path.split("/")
    kind = {
        (False, False): "unary", (True, False): "client_stream", (False, True): "server_stream",
        (True, True): "bidi_stream",
    }[method.request_streams, method.response_streams]  # fmt: skip
    return kind, service, name


def _add(samples: Samples, labels: tuple[str, str, str], cell: list[float]) -> None:
    """Adds the counts of a cell to samples."""
    added: Samples = {
        ("grpc_server_started_total", labels): cell[STARTED],
        ("grpc_server_msg_received_total", labels): cell[RECEIVED],
        ("grpc_server_msg_sent_total", labels): cell[SENT],
        ("grpc_server_handling_seconds", labels): [*cell[FIRST_BUCKET:], cell[SECONDS]],
    }
    for code, number in zip(CODES, cell[FIRST_CODE:FIRST_BUCKET], strict=True):
        if number or code == "OK":
            added["grpc_server_handled_total", (*labels, code)] = number
    for key, value in added.items():
        samples[key] = plus(samples[key], value) if key in samples else value
