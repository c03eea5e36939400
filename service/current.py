"""The call that a thread runs, for code that is not given the call itself: log lines, batches, the link."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

here = threading.local()  # .call: the call that this thread runs, or None


@dataclass(frozen=True)
class RemoteCall:
    """A call that another process of this server runs, and for which it asks this process for something."""

    request_id: str
    trace_id: str = ""
    traceparent: str = ""  # of its span, as W3C's header has it

    def id(self) -> str:
        """The request id."""
        return self.request_id


def call() -> Any:
    """The call that this thread runs, a `ServedCall` or a `RemoteCall`; None where it runs none."""
    return getattr(here, "call", None)


@contextmanager
def running(call: Any) -> Iterator[None]:
    """Says that this thread runs a call in the block; None: that it runs none."""
    before = getattr(here, "call", None)
    here.call = call
    try:
        yield
    finally:
        here.call = before


def outline() -> dict[str, str] | None:
    """What another process is to know of the call that this thread runs, as JSON; None where it runs none."""
    call = getattr(here, "call", None)
    if call is None:
        return None
    trace = getattr(call, "trace", None)
    traceparent = trace.header() if trace is not None else getattr(call, "traceparent", "")
    return {"request_id": call.id(), "trace_id": call.trace_id, "traceparent": traceparent}


def from_outline(outline: Mapping[str, str] | None) -> RemoteCall | None:
    """The call that `outline` described."""
    return RemoteCall(**outline) if outline else None
