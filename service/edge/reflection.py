"""Server reflection as rows of the method table, so that its streams wait in the streams' threads."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.edge.methods import Call, Method, Pool
from service.oip.messages import POOL

# Newer tools ask for v1 first; it differs from v1alpha in the name of the package alone.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_methods(services: Sequence[str]) -> list[Method]:
    """The methods that describe `services` and themselves."""
    servicer = reflection.ReflectionServicer([*services, SERVICES[1]], _Pools())

    def info(requests: Iterator[Any], _call: Call) -> Iterator[Any]:
        return servicer.ServerReflectionInfo(requests, None)  # type: ignore[no-any-return]  # untyped package

    return [
        Method(
            path=f"/{service}/ServerReflectionInfo",
            request=reflection_pb2.ServerReflectionRequest,
            response=reflection_pb2.ServerReflectionResponse,
            request_streams=True,
            response_streams=True,
            handler=info,
            pool=Pool.STREAM,
        )
        for service in SERVICES
    ]


class _Pools:
    """The pools that hold our messages, as one: each `Find…` of a pool, asked of one after the other."""

    def __getattr__(self, find: str) -> Callable[..., Any]:
        def found(*arguments: Any) -> Any:
            try:
                return getattr(descriptor_pool.Default(), find)(*arguments)
            except KeyError:
                return getattr(POOL, find)(*arguments)

        return found
