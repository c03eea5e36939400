"""The link between the supervisor and a worker: frames of JSON, followed by bytes, over a socket pair."""

import json
import os
import socket
import struct
import threading
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from service import errors

HELLO = -1  # stands for a generation in the frame by which a new worker says that it is there
_HEADER = struct.Struct("<I")  # length of the JSON; the rest of the frame is the body


class Link:
    """One end of a link. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()  # guards writes to the connection, so that frames do not mix
        self._receiving = threading.Lock()  # held while a frame is read
        self._calls: dict[int, Future[tuple[dict[str, Any], bytes]]] = {}
        self._next_call = 0
        self._calling = threading.Lock()  # guards _calls and _next_call, and closing

    def send(self, kind: str, fields: dict[str, Any] | None = None, body: bytes = b"") -> None:
        """Sends a frame. Raises OSError when the other end is gone."""
        header = json.dumps({**(fields or {}), "kind": kind}).encode()
        with self._sending:
            self._connection.send_bytes(_HEADER.pack(len(header)) + header + body)

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

        Raises the ServiceError that the other end answered with; UnavailableError when it is gone or takes longer
        than `timeout` seconds.
        """
        answer: Future[tuple[dict[str, Any], bytes]] = Future()
        with self._calling:
            self._next_call += 1
            number = self._next_call
            self._calls[number] = answer
        try:
            self.send("call", {"number": number, "operation": operation, "arguments": fields}, body)
            return answer.result(timeout)
        except TimeoutError:
            raise errors.UnavailableError(
                f"{operation} took longer than the caller waits; it may still happen"
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
                with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
                with self._sending, self._receiving:
                    self._connection.close()
            waiting, self._calls = self._calls, {}
        for answer in waiting.values():
            answer.set_exception(errors.UnavailableError("the server is stopping"))


def error_to_dict(error: errors.ServiceError) -> dict[str, Any]:
    """An error as JSON."""
    return {"reason": error.reason(), "message": error.message, "field": error.field, "details": error.details}


def error_from_dict(data: dict[str, Any]) -> errors.ServiceError:
    """The error that `error_to_dict` made."""
    return errors.by_reason(data["reason"])(data["message"], field=data["field"], **data["details"])
