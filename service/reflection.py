"""Server reflection as rows of the method table, so that its streams wait in the streams' threads."""

from collections.abc import Iterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.methods import Call, Method, Pool

# Newer tools ask for v1 first; it differs from v1alpha in the name of the package alone.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_methods(services: Sequence[str]) -> list[Method]:
    """The methods that describe `services` and themselves."""
    servicer = reflection.ReflectionServicer([*services, SERVICES[1]])

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
