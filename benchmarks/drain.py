"""Calls that are lost when a server is replaced: both edges, many times, under callers at a fixed rate.

A new server listens on the same port before the old one drains, as when `unroll serve` replaces its workers.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from benchmarks.common import ROOT, Figure, console, environment, machine, python, show
from benchmarks.servers import accepts, eventually, free_address

DRAINS, CALLERS = 20, 16
PAUSE_SECONDS = 0.02
CALLS_BETWEEN = 1_000


def main() -> None:
    """Measures and prints."""
    lost, calls, notes = (
        {},
        {},
        [machine(), f"{DRAINS} drains of each edge under {CALLERS} callers; each on a connection"],
    )
    for edge in ("http2", "grpcio"):
        console.print(f"{edge}: {DRAINS} drains …")
        lost[edge], calls[edge], codes = drained(edge)
        notes.append(
            f"{edge}: {lost[edge]} of {calls[edge]:,} calls lost" + "".join(f", {code}" for code in sorted(codes))
        )
    figure = Figure(
        "calls lost in drains: http2, grpcio", str(lost["http2"]), str(lost["grpcio"]), [float(lost["http2"])], 0.0
    )
    show("Drains", [figure], notes)


def drained(edge: str) -> tuple[int, int, set[str]]:
    """How many calls were lost, of how many, and how they ended."""
    address = free_address()
    stop, counted = threading.Event(), threading.Condition()
    calls = lost = 0
    reasons: set[str] = set()

    def ended(call: "grpc.Future[BytesValue]") -> None:
        nonlocal calls, lost
        error = call.exception()
        with counted:
            calls += 1
            if error is not None:
                lost += 1
                reasons.add(f"{error.code()}: {error.details()}" if isinstance(error, grpc.RpcError) else str(error))
            counted.notify()

    def follow() -> None:
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/t.S/Echo", BytesValue.SerializeToString, BytesValue.FromString)
            begun = []
            while not stop.wait(PAUSE_SECONDS):
                begun.append(call.future(BytesValue(value=b"x"), timeout=60, wait_for_ready=True))
                begun[-1].add_done_callback(ended)
            for future in begun:
                future.exception()

    threads = [threading.Thread(target=follow) for _ in range(CALLERS)]
    with ExitStack() as last:
        server = last.enter_context(serving(edge, address))
        for thread in threads:
            thread.start()
        for _ in range(DRAINS):
            with counted:
                until = calls + CALLS_BETWEEN
                counted.wait_for(lambda until=until: calls >= until)
            new = last.enter_context(serving(edge, address))
            assert server.stdin is not None
            server.stdin.close()  # it drains
            server.wait()
            server = new
        stop.set()
        for thread in threads:
            thread.join()
    return lost, calls, reasons


@contextmanager
def serving(edge: str, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server of a few small methods on an address that it may share."""
    command = python("-m", "tests.service.edge.raw", edge, address)
    with subprocess.Popen(
        command, env=environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        eventually(lambda: accepts(address))
        yield process
        if not process.stdin.closed:
            process.stdin.close()


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    main()
