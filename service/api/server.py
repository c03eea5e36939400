"""GetServer: what this server is and can do, and who asks."""

from importlib.util import find_spec

from service.callers import Caller
from service.config import Limits
from service.pb import unroll_pb2 as pb
from service.version import version

# What this server can do that another release, or a smaller installation, might not. docs/protocol.md explains each.
FEATURES = ("insight", "patches", "sums", "top_classes", "trace_selection")
OPTIONAL = {"onnxruntime": "onnxruntime", "tensorflow": "tensorflow"}  # features, and the packages that they need


def describe(caller: Caller, limits: Limits) -> pb.GetServerResponse:
    """The description of this server for a caller."""
    installed = [feature for feature, package in OPTIONAL.items() if find_spec(package) is not None]
    return pb.GetServerResponse(
        version=version(),
        caller=caller.name,
        known_by=caller.how,
        roles=sorted(role.value for role in caller.roles),
        models=caller.models,
        limits=pb.ServerLimits(
            message_bytes=limits.message_bytes,
            batch=limits.batch,
            timesteps=limits.timesteps,
            elements=limits.elements,
            computed=limits.computed,
            changes=limits.changes,
            streams=caller.streams or limits.streams_of_one,
            stream_idle_seconds=limits.stream_idle_seconds,
            stream_seconds=limits.stream_seconds,
        ),
        features=[*FEATURES, *installed],
    )
