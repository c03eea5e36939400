"""A method of the API as a row of a table, and what a handler sees of a call. No transport: an edge puts it on one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message


class Role(Enum):
    """What a caller must be allowed to do."""

    READER = "reader"
    OPERATOR = "operator"


class Pool(Enum):
    """Which threads run a handler, so that the slow never keep the quick waiting."""

    QUICK = "quick"  # computes and returns
    WAITING = "waiting"  # waits for the registry or for other processes
    STREAM = "stream"  # holds its thread as long as the client likes


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as the server knows."""

    name: str
    role: Role


class Call(Protocol):
    """What a handler may ask of the call it serves."""

    def caller(self) -> Caller:
        """Who calls."""

    def remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it set none."""

    def active(self) -> bool:
        """Whether anybody still waits for the answer."""

    def metadata(self, key: str) -> str:
        """A header of the call; empty if it was not sent."""


@dataclass(frozen=True)
class Method:
    """One RPC. `handler(request, call)` returns the response; with streams it takes or yields an iterator."""

    path: str  # /package.Service/Method
    request: type[Message]
    response: type[Message]
    request_streams: bool
    response_streams: bool
    handler: Callable[[Any, Call], Any]
    role: Role = Role.READER
    pool: Pool = Pool.QUICK


@dataclass(frozen=True)
class Row:
    """What a servicer says of one of its methods; the rest comes from the proto."""

    handler: Callable[[Any, Call], Any]
    role: Role = Role.READER
    pool: Pool = Pool.QUICK


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
            role=rows[method.name].role,
            pool=rows[method.name].pool,
        )
        for method in service.methods
    ]
