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

from tests.service.edge.attacks import ATTACKS, SLOW
from tests.service.edge.raw import Peer

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


@pytest.mark.parametrize("attack", [pytest.param(a, id=name) for name, a in ATTACKS.items() if name not in SLOW])
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
        most = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0] - 200
        peers = [stack.enter_context(Peer(port)) for _ in range(min(most, 5_000))]
        with Peer(port) as peer:
            assert peer.answer(peer.call(b"x"))[1] == [b"x"]
        grown = process.memory_info().rss - before
        assert grown / len(peers) < 40_000
    with Peer(port) as peer:
        assert peer.answer(peer.call(b"x"))[1] == [b"x"]
