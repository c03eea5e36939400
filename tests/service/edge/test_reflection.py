"""service.edge.reflection: tools that ask the server what it has."""

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.service.support import entry, serving

pytestmark = pytest.mark.usefixtures("edge")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_everything_listed_is_described(versions, version):
    """Each service that either version of reflection lists, both of its own among them, can be described by it."""
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    with serving(entry("reference", "champion", v1=versions["r3-1"])) as (_, client):
        ask = client._channels[0].stream_stream(
            path, pb.ServerReflectionRequest.SerializeToString, pb.ServerReflectionResponse.FromString
        )
        (listed,) = ask(iter([pb.ServerReflectionRequest(list_services="*")]))
        names = [service.name for service in listed.list_services_response.service]
        own = {f"grpc.reflection.{v}.ServerReflection" for v in ("v1", "v1alpha")}
        assert own | {"unroll.v1.PredictionService", "inference.GRPCInferenceService"} <= set(names)
        answers = list(ask(pb.ServerReflectionRequest(file_containing_symbol=name) for name in names))
        assert [answer.WhichOneof("message_response") for answer in answers] == ["file_descriptor_response"] * len(
            names
        )
        (unknown,) = ask(iter([pb.ServerReflectionRequest(file_containing_symbol="none")]))
        assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
