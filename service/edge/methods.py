"""The method table: one row for each RPC, and a handler's view of a call. It knows no transport."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Protocol

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from service.callers import GRANTED
from service.callers import Caller as Caller
from service.callers import Role as Role
from service.edge.texts import LONGEST, check_texts
from service.errors import CancelledError, InvalidArgumentError, PermissionDeniedError, TimeLimitError


class Pool(Enum):
    """Which threads run a handler, so that the slow never keep the quick waiting."""

    EDGE = "edge"  # begins where it arrives, and leaves before it takes long: service.serving.threads.leave
    QUICK = "quick"  # computes and returns
    WAITING = "waiting"  # waits for the registry or for other processes
    STREAM = "stream"  # holds its thread as long as the client likes


class Bound(Enum):
    """What bounds the cost of a call before it begins, next to the sizes of its message and of the texts in it."""

    SERVED = "it reads what is known of the models that are served"
    COMPUTED = "Limits.computed: the elements that it computes, and those that changes of weights touch"
    WEIGHTS = "Limits.computed: the elements of the weights that it reads; statistics are computed once for a version"
    REGISTRY = "operators only: what it asks of the registry, and Limits.changes"
    SEARCH = "one page of one search in the registry; few of them at a time, in all and of one caller"
    PROOF = "the largest proof that is read, and Limits.elements; few computations of its kind at a time"
    STREAM = "each message as a call of its own; Limits.streams, in all and of one caller, and stream_seconds"


class Lifetime:
    """How long a stream may live, from now on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; negative after the end."""
        return self._end - time.monotonic()

    def error(self) -> TimeLimitError:
        """What a stream ends with that has lived so long."""
        return TimeLimitError(f"the stream reached its lifetime of {self._seconds:g} s", limit=self._seconds)


class Call(Protocol):
    """What a handler may ask of the call it serves. Edges derive their own from it."""

    lifetime: Lifetime | None = None  # of a stream
    inference: tuple[Any, ...] | None = None  # what it, or its last message, computed: service.observe.calls.Done
    trace: Any = None  # service.observe.traces.CallTrace, where it is traced

    @abstractmethod
    def caller(self) -> Caller:
        """Who calls."""

    @abstractmethod
    def peer(self) -> str:
        """The address that the call came from, without the port."""

    @abstractmethod
    def remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it set none."""

    @abstractmethod
    def active(self) -> bool:
        """Whether anybody still waits for the answer."""

    @abstractmethod
    def metadata(self, key: str) -> str:
        """A header of the call; empty if it was not sent."""

    def identity(self) -> str:
        """Who is counted where callers have a bound each: a name that a certificate proves, else the address."""
        caller = self.caller()
        return caller.name if caller.personal else self.peer()

    def require(self, role: Role) -> None:
        """Raises PermissionDeniedError where the caller lacks a role that a request needs in addition to the row's."""
        caller = self.caller()
        if role not in caller.roles:
            raise denied(caller, role)

    def check(self) -> None:
        """Raises CancelledError where the caller has left, TimeLimitError after its deadline or the stream's lifetime.

        Edges ask before a handler begins; handlers ask between the pieces of a long computation or wait.
        """
        if not self.active():
            raise CancelledError("the caller no longer waits for the answer")
        remaining = self.remaining()
        if remaining is not None and remaining <= 0:
            raise TimeLimitError("the deadline of the call has passed")
        if self.lifetime is not None and self.lifetime.left() <= 0:
            raise self.lifetime.error()


Known = Callable[[bytes, Call], bytes | None]  # from request to answer, as on the wire; None: it has to be read


def denied(caller: Caller, needed: Role) -> PermissionDeniedError:
    """The error of a caller that lacks a role."""
    if not caller.how:
        return PermissionDeniedError(
            f"this call needs the role {needed.value} ({needed.text}): send a token that has it, "
            "`authorization: Bearer …`, or show a client certificate"
        )
    has = ", ".join(sorted(role.value for role in caller.roles)) or "none"
    return PermissionDeniedError(f"this call needs the role {needed.value} ({needed.text}); {caller.name} has {has}")


@dataclass(frozen=True)
class Method:
    """One RPC. `handler(request, call)` returns the response; with streams it takes or yields an iterator."""

    path: str  # /package.Service/Method
    request: type[Message]
    response: type[Message]
    request_streams: bool
    response_streams: bool
    handler: Callable[[Any, Call], Any]
    bound: Bound
    role: Role
    pool: Pool = Pool.QUICK
    known: Known | None = None  # answers requests that need not be read

    @cached_property
    def operates(self) -> bool:
        """Whether it changes what others are served."""
        return self.role.operates

    def parse(self, data: bytes) -> Message:
        """The message that a client sent.

        Raises InvalidArgumentError for bytes that are no such message, and for texts or lists in it that are too long.
        """
        try:
            message = self.request.FromString(data)
        except DecodeError:
            name = self.request.DESCRIPTOR.full_name
            raise InvalidArgumentError(f"the {len(data)} bytes of the request are no {name}") from None
        if len(data) > LONGEST:
            check_texts(message)
        return message


@dataclass(frozen=True)
class Row:
    """What a servicer says of one of its methods; the rest comes from the proto."""

    handler: Callable[[Any, Call], Any]
    bound: Bound
    role: Role
    pool: Pool = Pool.QUICK
    known: Known | None = None


def methods_of(service: ServiceDescriptor, rows: Mapping[str, Row]) -> list[Method]:
    """The methods of a service of the proto, in its order. Raises ValueError unless rows and proto name the same."""
    names = [method.name for method in service.methods]
    if set(names) != set(rows):
        raise ValueError(f"{service.full_name}: proto and servicer differ in {sorted(set(names) ^ set(rows))}")
    return [
        Method(
            path=f"/{service.full_name}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            request_streams=method.client_streaming,
            response_streams=method.server_streaming,
            handler=rows[method.name].handler,
            bound=rows[method.name].bound,
            role=rows[method.name].role,
            pool=rows[method.name].pool,
            known=rows[method.name].known,
        )
        for method in service.methods
    ]


def roles_document(methods: Iterable[Method]) -> str:
    """The table of docs/security.md: every RPC with the role that a caller needs for it."""
    rows = ["| RPC | role |", "|---|---|"]
    for method in sorted(methods, key=lambda method: method.path):
        service, name = method.path[1:].split("/")
        needed = method.role.value if method.role in GRANTED else "everybody"
        rows.append(f"| `{service}` `{name}` | {needed} |")
    return "\n".join(rows) + "\n"
