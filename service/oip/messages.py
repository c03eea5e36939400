"""The messages of the Open Inference Protocol, in a descriptor pool of their own.

Every client of the protocol brings the package `inference` too, and two of them in one pool are an error. So the
messages are made from a descriptor in a pool apart, where they are no slower.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["POOL", "SERVICE", "pb"]

POOL = descriptor_pool.DescriptorPool()
_SET = descriptor_pb2.FileDescriptorSet.FromString((Path(__file__).parents[1] / "pb" / "inference.binpb").read_bytes())
POOL.AddSerializedFile(_SET.file[0].SerializeToString())
_FILE = POOL.FindFileByName(_SET.file[0].name)
SERVICE = _FILE.services_by_name["GRPCInferenceService"]

if TYPE_CHECKING:
    from service.pb import inference_pb2 as pb
else:
    pb = SimpleNamespace(
        **{name: message_factory.GetMessageClass(message) for name, message in _FILE.message_types_by_name.items()}
    )
