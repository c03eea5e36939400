"""What attacks on HTTP/2 cost other callers: p99 of a caller while many connections attack, relative to undisturbed.

`python -m benchmarks.attacks NAME PORT SECONDS` is one attacker. The server, which serves the reference network, has
the first core. The caller, h2load, and the attacker share the last, which the attacker gets only while nothing else
wants it (`SCHED_IDLE`, and the caller `SCHED_FIFO`): the caller waits for the server, and not for the attacker.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from hpack import Encoder

from benchmarks.common import ROOT, Figure, console, environment, machine, middle, python, show, timed
from benchmarks.load import has_h2load, latencies
from benchmarks.servers import PREDICT, REQUEST, Place, free_address, request_file, unroll_server
from service.client import to_tensor
from service.config import Limits, ServerConfig
from service.edge import frames as f
from service.edge.calls import Calls
from service.edge.http2_edge import Http2Edge
from service.edge.loop import PIECE_SECONDS, READ_BYTES
from service.edge.transport import Transport
from service.pb import unroll_pb2 as pb
from service.serving.threads import settle
from tests.service.edge.attacks import ATTACKS, SLOW
from tests.service.edge.raw import Methods, Peer

ROUNDS, SECONDS = 3, 2
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
    if len(cores) == 1 or not has_h2load():
        console.print(
            "It takes two cores and h2load to tell what a caller waits for. Only pieces of work are measured."
        )
    else:
        os.sched_setaffinity(0, {cores[-1]})
        with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
            callers(Place(Path(folder), cores, cores[:1], cores[-1]))
    show("Processor time that one connection takes of the edge's thread at a time, without sockets", turns())


def callers(place: Place) -> None:
    """What a caller of the reference network feels."""
    timed(python("-m", "service.cli", "train", "--epochs=0", cores=place.all_cores), place.env, place.folder)
    request = request_file(place, "request", REQUEST)
    figures, notes = (
        [],
        [machine(), f"a caller of Predict beside {ATTACKERS} connections that attack, {SECONDS} s each"],
    )
    with unroll_server(place, free_address(), place.server_cores) as server:
        url, port = server.address + PREDICT, server.address.rpartition(":")[2]

        def p99() -> float:
            found = sorted(latencies(url, request, SECONDS, place.load_core))
            return found[len(found) * 99 // 100]

        p99()
        process = psutil.Process(server.pids[0])
        before = process.memory_info().rss
        for name in (*ATTACKS, IDLE):
            console.print(f"{name} …")
            alone, beside = [], []
            for _ in range(ROUNDS):
                alone.append(p99())
                command = python("-m", "benchmarks.attacks", name, port, str(SECONDS + 1), cores=[place.load_core])
                with subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE) as attacker:
                    assert attacker.stdout is not None
                    attacker.stdout.readline()  # it has begun
                    beside.append(p99())
            ratios = [b / a for a, b in zip(alone, beside, strict=True)]
            texts = (f"{middle(found) * 1e3:.2f} ms" for found in (beside, alone))
            figures.append(Figure(f"p99 beside {name}", *texts, ratios, MOST))
        grown = (process.memory_info().rss - before) / 1e6
        notes.append(f"the server's memory grew by {grown:.0f} MB in all")
    show("Attacks", figures, notes)


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
            for at in range(0, len(data), READ_BYTES):
                arrived = data[at : at + READ_BYTES]
                while arrived or connection.more:
                    begin = time.thread_time()
                    connection.receive(arrived, time.monotonic() + PIECE_SECONDS)
                    while connection.blocked and not connection.ended and connection.pump():
                        pass
                    connection.out.clear()
                    arrived = b""
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

    frame, quick, slow, large = staticmethod(Peer.frame), Peer.quick, Peer.slow, Peer.large

    def __init__(self) -> None:
        self.encoder = Encoder()


class Attacker(Peer):
    """A client of the product that attacks."""

    quick, slow = PREDICT, "/unroll.v1.ModelService/GetModel"
    large = pb.PredictRequest(inputs=[to_tensor(np.zeros((100, 3, 2), np.float32))]).SerializeToString()


def attack(name: str, port: int, seconds: float) -> None:
    """Attacks for so long; prints a line when it begins."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if name == IDLE:
        with contextlib.ExitStack() as stack:
            for _ in range(IDLE_CONNECTIONS):
                stack.enter_context(Attacker(port))
            print(flush=True)
            time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    print(flush=True)

    def go_on() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError), Attacker(port) as peer:  # it is cut off
                for data in ATTACKS[name](peer):
                    peer.send(data)
                    if time.monotonic() > end:
                        break

    threads = [threading.Thread(target=go_on) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
