"""The link between the supervisor and a worker: JSON frames, each followed by bytes, over a socket pair."""

import json
import select
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from service import current, errors

HELLO = -1  # stands for a generation in the frame by which a new worker says that it is there
_HEADER = struct.Struct("<I")  # length of the JSON; the rest of the frame is the body


class Link:
    """One end of a link. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection, send_seconds: float | None = None) -> None:
        """`send_seconds`: how long a send may wait for the other end to read; None: as long as it takes."""
        self._connection = connection
        if send_seconds is not None:
            limit = struct.pack("@ll", int(send_seconds), int(send_seconds % 1 * 1e6))  # a C timeval
            with self._socket() as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._sending = threading.Lock()  # guards writes to the connection, so that frames do not mix
        self._receiving = threading.Lock()  # held while a frame is read
        self._calls: dict[int, Future[tuple[dict[str, Any], bytes]]] = {}
        self._next_call = 0
        self._calling = threading.Lock()  # guards _calls and _next_call, and closing

    def send(self, kind: str, fields: dict[str, Any] | None = None, body: bytes = b"") -> None:
        """Sends a frame. Raises OSError when the other end is gone, or does not read for `send_seconds`."""
        frame = _frame(kind, fields or {}) + body
        with self._sending:
            self._write(frame)

    def offer(self, kind: str) -> bool:
        """Sends a frame without fields if that takes no waiting; whether it did. Raises OSError as `send` does."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            ready = select.poll()
            ready.register(self._connection.fileno(), select.POLLOUT)
            if not ready.poll(0):
                return False
            self._write(_frame(kind, {}))
            return True
        finally:
            self._sending.release()

    def _write(self, frame: bytes) -> None:
        """Writes a frame; the lock is held. After half a frame nothing can follow, so a failure ends the link."""
        try:
            self._connection.send_bytes(frame)
        except BlockingIOError:
            self._shut()
            raise TimeoutError("the other end does not read") from None
        except BaseException:
            self._shut()
            raise

    def receive(self) -> tuple[str, dict[str, Any], bytes]:
        """Waits for a frame: its kind, fields and body. Raises EOFError or OSError when the other end is gone."""
        with self._receiving:
            frame = self._connection.recv_bytes()
        (length,) = _HEADER.unpack_from(frame)
        fields = json.loads(frame[_HEADER.size : _HEADER.size + length])
        return fields.pop("kind"), fields, frame[_HEADER.size + length :]

    def call(
        self, operation: str, fields: dict[str, Any], body: bytes = b"", timeout: float | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Asks the other end and waits for its answer.

        Raises the ServiceError that the other end answered with; UnavailableError when it is gone; TimeLimitError
        when it takes longer than `timeout` seconds.
        """
        answer: Future[tuple[dict[str, Any], bytes]] = Future()
        with self._calling:
            self._next_call += 1
            number = self._next_call
            self._calls[number] = answer
        try:
            asked = {"number": number, "operation": operation, "arguments": fields, "for": current.outline()}
            self.send("call", asked, body)
            return answer.result(timeout)
        except TimeoutError:
            raise errors.TimeLimitError(
                f"{operation} exceeded the caller's deadline; it may still take effect"
            ) from None
        except OSError:
            raise errors.UnavailableError("the supervisor of this server is gone") from None
        finally:
            with self._calling:
                self._calls.pop(number, None)

    def reply(self, number: int, result: dict[str, Any] | errors.ServiceError, body: bytes = b"") -> None:
        """Answers a call of the other end, with a result or an error."""
        if isinstance(result, errors.ServiceError):
            self.send("reply", {"number": number, "error": error_to_dict(result)})
        else:
            self.send("reply", {"number": number, "result": result}, body)

    def answered(self, fields: dict[str, Any], body: bytes) -> None:
        """Hands a received `reply` frame to the call that waits for it."""
        with self._calling:
            answer = self._calls.pop(fields["number"], None)
        if answer is None:  # the caller stopped waiting
            return
        if "error" in fields:
            answer.set_exception(error_from_dict(fields["error"]))
        else:
            answer.set_result((fields["result"], body))

    def close(self) -> None:
        """Closes this end, and fails the calls that wait. From any thread, any number of times."""
        with self._calling:
            if not self._connection.closed:
                # Who sends or receives is woken first: a descriptor that is closed under them may already be another's.
                self._shut()
                with self._sending, self._receiving:
                    self._connection.close()
            waiting, self._calls = self._calls, {}
        for answer in waiting.values():
            answer.set_exception(errors.UnavailableError("the server is stopping"))

    def _shut(self) -> None:
        """Ends the link for both ends: who sends or receives is woken."""
        with suppress(OSError), self._socket() as end:
            end.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        """The connection as a socket, on the same descriptor: there may be none left to copy it to."""
        end = socket.socket(fileno=self._connection.fileno())
        try:
            yield end
        finally:
            end.detach()


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    header = json.dumps({**fields, "kind": kind}).encode()
    return _HEADER.pack(len(header)) + header


def error_to_dict(error: errors.ServiceError) -> dict[str, Any]:
    """An error as JSON."""
    return {"reason": error.reason(), "message": error.message, "field": error.field, "details": error.details}


def error_from_dict(data: dict[str, Any]) -> errors.ServiceError:
    """The error that `error_to_dict` made."""
    return errors.by_reason(data["reason"])(data["message"], field=data["field"], **data["details"])
