"""Quotas for what callers hold open, such as streams: a bound in all, and one for each caller."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import LimitExceededError


class Quota:
    """Counts what is held, by caller. Whatever is taken is given back when its block ends."""

    def __init__(self, most: int, most_of_one: int, what: str) -> None:
        """most: of all callers together. what: the things counted, in the plural, for errors."""
        self._most, self._most_of_one, self._what = most, most_of_one, what
        self._lock = threading.Lock()  # guards the next
        self._held: Counter[str] = Counter()

    @contextmanager
    def take(self, identity: str, amount: int = 1) -> Iterator[None]:
        """Holds so many for a caller in the block. Raises LimitExceededError where that is more than may be."""
        self._add(identity, amount)
        try:
            yield
        finally:
            with self._lock:
                self._held[identity] -= amount
                if not self._held[identity]:
                    del self._held[identity]  # so that callers who left are forgotten

    def held(self) -> int:
        """How many are held by all callers together."""
        with self._lock:
            return self._held.total()

    def _add(self, identity: str, amount: int) -> None:
        with self._lock:
            own, total = self._held[identity] + amount, self._held.total() + amount
            if own > self._most_of_one or total > self._most:
                if not self._held[identity]:
                    del self._held[identity]
                whose, limit, actual = (
                    ("of one caller", self._most_of_one, own) if own > self._most_of_one else ("", self._most, total)
                )
                raise LimitExceededError(
                    f"{self._what}{' ' if whose else ''}{whose} in this worker: {actual}; the limit is {limit}",
                    limit=limit,
                    actual=actual,
                    bound=self._what.replace(" ", "_"),
                )
            self._held[identity] = own
