"""What attacks on HTTP/2 cost other callers: p99 of a caller while many connections attack, relative to undisturbed.

`python -m benchmarks.attacks NAME PORT SECONDS` is one attacker. The server has the first core. The caller and the
attacker share the last, which the attacker gets only while nothing else wants it (`SCHED_IDLE`): the caller waits for
the server, and not for the attacker.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import psutil
from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Encoder

from benchmarks.common import ROOT, Figure, console, environment, machine, python, show
from service.config import Limits, ServerConfig
from service.edge import frames as f
from service.edge.calls import Calls
from service.edge.http2_edge import Http2Edge
from service.edge.loop import READ_BYTES_IN_DEBT
from service.edge.transport import Transport
from service.serving.threads import settle
from tests.service.edge.attacks import ATTACKS, SLOW
from tests.service.edge.raw import Methods, Peer

ROUNDS, SECONDS = 3, 2.0
ATTACKERS = 8  # connections at a time
IDLE, IDLE_CONNECTIONS = "idle connections", 5_000
MOST = 5.0  # times p99 of the undisturbed caller
MOST_TURN_MS = 1.0


def main() -> None:
    """Measures and prints."""
    if sys.argv[1:]:
        name, port, seconds = sys.argv[1:]
        attack(name, int(port), float(seconds))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    figures, notes = [], [machine(), f"a caller of Echo beside {ATTACKERS} connections that attack, {SECONDS:g} s each"]
    with served(cores[0]) as (port, process):
        p99(port)
        before = process.memory_info().rss
        for name in (*ATTACKS, IDLE):
            console.print(f"{name} …")
            alone, beside = [], []
            for _ in range(ROUNDS):
                alone.append(p99(port))
                command = python("-m", "benchmarks.attacks", name, str(port), str(SECONDS + 1), cores=[cores[-1]])
                with subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE) as attacker:
                    assert attacker.stdout is not None
                    attacker.stdout.readline()  # it has begun
                    beside.append(p99(port))
            ratios = [b / a for a, b in zip(alone, beside, strict=True)]
            texts = (f"{sorted(found)[ROUNDS // 2] * 1e3:.2f} ms" for found in (beside, alone))
            figures.append(Figure(f"p99 beside {name}", *texts, ratios, MOST))
        grown = (process.memory_info().rss - before) / 1e6
        notes.append(f"the server's memory grew by {grown:.0f} MB in all")
    show("Attacks", figures, notes)
    show("Processor time that one connection takes of the edge's thread at a time, without sockets", turns())


def turns() -> Iterator[Figure]:
    """The longest time for which one connection keeps all others waiting, in each attack; quiet, where p99 is not."""
    config = ServerConfig((), limits=Limits(message_bytes=10_000_000))
    edge = Http2Edge(Methods(10).table(), config, Calls(config))
    settle(edge)
    for name in ATTACKS.keys() - SLOW:
        worst, whole = [], []
        for _ in range(ROUNDS):
            peer, times = Unconnected(), []
            data = f.PREFACE + peer.frame(f.SETTINGS, 0, 0) + b"".join(ATTACKS[name](peer))
            connection = edge.connect(Transport(socket.socket(), "ipv4:attacker", 0.0))
            for at in range(0, len(data), READ_BYTES_IN_DEBT):
                begin = time.thread_time()
                connection.receive(data[at : at + READ_BYTES_IN_DEBT])
                while connection.blocked and not connection.ended and connection.pump():
                    pass
                connection.out.clear()
                times.append((time.thread_time() - begin) * 1e3)
            connection.close()
            worst.append(max(times))
            whole.append(sum(times))
        yield Figure(
            name, f"{min(worst):.2f} ms", f"{min(whole):.2f} ms in all", [min(worst)], MOST_TURN_MS, unit=" ms"
        )
    settle(None)


class Unconnected:
    """What the generators of attacks need of a client, without a socket."""

    frame = staticmethod(Peer.frame)

    def __init__(self) -> None:
        self.encoder = Encoder()


def attack(name: str, port: int, seconds: float) -> None:
    """Attacks for so long; prints a line when it begins."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if name == IDLE:
        with contextlib.ExitStack() as stack:
            for _ in range(IDLE_CONNECTIONS):
                stack.enter_context(Peer(port))
            print(flush=True)
            time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    print(flush=True)

    def go_on() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError), Peer(port) as peer:  # it is cut off
                for data in ATTACKS[name](peer):
                    peer.send(data)
                    if time.monotonic() > end:
                        break

    threads = [threading.Thread(target=go_on) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def p99(port: int) -> float:
    """Of calls one after the other, in seconds."""
    found = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/t.S/Echo", BytesValue.SerializeToString, BytesValue.FromString)
        call(BytesValue(value=b"x"))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            begin = time.perf_counter()
            call(BytesValue(value=b"x"), timeout=60)
            found.append(time.perf_counter() - begin)
    return sorted(found)[len(found) * 99 // 100]


@contextmanager
def served(core: int) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a server of a few small methods."""
    command = python("-m", "tests.service.edge.raw", "http2", cores=[core])
    with subprocess.Popen(
        command, env=environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline()), psutil.Process(process.pid)
        process.stdin.close()


if __name__ == "__main__":
    main()
