"""The server compared with two yardsticks: an empty grpcio server on the same cores, and the bare imports of a worker.

Both servers run for the whole time and are loaded by turns, so what disturbs one disturbs the other. Servers have all
cores but the last; the load, the client and this process have the last.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
from google.protobuf.message import Message

from benchmarks.common import Figure, console, environment, machine, middle, python, show, timed
from benchmarks.empty_server import ANSWER
from benchmarks.load import PREFIX, Shape, has_h2load, load
from service.client import Client, to_tensor
from service.oip.messages import pb as oip
from service.pb import unroll_pb2 as pb

IMPORTS = "import grpc, numpy, h5py"
START_ROUNDS, LOAD_ROUNDS, LATENCY_ROUNDS = 5, 5, 20
CALLS = 500  # of one connection, in each round
LOAD_SECONDS = 2
WAIT_SECONDS = 60.0  # for a process to do what it is started for
MEGABYTE = 1e6

SEQUENCE = np.array([[[1, 2], [2, 3], [3, 4]]], np.float32)
PREDICT, INFER = "/unroll.v1.PredictionService/Predict", "/inference.GRPCInferenceService/ModelInfer"
REQUEST = pb.PredictRequest(inputs=[to_tensor(SEQUENCE)])
INFER_REQUEST = oip.ModelInferRequest(
    model_name="reference",
    inputs=[{"name": "sequence", "datatype": "FP32", "shape": SEQUENCE.shape}],
    raw_input_contents=[SEQUENCE.tobytes()],
)


@dataclass(frozen=True)
class Place:
    """Where things run, and what they share."""

    folder: Path
    all_cores: Sequence[int]
    server_cores: Sequence[int]
    load_core: int

    @property
    def env(self) -> dict[str, str]:
        """The environment of the programs."""
        return environment(
            MLFLOW_TRACKING_URI=f"sqlite:///{self.folder}/mlflow.db",
            OPENBLAS_NUM_THREADS="1",  # as the workers have it, so that the bare imports have it too
        )


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    address: str
    pids: tuple[int, ...]  # of those who answer

    def cpu_seconds(self) -> float:
        """What they used since they started."""
        times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return sum(time.user + time.system for time in times)


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
        bare = stack.enter_context(_bare(place))
        figures.append(_memory(unroll, bare, "memory of a worker before its first request"))
        empty = stack.enter_context(_empty(place, free_address()))
        before = [_predict(server.address) for server in (unroll, empty)]
        figures += _load(place, servers, empty, notes)
        figures.append(_memory(unroll, bare, "memory of a worker after the load"))
        figures.append(_latency(unroll, empty))
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
        with _process(_serve_command(address, place.all_cores), place):
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
    ours, theirs = [_proportional(pid) for pid in unroll.pids], [_proportional(pid) for pid in bare]
    return Figure(
        f"{what}, above imports",
        f"{middle(ours):.1f} MB",
        f"{middle(theirs):.1f} MB",
        [own - middle(theirs) for own in ours],
        target=25,
        unit=" MB",
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A load on our server next to the same load on the yardstick, and what is wanted of the two."""

    what: str
    edge: str
    method: str
    request: Message
    connections: int
    streams: int
    rate: float  # requests/s, at least so many times those of the yardstick
    cost: float  # processor time of a request, at most so much of the yardstick's


BATCH = pb.PredictRequest(inputs=[to_tensor(np.repeat(SEQUENCE, 256, axis=0))])
CASES = (
    Case("Predict", "http2", PREDICT, REQUEST, 4, 8, 7.0, 0.15),
    Case("Predict", "http2", PREDICT, REQUEST, 8, 32, 7.0, 0.15),
    Case("ModelInfer", "http2", INFER, INFER_REQUEST, 4, 8, 5.5, 0.19),
    Case("ModelInfer", "http2", INFER, INFER_REQUEST, 8, 32, 5.5, 0.19),
    Case("Predict of 256 sequences", "http2", PREDICT, BATCH, 4, 8, 1.5, 0.67),
    Case("Predict", "grpcio", PREDICT, REQUEST, 4, 8, 0.75, 1.27),
)


def _load(place: Place, servers: Mapping[str, Served], empty: Served, notes: list[str]) -> list[Figure]:
    """Requests per second and processor time, each server loaded as much as it can bear, by turns."""
    rates: dict[tuple[Case, bool], list[float]] = {}
    costs: dict[tuple[Case, bool], list[float]] = {}
    workers = len(place.server_cores)
    for number in range(LOAD_ROUNDS + 1):
        console.print(f"load, round {number} of {LOAD_ROUNDS} …" if number else "load, warming up …")
        for index, case in enumerate(CASES):
            # The yardstick reads a Predict of the same size and says the same to everything.
            wanted = case.request if case.method == PREDICT else REQUEST
            aims = {
                True: (servers[case.edge], case.method, case.request),
                False: (empty, PREDICT, wanted),
            }
            for ours in (True, False) if number % 2 else (False, True):
                server, method, message = aims[ours]
                request = request_file(place, f"{index}-{ours}", message)
                size = answer_bytes(server.address, method, message) if ours else ANSWER.ByteSize()
                shape = Shape(case.connections * workers, case.streams, LOAD_SECONDS)
                begin = server.cpu_seconds()
                done = load(server.address + method, request, size, shape, place.load_core)
                if number:
                    rates.setdefault((case, ours), []).append(done.per_second)
                    used = (server.cpu_seconds() - begin) / done.requests * 1000
                    costs.setdefault((case, ours), []).append(used)
    notes.append(
        f"load by h2load: connections for each worker × streams, {LOAD_SECONDS} s; no request failed"
        if has_h2load()
        else "h2load (Debian: nghttp2-client) is not installed: a Python process made the load, and is itself the limit"
    )
    figures = []
    for case in CASES:
        what = f"{case.what}, {case.edge}, {case.connections} × {case.streams}"
        pairs = [rates[case, True], rates[case, False]]
        figures.append(
            Figure(
                f"requests/s: {what}",
                *(f"{middle(values):,.0f}" for values in pairs),
                [a / b for a, b in zip(*pairs, strict=True)],
                target=case.rate,
                at_least=True,
                judged=has_h2load(),
            )
        )
        pairs = [costs[case, True], costs[case, False]]
        figures.append(
            Figure(
                f"CPU s for 1,000: {what}",
                *(f"{middle(values):.4f} s" for values in pairs),
                [a / b for a, b in zip(*pairs, strict=True)],
                target=case.cost,
            )
        )
    return figures


def answer_bytes(address: str, method: str, message: Message) -> int:
    """How large the answer to a request is."""
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(method)(message.SerializeToString(), timeout=10)
        return len(answer)


def request_file(place: Place, name: str, message: Message) -> Path:
    """A message as it goes over the wire."""
    body = message.SerializeToString()
    path = place.folder / name
    path.write_bytes(b"\0" + len(body).to_bytes(PREFIX - 1, "big") + body)
    return path


def _latency(unroll: Served, empty: Served) -> Figure:
    """The time of a call that has a server to itself, as a Python client sees it."""
    medians: dict[Served, list[float]] = {unroll: [], empty: []}
    with grpc.insecure_channel(unroll.address) as one, grpc.insecure_channel(empty.address) as other:
        calls = {unroll: _caller(one), empty: _caller(other)}
        for number in range(LATENCY_ROUNDS + 1):
            for server, call in calls.items():
                p50 = middle(_timings(call))
                if number:  # the first warms up
                    medians[server].append(p50)
    return Figure(
        "p50 of a call, one connection",
        f"{middle(medians[unroll]) * 1e3:.3f} ms",
        f"{middle(medians[empty]) * 1e3:.3f} ms",
        [a / b for a, b in zip(medians[unroll], medians[empty], strict=True)],
        target=0.55,
    )


def _timings(call: Callable[[pb.PredictRequest], pb.PredictResponse]) -> Iterator[float]:
    for _ in range(CALLS):
        begin = time.perf_counter()
        call(REQUEST)
        yield time.perf_counter() - begin


def _predict(address: str) -> pb.PredictResponse:
    """One answer, asked for until the server is there."""
    _eventually(lambda: _accepts(address))
    with grpc.insecure_channel(address) as channel:
        return _caller(channel)(REQUEST, timeout=10)


def _infer(address: str) -> oip.ModelInferResponse:
    """One answer in the standard protocol."""
    with grpc.insecure_channel(address) as channel:
        answer: oip.ModelInferResponse = channel.unary_unary(
            INFER, oip.ModelInferRequest.SerializeToString, oip.ModelInferResponse.FromString
        )(INFER_REQUEST, timeout=10)
        return answer


def _caller(channel: grpc.Channel) -> "grpc.UnaryUnaryMultiCallable[pb.PredictRequest, pb.PredictResponse]":
    return channel.unary_unary(PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString)


@contextmanager
def unroll_server(
    place: Place,
    address: str,
    cores: Sequence[int],
    model: str = "reference",
    edge: str = "http2",
    *,
    cache: str = "",
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Our server, one worker on each core, when all of them serve and the registry agrees.

    cache: a name for its folder; servers that run at the same time need one each. options: further ones of the command.
    env: added to the environment.
    """
    command = [*_serve_command(address, cores, model, edge, cache), *options]
    with _process(command, place, env) as process:
        supervisor = psutil.Process(process.pid)
        _eventually(lambda: len(_listening(supervisor.children())) == len(cores))
        with Client(address) as client:
            _eventually(lambda: client.health() and [model.stale_reason for model in client.models()] == [""])
        yield Served(address, tuple(_listening(supervisor.children())))


@contextmanager
def _empty(place: Place, address: str) -> Iterator[Served]:
    """The yardstick, one process on each core."""
    with ExitStack() as stack:
        commands = [python("-m", "benchmarks.empty_server", address, str(core)) for core in place.server_cores]
        processes = [stack.enter_context(_process(command, place)) for command in commands]
        pids = [process.pid for process in processes]
        _eventually(lambda: len(_listening(map(psutil.Process, pids))) == len(pids))
        yield Served(address, tuple(pids))


@contextmanager
def _bare(place: Place) -> Iterator[Sequence[int]]:
    """Process ids of as many bare imports as there are workers."""
    code = f"{IMPORTS}; print(flush=True); input()"
    with ExitStack() as stack:
        pids = []
        for core in place.server_cores:
            process = subprocess.Popen(
                python("-c", code, cores=[core]), env=place.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.terminate)
            assert process.stdout is not None
            process.stdout.readline()  # it has imported
            pids.append(process.pid)
        yield pids


def _serve_command(
    address: str, cores: Sequence[int], model: str = "reference", edge: str = "http2", cache: str = ""
) -> list[str]:
    arguments = ["serve", f"--model=models:/{model}@champion", f"--address={address}", f"--cache=cache-{cache or edge}"]
    arguments += [f"--edge={edge}", "--metrics=off"]
    return python("-m", "service.cli", *arguments, cores=cores)


@contextmanager
def _process(
    command: Sequence[str], place: Place, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that runs while a block does, and is ended as an operator would."""
    with (place.folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env={**place.env, **(env or {})}, cwd=place.folder, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)


def _listening(processes: "Iterator[psutil.Process] | Sequence[psutil.Process]") -> list[int]:
    """Process ids of those who listen on a port."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a trial of a version, which has ended
            if any(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp")):
                found.append(process.pid)
    return found


def _proportional(pid: int) -> float:
    """Megabytes of a process, a page that several share counted in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kibibytes,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes * 1024 / MEGABYTE


def free_address() -> str:
    """An address on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _accepts(address: str) -> bool:
    """Whether somebody listens there. grpcio would wait for longer and longer between its attempts."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not get ready")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
