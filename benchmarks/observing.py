"""What it costs to observe a server: all of it switched on, next to nothing switched on.

On each edge three servers of the reference network run for the whole time, and are loaded in turn. One has no metrics,
no access log and no traces. The others are scraped as often as Prometheus usually does it, log 1 % of their calls and
send traces of 1 % of them; one of these is sent request ids. What it takes grpcio alone to receive an id and to send
three fields with an answer is measured beside them, by two empty servers, and is not held against ours.

What is compared is the processor time of a call in the workers. Other programs that share a core or its caches change
that for a second or so at a time, by several times what is looked for. So rounds are many and short, each is compared
with the two of the yardstick that enclose it, and the median of these pairs counts; the lower quartile of each side is
given beside it, since disturbance only ever adds. A server's round ends where its next one begins, so what it puts
off, such as sending spans, is in it.

The target, 0.97 of the calls, was set when a small call took 177 µs, so 5.3 µs may be added to one. As a call became
twelve times as cheap, what observing adds is judged, and its share is said beside it. h2load sends the same id with
every call, so its header block is decoded once.
"""

import itertools
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from benchmarks.common import Figure, console, machine, python, show, timed
from benchmarks.empty_server import ANSWER
from benchmarks.load import Shape, has_h2load, load
from benchmarks.servers import (
    PREDICT,
    REQUEST,
    Place,
    Served,
    answer_bytes,
    cpu_seconds,
    empty_server,
    free_address,
    request_file,
    unroll_server,
)

ROUNDS, WARM_UP = 60, 3
REQUESTS = {"http2": 4_000, "grpcio": 1_600}  # of a round: an eighth of a second or less on a quiet machine
SHARE = 0.01  # of calls that are logged, and of those that are traced
SCRAPE_SECONDS = 15.0
LATE_SECONDS = 1.5  # after which a server has done what it put off
MOST_ADDED = 5.3  # microseconds
ID = "6f1c2f3e-5d0c-4a5b-9a39-7f4f0a3b6c11"


class _Collector(BaseHTTPRequestHandler):
    """Takes what a server sends of traces, and counts it."""

    received = 0

    def do_POST(self) -> None:
        """One batch of spans."""
        type(self).received += len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in the class that this is made of
        """Says nothing."""


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1 or not has_h2load():
        console.print("It takes h2load, and two cores, so that servers and load are apart. Nothing is measured.")
        return
    notes = [machine(), f"{SHARE:.0%} of the calls logged and as many traced; a scrape every {SCRAPE_SECONDS:g} s"]
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder, ExitStack() as stack:
            figures = _figures(Place(Path(folder), cores, cores[:1], cores[-1]), notes, stack)
    finally:
        os.sched_setaffinity(0, cores)
    show("Observing a server", figures, notes)


def _figures(place: Place, notes: list[str], stack: ExitStack) -> list[Figure]:
    console.print("registering a version …")
    timed(python("-m", "service.cli", "train", "--epochs=0", cores=place.all_cores), place.env, place.folder)
    collector = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Collector))
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    stack.callback(collector.shutdown)
    figures = []
    for edge in REQUESTS:
        with ExitStack() as stack_of_edge:
            servers = {name: _server(place, edge, name, collector, stack_of_edge) for name in ("off", "on", "ids")}
            if edge == "grpcio":
                for name in ("reads", "fields"):
                    servers[name] = stack_of_edge.enter_context(empty_server(place, free_address(), name))
            figures += _compare(place, edge, servers, notes)
    return figures


def _server(place: Place, edge: str, name: str, collector: ThreadingHTTPServer, stack: ExitStack) -> Served:
    """One of the servers of an edge; all but `off` are observed."""
    metrics, options, env = free_address(), [], {}
    if name != "off":
        log = f"{place.folder}/{edge}-{name}.jsonl"
        options = [f"--metrics={metrics}", f"--access-log={log}", f"--access-log-sample={SHARE}"]
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(SHARE),
        }
    server = stack.enter_context(
        unroll_server(
            place, free_address(), place.server_cores, edge=edge, cache=f"{edge}-{name}", options=options, env=env
        )
    )
    if name != "off":
        ended = threading.Event()
        stack.callback(ended.set)
        threading.Thread(target=_scrape, args=(metrics, ended), daemon=True).start()
    return server


def _compare(place: Place, edge: str, servers: Mapping[str, Served], notes: list[str]) -> Iterator[Figure]:
    """Processor time of a call of an observed server next to that of the other, without request ids and with them."""
    request = request_file(place, "request", REQUEST)
    sizes = {
        name: ANSWER.ByteSize() if name in ("reads", "fields") else answer_bytes(server.address, PREDICT, REQUEST)
        for name, server in servers.items()
    }
    shape = Shape(connections=4, streams=8, seconds=0, requests=REQUESTS[edge])
    supervisors = {name: psutil.Process(servers[name].pids[0]).ppid() for name in ("off", "on", "ids")}
    used: dict[str, list[float]] = {name: [] for name in servers}  # when each round began
    used_above = {name: cpu_seconds(pid) for name, pid in supervisors.items()}
    for number in range(WARM_UP + ROUNDS + 1):
        if number % 10 == WARM_UP:
            console.print(f"{edge}, round {number - WARM_UP} of {ROUNDS} …")
        for name, server in servers.items():
            used[name].append(server.cpu_seconds())
            headers = [f"x-request-id: {ID}"] if name in ("ids", "fields") else []
            load(server.address + PREDICT, request, sizes[name], shape, place.load_core, headers=headers)
    time.sleep(LATE_SECONDS)
    calls = (WARM_UP + ROUNDS + 1) * shape.requests
    _check(place, edge, calls, notes)
    above = {name: (cpu_seconds(pid) - used_above[name]) / calls * 1e6 for name, pid in supervisors.items()}
    notes.append(
        f"{edge}: the supervisor, which makes the spans, took {above['on'] - above['off']:.2f} µs of a call more"
    )
    costs = {
        name: [(b - a) / shape.requests * 1e6 for a, b in itertools.pairwise(u[WARM_UP:])] for name, u in used.items()
    }
    added = {
        name: [
            cost - (before + after) / 2
            for cost, (before, after) in zip(costs[name], itertools.pairwise(costs[yardstick]), strict=False)
        ]
        for name, yardstick in (("on", "off"), ("ids", "off"), ("fields", "reads"))
        if name in costs
    }
    low = {name: statistics.quantiles(cost, n=4)[0] for name, cost in costs.items()}
    notes.append(
        f"{edge}: lower quartiles, off / on {low['off'] / low['on']:.3f}, "
        f"with request ids {low['off'] / low['ids']:.3f}"
    )
    for name, what in (("on", ""), ("ids", ", with request ids")):
        texts = f"{low[name]:.1f} µs", f"{low['off']:.1f} µs"
        ours = added[name]
        if name == "ids" and "fields" in added:
            taken = statistics.median(added["fields"])
            notes.append(
                f"{edge}: request ids add {statistics.median(ours):.1f} µs in all; to receive one and to send three "
                f"fields takes {taken:.1f} µs of an empty server"
            )
            ours, what = [more - taken for more in ours], f"{what}, beyond those of an empty server"
        yield Figure(f"CPU added to a call, {edge}{what}", *texts, ours, MOST_ADDED, unit=" µs")


def _check(place: Place, edge: str, calls: int, notes: list[str]) -> None:
    """Raises RuntimeError unless what was to be observed of so many calls of each server was."""
    for name in ("on", "ids"):
        text = (place.folder / f"{edge}-{name}.jsonl").read_text()
        lines = len(text.splitlines())
        if not 0.8 < lines / (SHARE * calls) < 1.2 or (name == "ids") != (ID in text):
            raise RuntimeError(f"{lines} of {calls} calls are in the access log of the server {name!r}")
    if not _Collector.received or not _Scrapes.answered:
        raise RuntimeError("the observed server was not observed")
    notes.append(f"{edge}: {calls:,} calls of each server, of which {lines:,} are in the access log")
    notes.append(f"so far {_Collector.received:,} bytes of spans, {_Scrapes.answered} scrapes")


class _Scrapes:
    """Counts those that were answered."""

    answered = 0


def _scrape(address: str, ended: threading.Event) -> None:
    while not ended.wait(SCRAPE_SECONDS):
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            answer.read()
            _Scrapes.answered += 1


if __name__ == "__main__":
    main()
