"""service.edge.admin: a second address that alone serves what operators do."""

import json
import subprocess
import sys

import grpc
import pytest

from service.client import Client, WeightChange
from service.errors import NotSupportedError, PermissionDeniedError, UnauthenticatedError
from tests.service.support import R3_INPUTS, Server, eventually

CHANGE = [WeightChange("output/bias", 1.0, "add")]
TOKEN = "operator"


@pytest.fixture(scope="module")
def apart(registry, edge, tmp_path_factory):
    """A server with an admin address: its two addresses, and the folder of its audit log."""
    if edge == "http2":
        registry.register("apart", "r3-1", "champion")
    cache = tmp_path_factory.mktemp("apart")
    server = Server(
        "models:/apart@champion", cache=cache, env=registry.env | {"UNROLL_OPERATOR_TOKEN": TOKEN}, workers=1, poll=0.2,
        admin_address="127.0.0.1:0",
    )  # fmt: skip
    try:
        with Client(server.address) as client:
            eventually(client.health)
        yield server.address, server.logged(r"operators are served on ([\d.:]+) alone")[1], cache
        assert server.stop() == 0
    finally:
        server.stop()


def test_the_first_address_does_not_operate(apart):
    """On the first address an operator hears where to go, and others that they lack the role; all of it is audited."""
    address, _, cache = apart
    with Client(address, token=TOKEN) as operator, Client(address) as anybody:
        assert anybody.predict(R3_INPUTS).outputs
        version = anybody.model().default_version
        with pytest.raises(NotSupportedError, match="MoveAlias is served only on the admin address"):
            operator.move_alias(version, expected_version=version, reason="no")
        with pytest.raises(NotSupportedError, match="OverrideWeights is served only on the admin address"):
            operator.override_weights(CHANGE, reason="no", expected_version=version)
        with pytest.raises(PermissionDeniedError):
            anybody.move_alias(version, expected_version=version, reason="no")

    def lines():
        return [json.loads(line) for line in (cache / "audit.jsonl").read_text().splitlines()]

    eventually(lambda: len(lines()) >= 3)
    assert [(line["code"], line["result"]) for line in lines()[:3]] == [
        ("Unimplemented", "failed"), ("Unimplemented", "failed"), ("PermissionDenied", "refused"),
    ]  # fmt: skip


def test_the_admin_address_operates_alone(apart):
    """The admin address has what operators do, and health: nothing else, and the same callers."""
    address, admin, _ = apart
    with Client(admin, token=TOKEN) as there, Client(admin) as anybody:
        assert there.health()
        with pytest.raises(NotSupportedError):
            there.predict(R3_INPUTS)
        with pytest.raises(NotSupportedError):
            there.model()
        with pytest.raises((PermissionDeniedError, UnauthenticatedError)):
            anybody.move_alias("1", expected_version="1", reason="no")
    with Client(address, token=TOKEN, admin_address=admin) as client:
        version = client.model().default_version
        made = client.override_weights(CHANGE, reason="yes", expected_version=version)
        assert client.predict(R3_INPUTS).version == made.version
        client.move_alias(version, expected_version=made.version, reason="back")
        assert client.model().default_version == version


def test_commands_find_the_admin_address(apart):
    """A command reads at the first address and operates at the other, as an option or a variable says."""
    address, admin, _ = apart

    def run(*options):
        command = ["models", "move-alias", "1", f"--address={address}", f"--token={TOKEN}", "--expected=1", *options]
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *command], capture_output=True, text=True, timeout=120, check=False
        )

    refused = run("--reason=no")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert "--admin-address" in refused.stderr
    moved = run("--reason=yes", f"--admin-address={admin}")
    assert moved.returncode == 0, moved.stderr


def test_reflection_is_not_there(apart):
    """Nobody lists methods on the admin address."""
    _, admin, _ = apart
    with grpc.insecure_channel(admin) as channel:
        info = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as caught:
            next(info(iter([b""]), timeout=20))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
