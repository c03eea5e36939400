"""What it costs to observe a server: all of it switched on, next to nothing switched on.

On each edge two servers of the reference network run for the whole time and are loaded by turns. One has no metrics,
no access log and no traces. The other is scraped as often as Prometheus usually does it, logs 1 % of its calls and
sends traces of 1 % of them. What is compared is the processor time of a call in all workers, which other programs blur
least.

The target, 0.97, was set when a small call took 177 µs, so 5.3 µs may be added to one. On the http2 edge a call takes
a ninth of that: there a request id, which is read, checked and sent back with version and times, is held to these
5.3 µs, and everything else to 0.97.
"""

import os
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.load import Shape, has_h2load, load
from benchmarks.servers import PREDICT, REQUEST, Place, Served, answer_bytes, free_address, request_file, unroll_server

ROUNDS = 12
SHAPE = Shape(connections=4, streams=8, seconds=2)
SHARE = 0.01  # of calls that are logged, and of those that are traced
SCRAPE_SECONDS = 15.0
TARGET = 0.97
MOST_ADDED = 5.3  # microseconds
IDS = "x-request-id: 6f1c2f3e-5d0c-4a5b-9a39-7f4f0a3b6c11"


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
    if len(cores) == 1:
        console.print("One core: servers and load have nowhere to be apart. Nothing is measured.")
        return
    notes = [machine(), f"{SHARE:.0%} of the calls logged and as many traced; a scrape every 15 s"]
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
    traced = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(SHARE),
    }
    ended = threading.Event()
    stack.callback(ended.set)
    figures = []
    for edge in ("http2", "grpcio"):
        metrics = free_address()
        logged = [f"--metrics={metrics}", f"--access-log={place.folder}/access.jsonl", f"--access-log-sample={SHARE}"]
        with (
            unroll_server(place, free_address(), place.server_cores, edge=edge, cache="plain") as plain,
            unroll_server(
                place, free_address(), place.server_cores, edge=edge, cache="observed", options=logged, env=traced
            ) as observed,
        ):
            threading.Thread(target=_scrape, args=(metrics, ended), daemon=True).start()
            figures += _compare(place, plain, observed, edge)
    lines = len((place.folder / "access.jsonl").read_text().splitlines())
    notes.append(f"{lines:,} lines in the access log, {_Collector.received:,} bytes of spans")
    if not lines or not _Collector.received:
        raise RuntimeError("the observed server was not observed")
    return figures


def _compare(place: Place, plain: Served, observed: Served, edge: str) -> Iterator[Figure]:
    """Processor time of a call of one server, next to that of the other, without request ids and with them."""
    request = request_file(place, "request", REQUEST)
    size = answer_bytes(plain.address, PREDICT, REQUEST)
    loads: dict[str, tuple[Served, list[str]]] = {"off": (plain, []), "on": (observed, []), "ids": (observed, [IDS])}
    costs: dict[str, list[float]] = {name: [] for name in loads}
    for number in range(ROUNDS + 1):
        console.print(f"{edge}, round {number} of {ROUNDS} …" if number else f"{edge}, warming up …")
        for name in loads if number % 2 else reversed(loads):
            server, headers = loads[name]
            begin = server.cpu_seconds()
            done = load(server.address + PREDICT, request, size, SHAPE, place.load_core, headers=headers)
            if number:
                costs[name].append((server.cpu_seconds() - begin) / done.requests * 1e6)
    for name, what in (("on", ""), ("ids", ", with request ids")):
        texts = f"{middle(costs[name]):.1f} µs", f"{middle(costs['off']):.1f} µs"
        pairs = list(zip(costs["off"], costs[name], strict=True))
        if name == "ids" and edge == "http2":
            added = [b - a for a, b in pairs]
            yield Figure(
                f"CPU added to a call, {edge}{what}", *texts, added, MOST_ADDED, unit=" µs", judged=has_h2load()
            )
        else:
            ratios = [a / b for a, b in pairs]
            yield Figure(
                f"CPU of a call, {edge}{what}: off / on", *texts, ratios, TARGET, at_least=True, judged=has_h2load()
            )


def _scrape(address: str, ended: threading.Event) -> None:
    while not ended.wait(SCRAPE_SECONDS):
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            answer.read()


if __name__ == "__main__":
    main()
