"""What workers ask of their supervisor: each request is answered by an operation, on threads of its own."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from service import current
from service.errors import ServiceError, UnavailableError
from service.supervisor.process import WorkerProcess

Answer = tuple[dict[str, Any], bytes]
Handler = Callable[[dict[str, Any], bytes], "Answer | Future[Answer]"]  # a future: no thread waits for the answer

logger = logging.getLogger(__name__)


class Requests:
    """The requests of all workers."""

    def __init__(self, operations: Mapping[str, Handler]) -> None:
        self._operations = operations
        self._calls = ThreadPoolExecutor(32, "calls")

    def take(self, worker: WorkerProcess, fields: dict[str, Any], body: bytes) -> None:
        """Has a thread answer a request of a worker."""
        try:
            self._calls.submit(self._serve, worker, fields, body)
        except RuntimeError:  # no room for another thread, and those that are there will do it; or we are stopping
            logger.warning("%s waits for %s", worker.name, fields["operation"])

    def stop(self) -> None:
        """Answers nothing more that has not begun."""
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _serve(self, worker: WorkerProcess, fields: dict[str, Any], body: bytes) -> None:
        """Answers what a worker asks for, now or when the answer is there."""
        try:
            with current.running(current.from_outline(fields["for"])):
                found = self._operations[fields["operation"]](fields["arguments"], body)
        except BaseException as error:
            found = Future()
            found.set_exception(error)
        if isinstance(found, Future):
            found.add_done_callback(lambda done: self._reply(worker, fields, done))
        else:
            self._send_reply(worker, fields["number"], *found)

    def _reply(self, worker: WorkerProcess, fields: dict[str, Any], done: "Future[Answer]") -> None:
        try:
            self._send_reply(worker, fields["number"], *done.result())
        except ServiceError as error:
            self._send_reply(worker, fields["number"], error)
        except Exception:
            with current.running(current.from_outline(fields["for"])):
                logger.exception("%s failed", fields["operation"])
            failed = UnavailableError("the supervisor failed to do this; its log has the details")
            self._send_reply(worker, fields["number"], failed)

    def _send_reply(
        self, worker: WorkerProcess, number: int, result: dict[str, Any] | ServiceError, body: bytes = b""
    ) -> None:
        try:
            worker.link.reply(number, result, body)
        except OSError:
            logger.warning("%s was gone before it could be answered", worker.name)
