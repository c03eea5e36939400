"""On-demand loading of versions that callers name: one lookup of each at a time, with failures remembered."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack

from service.errors import ModelError, NotFoundError, ServiceError
from service.serving.quota import Quota
from service.serving.threads import result_of
from service.snapshot import VersionKey

REMEMBERED_SECONDS = 5.0  # that a version is unknown, or refused
MOST_REMEMBERED = 1_024
MOST_LOADING = 16  # versions at a time
MOST_LOADING_OF_ONE = 8  # of one caller


class OnDemand:
    """Bounds what callers may ask of the supervisor."""

    def __init__(self, load: Callable[[str, str], None]) -> None:
        """`load(model, number)` gets a version into the snapshot, or raises a ServiceError."""
        self._load = load
        self._quota = Quota(MOST_LOADING, MOST_LOADING_OF_ONE, "versions that are being loaded")
        self._lock = threading.Lock()  # guards the next two
        self._loading: dict[VersionKey, Future[None]] = {}
        self._failed: dict[VersionKey, tuple[float, ServiceError]] = {}  # until when, oldest first

    def get(self, model: str, number: str, identity: str) -> None:
        """Returns when the version is in the snapshot. Raises what `load` raises; LimitExceededError."""
        key = model, number
        with ExitStack() as stack:
            with self._lock:
                until, error = self._failed.get(key, (0.0, None))
                if error is not None and time.monotonic() < until:
                    raise _again(error)
                loading = self._loading.get(key)
                if loading is None:
                    stack.enter_context(self._quota.take(identity))
                    own = self._loading[key] = Future()
            if loading is not None:
                try:
                    result_of(loading)
                except ServiceError as failure:
                    raise _again(failure) from None
                return
            try:
                self._load(model, number)
            except BaseException as failure:
                self._end(key, failure)
                own.set_exception(failure)
                raise
            self._end(key, None)
            own.set_result(None)

    def _end(self, key: VersionKey, failure: BaseException | None) -> None:
        with self._lock:
            del self._loading[key]
            self._failed.pop(key, None)
            if isinstance(failure, NotFoundError | ModelError):
                while len(self._failed) >= MOST_REMEMBERED:
                    del self._failed[next(iter(self._failed))]
                self._failed[key] = time.monotonic() + REMEMBERED_SECONDS, failure


def _again(error: ServiceError) -> ServiceError:
    """The same error for another call: one object raised by many would collect the traces of all."""
    return type(error)(error.message, field=error.field, **error.details)
