"""Server reflection as rows of the method table, so that its streams use the stream threads."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.edge.methods import Bound, Call, Method, Pool, Role

# Newer tools ask for v1 first; it differs from v1alpha in the name of the package alone.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_methods(services: Sequence[str], *pools: descriptor_pool.DescriptorPool) -> list[Method]:
    """The methods that describe `services` and themselves; `pools` hold messages that the default one has not."""
    servicer = reflection.ReflectionServicer([*services, *SERVICES], _Pools(pools))

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
            bound=Bound.STREAM,
            role=Role.OBSERVE,
            pool=Pool.STREAM,
        )
        for service in SERVICES
    ]


def _v1() -> descriptor_pool.DescriptorPool:
    """A pool with v1 in it, made from v1alpha, which is the one that our package brings."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("grpc.reflection.v1alpha", "grpc.reflection.v1")
    renamed = text_format.Parse(text.replace(file.name, "grpc/reflection/v1/reflection.proto"), type(file)())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(renamed.SerializeToString())
    return pool


class _Pools:
    """The pools that hold our messages, as one: each `Find…` of a pool, asked of one after the other."""

    def __init__(self, pools: Sequence[descriptor_pool.DescriptorPool]) -> None:
        self._pools = (descriptor_pool.Default(), *pools, _v1())

    def __getattr__(self, find: str) -> Callable[..., Any]:
        def found(*arguments: Any) -> Any:
            for pool in self._pools[:-1]:
                try:
                    return getattr(pool, find)(*arguments)
                except KeyError:
                    continue
            return getattr(self._pools[-1], find)(*arguments)

        return found
