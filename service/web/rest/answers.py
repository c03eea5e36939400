"""What a handler is asked and answers, and the HTTP status of each error."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from starlette.datastructures import Headers

from service import errors


class Leaving:
    """Cancels the call that is made for a caller, if the caller leaves. Any thread may use it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()  # guards the next two
        self._left = False
        self._call: grpc.Future[Any] | None = None

    def begin(self, call: "grpc.Future[Any]") -> None:
        """The call that is made for the caller."""
        with self._changing:
            self._call = call
            left = self._left
        if left:
            call.cancel()

    def leave(self) -> None:
        """The caller has left."""
        with self._changing:
            self._left = True
            call = self._call
        if call is not None:
            call.cancel()


@dataclass(frozen=True)
class Asked:
    """A request: parts of its path by name, its headers, its body, decompressed, and whether its caller has left."""

    path: Mapping[str, str]
    headers: Headers
    body: bytes
    leaving: Leaving = field(default_factory=Leaving)


@dataclass(frozen=True)
class Answer:
    """A JSON document, and tensors in binary form that follow it."""

    document: Any
    status: int = 200
    tensors: Sequence[bytes] = ()
    inference: bool = False  # these alone may be compressed: clients that ask for it unpack nothing else
    headers: Mapping[str, str] = field(default_factory=dict)


class TooLargeError(errors.LimitExceededError):
    """A body that is larger than any may be."""


class BusyError(errors.UnavailableError):
    """The bodies that are being handled take all the memory there is for them."""


# The first that fits, in this order; gRPC's own table of HTTP statuses.
STATUSES: tuple[tuple[type[errors.ServiceError], int], ...] = (
    (TooLargeError, 413),
    (errors.InvalidArgumentError, 400),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.LimitExceededError, 429),
    (errors.TimeLimitError, 504),
    (errors.CancelledError, 499),
    (errors.UnauthenticatedError, 401),
    (errors.PermissionDeniedError, 403),
    (errors.UnavailableError, 503),
    (errors.NotSupportedError, 501),
    (errors.NotReadyError, 409),
    (errors.ModelError, 409),
)
HINTS = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}


def failed(error: errors.ServiceError) -> Answer:
    """The answer that says what is wrong, as the protocol writes it."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    return Answer({"error": error.message}, status, headers=HINTS.get(status, {}))


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON: every field under the name of the proto, numbers as numbers, enumerations by name.

    Messages and alternatives that are not set are left out. `json_format` would write 64-bit numbers as texts.
    """
    document: dict[str, Any] = {}
    for one in message.DESCRIPTOR.fields:
        if one.has_presence and not message.HasField(one.name):
            continue
        value = getattr(message, one.name)
        kind = one.message_type
        if kind is not None and kind.GetOptions().map_entry:
            document[one.name] = {key: _value(kind.fields_by_name["value"], item) for key, item in value.items()}
        elif one.is_repeated:
            document[one.name] = [_value(one, item) for item in value]
        else:
            document[one.name] = _value(one, value)
    return document


def _value(described: Any, value: Any) -> Any:  # of any field
    if described.message_type is not None:
        return plain(value)
    if described.enum_type is not None:
        return described.enum_type.values_by_number[value].name
    return value
