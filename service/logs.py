"""Logging of the service's processes: one line for each event on standard error, with the process's name.

For people where standard error is a terminal, else one JSON object a line. A line that is written while a thread runs a
call has the id of the call.
"""

import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime

from service import current

MOST_RECORDS = 10  # of one place in the code, in so many seconds
SECONDS = 10.0
FORMATS = ("auto", "text", "json")


class CallIds(logging.Filter):
    """Puts the ids of the call that a thread runs into the log lines of that thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds `request_id` and `trace_id`; they are empty outside a call, and for one that is not traced."""
        call = current.call()
        record.request_id = call.id() if call is not None else ""
        record.trace_id = call.trace_id if call is not None else ""
        return True


class JsonLines(logging.Formatter):
    """A record as one JSON object on one line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, process, message, logger; ids of the call, and the trace of an error, where there are such."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "process": self._process,
            "message": record.getMessage(),
            "logger": record.name,
        }
        for name in ("request_id", "trace_id"):
            if found := getattr(record, name, ""):
                line[name] = found
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """A record as a line for people; those of a call end in its id."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process}: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as in the class that this is made of
        """The line, before the trace of an error."""
        request_id = getattr(record, "request_id", "")
        return super().formatMessage(record) + (f" [request {request_id}]" if request_id else "")


def configure(process: str, level: str = "INFO", form: str = "auto") -> None:
    """Sets up logging for this process; `form` is one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    human = sys.stderr.isatty() if form == "auto" else form == "text"
    handler.setFormatter(TextLines(process) if human else JsonLines(process))
    handler.addFilter(CallIds())
    logging.basicConfig(handlers=[handler], level=level, force=True)


class RateLimit(logging.Filter):
    """Lets a place in the code log a few records in a while; the next one says how many were left out."""

    def __init__(self, most: int = MOST_RECORDS, seconds: float = SECONDS) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()  # guards the next
        self._places: dict[tuple[str, int], list[float]] = {}  # since when, how many, how many left out

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        now = time.monotonic()
        with self._lock:
            place = self._places.setdefault((record.pathname, record.lineno), [now, 0, 0])
            if now - place[0] >= self._seconds:
                if place[2]:
                    record.msg = f"{record.getMessage()} (and {place[2]:.0f} like this before, not logged)"
                    record.args = ()
                place[:] = [now, 0, 0]
            place[1] += 1
            place[2] += place[1] > self._most
            return place[1] <= self._most
