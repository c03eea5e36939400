"""Both edges compared with an empty grpcio server, with gRPC in C++, and with the bare imports of a worker.

All servers run for the whole time and are loaded by turns, so what disturbs one disturbs the others. Servers have all
cores but the last; the load, the client and this process have the last.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.message import Message

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.empty_server import ANSWER
from benchmarks.load import Shape, has_h2load, latencies, load
from benchmarks.servers import (
    BATCH,
    IMPORTS,
    INFER,
    INFER_REQUEST,
    PREDICT,
    REQUEST,
    Place,
    Served,
    accepts,
    answer_bytes,
    bare_imports,
    cpp_server,
    empty_server,
    eventually,
    free_address,
    proportional,
    request_file,
    running,
    serve_command,
    unroll_server,
)  # fmt: skip
from service.pb import unroll_pb2 as pb

START_ROUNDS, LOAD_ROUNDS, LATENCY_ROUNDS = 5, 5, 5
LOAD_SECONDS = 2


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: servers and load have nowhere to be apart. Nothing is measured.")
        return
    notes = [machine(), f"{len(cores) - 1} workers, each on a core of its own; the load on the last core"]
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
            figures = _figures(Place(Path(folder), cores, cores[:-1], cores[-1]), notes)
    finally:
        os.sched_setaffinity(0, cores)
    show("Serving the reference network", figures, notes)


def _figures(place: Place, notes: list[str]) -> list[Figure]:
    console.print("registering a version, and filling the cache …")
    timed(python("-m", "service.cli", "train", "--epochs=0", cores=place.all_cores), place.env, place.folder)
    with unroll_server(place, free_address(), place.all_cores) as _:
        pass
    figures = [_start(place)]
    with ExitStack() as stack:
        servers = {
            edge: stack.enter_context(unroll_server(place, free_address(), place.server_cores, edge=edge))
            for edge in ("http2", "grpcio")
        }
        unroll = servers["http2"]
        bare = stack.enter_context(bare_imports(place))
        figures.append(_memory(unroll, bare, "memory of a worker before its first request"))
        empty = servers["empty"] = stack.enter_context(empty_server(place, free_address()))
        cpp = stack.enter_context(cpp_server(place, free_address()))
        if cpp is None:
            notes.append("gRPC in C++ cannot be built here: see benchmarks/servers.py")
        else:
            servers["C++"] = cpp
        before = [_predict(server.address) for server in (unroll, empty)]
        figures += _load(place, servers, notes)
        figures.append(_memory(unroll, bare, "memory of a worker after the load"))
        if has_h2load():
            figures += _latency(place, unroll, empty)
        if [_predict(server.address) for server in (unroll, empty)] != before:
            raise RuntimeError("the servers answer otherwise than before the load")
    return figures


def _start(place: Place) -> Figure:
    """From the command to the first answer, above the imports that no worker can do without."""
    imports, starts = [], []
    for number in range(1, START_ROUNDS + 1):
        console.print(f"start, round {number} of {START_ROUNDS} …")
        imports.append(timed(python("-c", IMPORTS, cores=place.all_cores), place.env, place.folder))
        address = free_address()
        begin = time.perf_counter()
        with running(serve_command(address, place.all_cores), place):
            _predict(address)
            starts.append(time.perf_counter() - begin)
    return Figure(
        "start, warm cache, to the first answer, above imports",
        f"{middle(starts):.2f} s",
        f"{middle(imports):.2f} s",
        [a - b for a, b in zip(starts, imports, strict=True)],
        target=1.0,
        unit=" s",
    )


def _memory(unroll: Served, bare: Sequence[int], what: str) -> Figure:
    """Proportional memory. As many bare imports run next to the workers, so pages are shared by as many."""
    ours, theirs = [proportional(pid) for pid in unroll.pids], [proportional(pid) for pid in bare]
    return Figure(
        f"{what}, above imports",
        f"{middle(ours):.1f} MB",
        f"{middle(theirs):.1f} MB",
        [own - middle(theirs) for own in ours],
        target=25,
        unit=" MB",
    )


@dataclass(frozen=True)
class Load:
    """Requests of one kind on one server."""

    server: str
    kind: str  # of KINDS
    connections: int  # for each worker
    streams: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.server}, {self.connections} × {self.streams}"


@dataclass(frozen=True)
class Target:
    """What is wanted of a load, relative to that of a yardstick."""

    ours: Load
    yardstick: Load
    cost: float  # processor time of a request, at most so much of the yardstick's
    rate: float = 0.0  # requests/s, at least so many times those of the yardstick; 0: any


KINDS: dict[str, tuple[str, Message]] = {
    "Predict": (PREDICT, REQUEST), "ModelInfer": (INFER, INFER_REQUEST), "Predict of 256": (PREDICT, BATCH),
}  # fmt: skip


def _targets() -> Iterator[Target]:
    for shape in ((4, 8), (8, 32)):
        # The yardstick reads a Predict of the same size, and says the same to everything.
        empty, cpp = Load("empty", "Predict", *shape), Load("C++", "ModelInfer", *shape)
        for kind, rate, cost, of_cpp in (("Predict", 7.0, 0.15, 1.0), ("ModelInfer", 5.5, 0.19, 1.3)):
            yield Target(Load("http2", kind, *shape), empty, cost, rate)
            yield Target(Load("http2", kind, *shape), cpp, of_cpp)
        yield Target(Load("grpcio", "Predict", *shape), empty, 1.27, 0.75)
    yield Target(Load("http2", "Predict of 256", 4, 8), Load("empty", "Predict of 256", 4, 8), 0.67, 1.5)


def _load(place: Place, servers: Mapping[str, Served], notes: list[str]) -> list[Figure]:
    """Requests per second and processor time, each server loaded as much as it can bear, by turns."""
    targets = [target for target in _targets() if target.yardstick.server in servers]
    loads = list(dict.fromkeys(load for target in targets for load in (target.ours, target.yardstick)))
    rates: dict[Load, list[float]] = {load: [] for load in loads}
    costs: dict[Load, list[float]] = {load: [] for load in loads}
    for number in range(LOAD_ROUNDS + 1):
        console.print(f"load, round {number} of {LOAD_ROUNDS} …" if number else "load, warming up …")
        for one in loads if number % 2 else reversed(loads):
            server, (method, message) = servers[one.server], KINDS[one.kind]
            request = request_file(place, one.kind, message)
            size = ANSWER.ByteSize() if one.server == "empty" else answer_bytes(server.address, method, message)
            shape = Shape(one.connections * len(server.pids), one.streams, LOAD_SECONDS)
            begin = server.cpu_seconds()
            done = load(server.address + method, request, size, shape, place.load_core)
            if number:
                rates[one].append(done.per_second)
                costs[one].append((server.cpu_seconds() - begin) / done.requests * 1000)
    notes.append(
        f"load by h2load: connections for each worker × streams, {LOAD_SECONDS} s; no request failed"
        if has_h2load()
        else "h2load (Debian: nghttp2-client) is not installed: a Python process made the load, and is itself the limit"
    )
    return [figure for target in targets for figure in _compared(target, rates, costs)]


def _compared(target: Target, rates: Mapping[Load, list[float]], costs: Mapping[Load, list[float]]) -> Iterator[Figure]:
    what = f"{target.ours} : {target.yardstick.server}"
    for name, found, wanted, form in (
        ("requests/s", rates, target.rate, "{:,.0f}"), ("CPU s for 1,000", costs, target.cost, "{:.4f} s")
    ):  # fmt: skip
        ours, yardstick = found[target.ours], found[target.yardstick]
        if wanted:
            yield Figure(
                f"{name}: {what}",
                form.format(middle(ours)),
                form.format(middle(yardstick)),
                [a / b for a, b in zip(ours, yardstick, strict=True)],
                target=wanted,
                at_least=found is rates,
                judged=found is costs or has_h2load(),
            )


def _latency(place: Place, unroll: Served, empty: Served) -> Iterator[Figure]:
    """The time of a call that has a server to itself, as h2load sees it; a Python client takes longer than the call."""
    request = request_file(place, "Predict", REQUEST)
    found: dict[Served, list[list[float]]] = {unroll: [], empty: []}
    for number in range(LATENCY_ROUNDS + 1):
        console.print(f"one caller, round {number} of {LATENCY_ROUNDS} …" if number else "one caller, warming up …")
        for server in (unroll, empty) if number % 2 else (empty, unroll):
            timings = sorted(latencies(server.address + PREDICT, request, LOAD_SECONDS, place.load_core))
            if number:
                found[server].append(timings)
    for name, share, target in (("p50", 50, 0.55), ("p99", 99, 1.0)):
        ours, theirs = (
            [timings[len(timings) * share // 100] * 1e3 for timings in found[server]] for server in (unroll, empty)
        )
        yield Figure(
            f"{name} of a call, one caller",
            f"{middle(ours):.3f} ms",
            f"{middle(theirs):.3f} ms",
            [a / b for a, b in zip(ours, theirs, strict=True)],
            target=target,
        )


def _predict(address: str) -> pb.PredictResponse:
    """One answer, asked for until the server is there."""
    eventually(lambda: accepts(address))
    with grpc.insecure_channel(address) as channel:
        return _caller(channel)(REQUEST, timeout=10)


def _caller(channel: grpc.Channel) -> "grpc.UnaryUnaryMultiCallable[pb.PredictRequest, pb.PredictResponse]":
    return channel.unary_unary(PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString)


if __name__ == "__main__":
    main()
