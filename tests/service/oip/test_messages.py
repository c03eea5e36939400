"""Our copy of the protocol's messages, next to the standard client's."""

import subprocess
import sys
from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from service.oip.messages import SERVICE


def test_numbers_are_the_protocols():
    """Every message, field, number and type of ours is that of the standard client; what is left out is not sent."""
    theirs = {m.full_name: m for m in all_messages(service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)}
    ours = {m.full_name: m for m in all_messages(SERVICE.file)}
    assert ours.keys() <= theirs.keys()
    for name, message in ours.items():
        for field in message.fields:
            other = theirs[name].fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), name
    whole = {name for name in theirs if name.startswith("inference.") and "Config" not in name}
    for name in whole & ours.keys():
        if name not in PARTS:
            assert {f.name for f in theirs[name].fields} == {f.name for f in ours[name].fields}, name
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert [
        (m.name, m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
        for m in sorted(service.methods, key=lambda m: m.name)
    ] == [
        (m.name, m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
        for m in sorted(SERVICE.methods, key=lambda m: m.name)
    ]


def test_every_rpc_is_documented():
    """docs/protocol.md has a row for each RPC, and for each field of a request but containers."""
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    rows = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    request = SERVICE.methods_by_name["ModelInfer"].input_type
    tensors = [f for f in request.fields if f.name in ("inputs", "outputs")]
    names = [m.name for m in SERVICE.methods] + [f.name for f in request.fields if f not in tensors]
    names += [f"{f.name}[].{inner.name}" for f in tensors for inner in f.message_type.fields]
    assert [name for name in names if f"`{name}`" not in rows] == []


PARTS = {  # of which we send less than there could be
    "inference.InferStatistics", "inference.ModelStatistics", "inference.ModelInput", "inference.ModelOutput",
}  # fmt: skip


def all_messages(*files):
    """Every message of some files, the inner ones too."""
    found = [message for file in files for message in file.message_types_by_name.values()]
    for message in found:  # grows
        found += message.nested_types
    return found


@pytest.mark.parametrize("first", ["tritonclient.grpc", "service.oip.messages"])
def test_both_copies_live_in_one_process(first):
    """The client's messages and ours are imported together, whichever comes first."""
    code = f"import {first}, tritonclient.grpc, service.oip.messages as ours; print(ours.SERVICE.full_name)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "inference.GRPCInferenceService"
