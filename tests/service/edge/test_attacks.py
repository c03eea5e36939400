"""What known attacks on HTTP/2 cost: a server in a process of its own keeps its memory and answers others meanwhile."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from service.edge import frames as f
from service.edge.headers import BLOCK_BYTES
from tests.service.edge.raw import HEADERS, Peer

ROOT = Path(__file__).parents[3]
GROWTH_BYTES = 48e6
ROUNDS = 40


@pytest.fixture(scope="module")
def attacked():
    """The port of a server, and its process."""
    command = [sys.executable, "-m", "tests.service.edge.raw", "http2"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:  # what the first calls allocate stays
            call = channel.unary_unary("/t.S/Echo", BytesValue.SerializeToString, BytesValue.FromString)
            for _ in range(500):
                call(BytesValue(value=b"x" * 1_000), timeout=60)
        yield port, psutil.Process(process.pid)
        process.stdin.close()


def call(peer, sid, *, end=False, path="/t.S/Echo"):
    block = peer.encoder.encode([(k, path if k == ":path" else v) for k, v in HEADERS])
    return peer.frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if end else 0), sid, block)


def rapid_reset(peer):
    for sid in range(1, 200, 2):
        yield call(peer, sid) + peer.frame(f.RST_STREAM, 0, sid, bytes(4))


def made_you_reset(peer):
    for sid in range(1, 200, 2):
        yield call(peer, sid, path="/t.S/Slow") + peer.frame(f.WINDOW_UPDATE, 0, sid, bytes(4))


def continuation(peer):
    yield peer.frame(f.HEADERS, 0, 1, bytes(100))
    for _ in range(BLOCK_BYTES // 100 + 10):
        yield peer.frame(f.CONTINUATION, 0, 1, bytes(100))


def bomb(peer):
    block = peer.encoder.encode([*HEADERS, ("a", "b" * 3_900)])
    yield peer.frame(f.HEADERS, f.END_HEADERS, 1, block)
    yield peer.frame(f.HEADERS, f.END_HEADERS, 3, b"\xbe" * 16_000)


def flood(kind, payload):
    def frames(peer):
        for _ in range(20):
            yield peer.frame(kind, 0, 0 if kind != f.PRIORITY else 1, payload) * 200

    return frames


def empty_frames(peer):
    yield call(peer, 1)
    for _ in range(20):
        yield peer.frame(f.DATA, 0, 1) * 200


def closed_windows(peer):
    """Answers of a megabyte that nobody takes."""
    yield peer.frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, 0))
    for sid in range(1, 40, 2):
        body = BytesValue(value=bytes(200_000)).SerializeToString()
        body = b"\0" + len(body).to_bytes(4, "big") + body
        yield call(peer, sid)
        for i in range(0, len(body), 16_384):
            end = f.END_STREAM if i + 16_384 >= len(body) else 0
            yield peer.frame(f.DATA, end, sid, body[i : i + 16_384])


def unread(peer):
    """Pings that are answered to a client that reads nothing."""
    for _ in range(100):
        yield peer.frame(f.PING, 0, 0, bytes(8)) * 10


def promises(peer):
    """The beginnings of large messages, whose rest never comes."""
    for sid in range(1, 100, 2):
        yield call(peer, sid) + peer.frame(f.DATA, 0, sid, b"\0" + (9_000_000).to_bytes(4, "big") + bytes(10_000))


def garbage(_peer):
    yield bytes(range(256)) * 64


ATTACKS = {
    "rapid reset": rapid_reset,
    "made you reset": made_you_reset,
    "continuation": continuation,
    "compression bomb": bomb,
    "ping": flood(f.PING, bytes(8)),
    "settings": flood(f.SETTINGS, b""),
    "windows": flood(f.WINDOW_UPDATE, b"\0\0\0\1"),
    "priority": flood(f.PRIORITY, bytes(5)),
    "empty frames": empty_frames,
    "closed windows": closed_windows,
    "unread answers": unread,
    "promises": promises,
    "garbage": garbage,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks(attacked, attack):
    """While many connections attack, another caller gets every answer, and when they are gone so is what they took."""
    port, process = attacked
    before, stop, failures, answers = process.memory_info().rss, threading.Event(), [], []

    def other():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary("/t.S/Echo", BytesValue.SerializeToString, BytesValue.FromString)
            while not stop.is_set() or len(answers) < 20:
                try:
                    ask(BytesValue(value=b"x"), timeout=60)
                    answers.append(process.memory_info().rss)
                except grpc.RpcError as error:
                    failures.append(error)
                    return

    caller = threading.Thread(target=other)
    caller.start()
    with contextlib.ExitStack() as stack:
        for _ in range(ROUNDS):
            peer = stack.enter_context(Peer(port))
            with contextlib.suppress(OSError):  # it was cut off
                for data in attack(peer):
                    peer.send(data)
    stop.set()
    caller.join(120)
    assert failures == []
    assert process.is_running()
    assert max(answers) - before < 6 * GROWTH_BYTES
    end = time.monotonic() + 60
    while process.memory_info().rss - before > GROWTH_BYTES and time.monotonic() < end:
        threading.Event().wait(0.1)
    assert process.memory_info().rss - before < GROWTH_BYTES


def test_thousands_of_idle_connections(attacked):
    """As many idle connections as descriptors allow cost little, and a new caller is still served."""
    port, process = attacked
    before = process.memory_info().rss
    with contextlib.ExitStack() as stack:
        soft = min(psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0], 2_000)
        peers = [stack.enter_context(Peer(port)) for _ in range(soft - 200)]
        with Peer(port) as peer:
            assert peer.answer(peer.call(b"x"))[1] == [b"x"]
        grown = process.memory_info().rss - before
        assert grown / len(peers) < 40_000
    with Peer(port) as peer:
        assert peer.answer(peer.call(b"x"))[1] == [b"x"]
