"""Many connections, many streams, and TLS: our two edges compared, each with one worker on one core.

The load, the client and this process have the last core.
"""

import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import grpc
import psutil

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.load import Shape, load
from benchmarks.servers import (
    PREDICT,
    REQUEST,
    SEQUENCE,
    Place,
    Served,
    free_address,
    request_file,
    unroll_server,
)  # fmt: skip
from service.client import to_tensor
from service.pb import unroll_pb2 as pb
from tests.certificates import Authority

EDGES = ("http2", "grpcio")
STREAMS, CONNECTIONS = 200, 1_000
ROUNDS, CALLS, LOAD_SECONDS = 5, 500, 2
STREAM = "/unroll.v1.PredictionService/PredictStream"
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
By = dict[str, list[float]]  # numbers of the rounds, by edge


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: servers and load have nowhere to be apart. Nothing is measured.")
        return
    notes = [machine(), "one worker of each edge, on the same core; ours is http2, the yardstick grpcio"]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores[:1], cores[-1])
        console.print("registering a version, and filling the cache …")
        timed(python("-m", "service.cli", "train", "--epochs=0", cores=place.all_cores), place.env, place.folder)
        figures = [*_plain(place), *_tls(place)]
    show("Connections and streams: http2, relative to grpcio", figures, notes)


def _servers(
    place: Place, stack: ExitStack, certificates: Path | None = None, host: str = "127.0.0.1"
) -> dict[str, Served]:
    cores = place.server_cores
    return {
        edge: stack.enter_context(unroll_server(place, _address(host), cores, edge=edge, certificates=certificates))
        for edge in EDGES
    }


def _address(host: str) -> str:
    """A free port on a host."""
    return f"{host}:{free_address().rpartition(':')[2]}"


def _plain(place: Place) -> Iterator[Figure]:
    with ExitStack() as stack:
        yield from _streams(_servers(place, stack, host="[::]"))
    with ExitStack() as stack:
        yield from _connections(place, _servers(place, stack))


def _tls(place: Place) -> Iterator[Figure]:
    """A load over TLS."""
    Authority(place.folder).sign("server")
    with ExitStack() as stack:
        servers = _servers(place, stack, place.folder)
        yield from _loaded(place, servers, "TLS, 4 × 8", Shape(4, 8, LOAD_SECONDS), "https://", 0.25)


def _loaded(
    place: Place, servers: Mapping[str, Served], what: str, shape: Shape, scheme: str, target: float
) -> Iterator[Figure]:
    """Processor time of a Predict under a load."""
    request, costs, rates = request_file(place, "Predict", REQUEST), _by(), _by()
    for number in range(ROUNDS + 1):
        for edge, server in servers.items():
            begin = server.cpu_seconds()
            done = load(scheme + server.address + PREDICT, request, None, shape, place.load_core)
            if number:
                costs[edge].append((server.cpu_seconds() - begin) / done.requests * 1000)
                rates[edge].append(done.per_second)
    yield _figure(f"CPU s for 1,000: Predict, {what}", costs, "{:.4f} s", target)
    yield _figure(f"requests/s: Predict, {what}", rates, "{:,.0f}", 1 / target, at_least=True)


def _connections(place: Place, servers: Mapping[str, Served]) -> Iterator[Figure]:
    """Memory of idle connections, the time of a call beside them, and a load on as many."""
    memory, p50, p99 = _by(), _by(), _by()
    for _ in range(ROUNDS):
        for edge, server in servers.items():
            process, (host, port) = psutil.Process(server.pids[0]), server.address.split(":")
            with ExitStack() as stack, grpc.insecure_channel(server.address) as channel:
                call = channel.unary_unary(PREDICT)
                call(REQUEST.SerializeToString())
                before = process.memory_info().rss
                for _ in range(CONNECTIONS):
                    stack.enter_context(socket.create_connection((host, int(port)))).sendall(HELLO)
                timings = sorted(_timings(lambda call=call: call(REQUEST.SerializeToString())))
                memory[edge].append((process.memory_info().rss - before) / CONNECTIONS / 1e3)
                p50[edge].append(timings[CALLS // 2] * 1e3)
                p99[edge].append(timings[CALLS * 99 // 100] * 1e3)
    what = f"beside {CONNECTIONS:,} idle connections"
    # What an earlier round took is there already: the first says what a connection takes.
    first = {edge: found[:1] for edge, found in memory.items()}
    yield _figure("memory of an idle connection", first, "{:.1f} kB", 0.5)
    yield _figure(f"p50 of a call {what}", p50, "{:.2f} ms", 0.55)
    yield _figure(f"p99 of a call {what}", p99, "{:.2f} ms", 1.0)
    yield from _loaded(place, servers, f"{CONNECTIONS:,} × 1", Shape(CONNECTIONS, 1, LOAD_SECONDS), "", 0.4)


def _streams(servers: Mapping[str, Served]) -> Iterator[Figure]:
    """Memory and threads of open streams, and the time of a message when all are open."""
    memory, p50, p99 = _by(), _by(), _by()
    message = pb.PredictStreamRequest(inputs=[to_tensor(SEQUENCE)]).SerializeToString()
    for _ in range(ROUNDS):
        for edge, server in servers.items():
            process, port = psutil.Process(server.pids[0]), server.address.rpartition(":")[2]
            # One caller, which is an address here, may not have so many.
            with grpc.insecure_channel(f"127.0.0.1:{port}") as one, grpc.insecure_channel(f"[::1]:{port}") as other:
                before = process.memory_info().rss
                queues: list[SimpleQueue[bytes | None]] = [SimpleQueue() for _ in range(STREAMS)]
                channels = [one, other] * (STREAMS // 2)
                streams = [
                    channel.stream_stream(STREAM)(iter(queue.get, None))
                    for channel, queue in zip(channels, queues, strict=True)
                ]
                turns = iter(list(zip(queues, streams, strict=True)) * (1 + CALLS // STREAMS))

                def ask(turns: Iterator[tuple[SimpleQueue[bytes | None], Iterator[bytes]]] = turns) -> None:
                    queue, answers = next(turns)
                    queue.put(message)
                    next(answers)

                timings = sorted(_timings(ask))
                memory[edge].append((process.memory_info().rss - before) / STREAMS / 1e3)
                p50[edge].append(timings[CALLS // 2] * 1e3)
                p99[edge].append(timings[CALLS * 99 // 100] * 1e3)
                for queue in queues:
                    queue.put(None)
    first = {edge: found[:1] for edge, found in memory.items()}
    yield _figure(f"memory of an open stream, one of {STREAMS}", first, "{:.1f} kB", 1.0)
    yield _figure(f"p50 of a message, {STREAMS} streams open", p50, "{:.2f} ms", 1.0)
    yield _figure(f"p99 of a message, {STREAMS} streams open", p99, "{:.2f} ms", 1.0)


def _timings(call: Callable[[], object]) -> Iterator[float]:
    for _ in range(CALLS):
        begin = time.perf_counter()
        call()
        yield time.perf_counter() - begin


def _by() -> By:
    return {edge: [] for edge in EDGES}


def _figure(what: str, found: By, form: str, target: float, *, at_least: bool = False) -> Figure:
    ours, yardstick = (found[edge] for edge in EDGES)
    ratios = [a / max(b, 1e-9) for a, b in zip(ours, yardstick, strict=True)]
    return Figure(what, form.format(middle(ours)), form.format(middle(yardstick)), ratios, target, at_least=at_least)


if __name__ == "__main__":
    main()
