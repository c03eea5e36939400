"""Clients of others on our edge: grpc.aio here; curl, nghttp, h2load, Node and Go where they are (marker `peers`)."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from service.config import Limits
from tests.service.edge.raw import Methods, server

pytestmark = pytest.mark.usefixtures("edge")

CLIENTS = Path(__file__).parent / "clients"
SEEN = ["unary", "large", "error", "deadline", "cancel", "streams"]


@pytest.fixture
def port(edge):
    """The port of a server of the table."""
    methods = Methods()
    with server(edge, methods=methods, limits=Limits(message_bytes=10_000_000)) as (port, _):
        yield port
        methods.let.set()


def test_grpc_aio(port):
    """grpcio's asynchronous client: unary, large, error, deadline, cancel, both ways."""

    async def main():
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:

            def unary(name):
                return channel.unary_unary(f"/t.S/{name}", BytesValue.SerializeToString, BytesValue.FromString)

            for value in (b"hello", bytes(3_000_000)):
                assert (await unary("Echo")(BytesValue(value=value))).value == value
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await unary("Fail")(BytesValue(value="Grüße".encode()))
            assert caught.value.details() == "Grüße"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await unary("Wait")(BytesValue(value=b"x"), timeout=0.3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            call = unary("Wait")(BytesValue(value=b"x"))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            chat = channel.stream_stream("/t.S/Chat", BytesValue.SerializeToString, BytesValue.FromString)()
            for value in (b"a", b"b"):
                await chat.write(BytesValue(value=value))
                assert (await chat.read()).value == value
            await chat.done_writing()
            assert await chat.read() is grpc.aio.EOF

    asyncio.run(main())


def run(*command, **options):
    """What a program prints. Fails if it does, and is skipped if it is not there."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def body(tmp_path):
    """A file with a message as it is on the wire."""
    path = tmp_path / "body"
    path.write_bytes(b"\0\0\0\0\x07\x0a\x05hello")
    return path


@pytest.mark.peers
def test_curl(port, body, tmp_path):
    """curl, with HTTP/2 by prior knowledge: the answer's bytes, and the status in the trailers."""
    run(
        "curl", "--silent", "--show-error", "--http2-prior-knowledge", "--data-binary", f"@{body}",
        "--header", "content-type: application/grpc", "--header", "te: trailers", "--dump-header",
        str(tmp_path / "head"), "--output", str(tmp_path / "out"), f"http://127.0.0.1:{port}/t.S/Echo",
    )  # fmt: skip
    assert (tmp_path / "out").read_bytes() == body.read_bytes()
    assert "grpc-status: 0" in (tmp_path / "head").read_text()


@pytest.mark.peers
def test_nghttp(port, body):
    """nghttp: the frames of the answer as libnghttp2 reads them."""
    said = run(
        "nghttp", "-vn", f"--data={body}", "-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}/t.S/Echo"
    )  # fmt: skip
    assert "grpc-status: 0" in said
    assert "RST_STREAM" not in said


@pytest.mark.peers
def test_h2load(port, body):
    """h2load: thousands of calls on several connections, none failed."""
    said = run(
        "h2load", "-n5000", "-c4", "-m32", f"--data={body}", "-Hcontent-type: application/grpc",
        "-Hte: trailers", f"http://127.0.0.1:{port}/t.S/Echo",
    )  # fmt: skip
    assert "5000 succeeded, 0 failed, 0 errored" in said


@pytest.mark.peers
def test_node(port, tmp_path):
    """Node's @grpc/grpc-js."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    run("npm", "install", "--silent", "--prefix", str(tmp_path), "@grpc/grpc-js")
    env = {**os.environ, "NODE_PATH": str(tmp_path / "node_modules")}
    assert run("node", str(CLIENTS / "client.js"), str(port), env=env).split() == SEEN


@pytest.mark.peers
def test_go(port, tmp_path):
    """Go's google.golang.org/grpc, as Debian has it (golang-google-grpc-dev)."""
    if not Path("/usr/share/gocode/src/google.golang.org/grpc").exists():
        pytest.skip("golang-google-grpc-dev is not installed")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(tmp_path / "cache")}
    run("go", "build", "-o", str(tmp_path / "client"), str(CLIENTS / "client.go"), env=env)
    assert run(str(tmp_path / "client"), str(port)).split() == SEEN
