"""Logging of the service's processes: one line for each event on standard error, with the process's name."""

import logging
import sys
import threading
import time

MOST_RECORDS = 10  # of one place in the code, in so many seconds
SECONDS = 10.0


def configure(process: str, level: str = "INFO") -> None:
    """Sets up logging for this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {process}: %(message)s"))
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
