"""Servers that are measured, as processes: ours, an empty one of grpcio, bare imports; and what they use."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
from google.protobuf.message import Message

from benchmarks.common import ROOT, environment, on, python, timed
from benchmarks.load import PREFIX
from service.client import Client, to_tensor
from service.oip.messages import pb as oip
from service.pb import unroll_pb2 as pb

WAIT_SECONDS = 60.0  # for a process to do what it is started for
MEGABYTE = 1e6
IMPORTS = "import grpc, numpy, h5py"  # that no worker can do without

SEQUENCE = np.array([[[1, 2], [2, 3], [3, 4]]], np.float32)
PREDICT, INFER = "/unroll.v1.PredictionService/Predict", "/inference.GRPCInferenceService/ModelInfer"
REQUEST = pb.PredictRequest(inputs=[to_tensor(SEQUENCE)])
BATCH = pb.PredictRequest(inputs=[to_tensor(np.repeat(SEQUENCE, 256, axis=0))])
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
        """What they used since they started, to the nanosecond."""
        return sum(map(cpu_seconds, self.pids))


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process; `psutil` has it in hundredths of a second."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) gives, on Linux


def request_file(place: Place, name: str, message: Message) -> Path:
    """A message as it goes over the wire."""
    body = message.SerializeToString()
    path = place.folder / name
    path.write_bytes(b"\0" + len(body).to_bytes(PREFIX - 1, "big") + body)
    return path


def answer_bytes(address: str, method: str, message: Message) -> int:
    """How large the answer to a request is."""
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(method)(message.SerializeToString(), timeout=10)
        return len(answer)


@contextmanager
def unroll_server(
    place: Place,
    address: str,
    cores: Sequence[int],
    models: str = "reference",
    edge: str = "http2",
    *,
    cache: str = "",
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    certificates: Path | None = None,
) -> Iterator[Served]:
    """Our server, one worker on each core, when all of them serve and the registry agrees.

    models: names, with commas between them. cache: a name for its folder; servers that run at the same time need one
    each. options: further ones of the command. env: added to the environment. certificates: a folder with server.pem,
    server.key and authority.pem; None: without TLS.
    """
    command = [*serve_command(address, cores, models, edge, cache), *options]
    if certificates is not None:
        command += [f"--tls-certificate={certificates}/server.pem", f"--tls-key={certificates}/server.key"]
    with running(command, place, env) as process:
        supervisor = psutil.Process(process.pid)
        eventually(lambda: len(listening(supervisor.children())) == len(cores))
        with Client(address, root_certificates=certificates and certificates / "authority.pem") as client:
            eventually(lambda: client.health() and not any(model.stale_reason for model in client.models()))
        yield Served(address, tuple(listening(supervisor.children())))


@contextmanager
def empty_server(place: Place, address: str, *options: str) -> Iterator[Served]:
    """The yardstick, one process on each core."""
    with ExitStack() as stack:
        commands = [
            python("-m", "benchmarks.empty_server", address, str(core), *options) for core in place.server_cores
        ]
        processes = [stack.enter_context(running(command, place)) for command in commands]
        pids = [process.pid for process in processes]
        eventually(lambda: len(listening(map(psutil.Process, pids))) == len(pids))
        yield Served(address, tuple(pids))


@contextmanager
def bare_imports(place: Place) -> Iterator[Sequence[int]]:
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


@contextmanager
def cpp_server(place: Place, address: str) -> Iterator[Served | None]:
    """The reference network behind gRPC in C++, on the first core; None where it cannot be built.

    It takes a compiler, and of Debian: libgrpc++-dev, libprotobuf-dev, protobuf-compiler-grpc, pkg-config.
    """
    folder, protos = place.folder / "cpp", ROOT / "proto" / "oip"
    folder.mkdir(exist_ok=True)
    plugin = shutil.which("grpc_cpp_plugin") or ""
    protoc = [
        "protoc", f"-I{protos}", "--cpp_out=.", "--grpc_out=.", f"--plugin=protoc-gen-grpc={plugin}", "inference.proto"
    ]  # fmt: skip
    compiled = f"g++ -O2 -std=c++17 -I. -o server {ROOT}/benchmarks/cpp/server.cc *.cc"
    try:
        timed(protoc, place.env, folder)
        timed(["sh", "-c", compiled + " $(pkg-config --cflags --libs grpc++) -lprotobuf"], place.env, folder)
    except (OSError, RuntimeError):
        yield None
        return
    numbers = np.random.default_rng(0).normal(size=33)
    (folder / "weights").write_text("\n".join(map(str, numbers)))
    command = [str(folder / "server"), address, str(folder / "weights")]
    with running(on(place.server_cores[:1], command), place) as process:
        eventually(lambda: accepts(address))
        yield Served(address, (process.pid,))


def serve_command(
    address: str, cores: Sequence[int], models: str = "reference", edge: str = "http2", cache: str = ""
) -> list[str]:
    """What starts our server."""
    folder = f"cache-{cache or edge}"
    arguments = ["serve", f"--address={address}", f"--cache={folder}", f"--edge={edge}", "--metrics=off"]
    arguments += [f"--model=models:/{model}@champion" for model in models.split(",")]
    return python("-m", "service.cli", *arguments, cores=cores)


@contextmanager
def running(
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


def listening(processes: Iterable[psutil.Process]) -> list[int]:
    """Process ids of those who listen on a port."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a trial of a version, which has ended
            if any(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp")):
                found.append(process.pid)
    return found


def proportional(pid: int) -> float:
    """Megabytes of a process, a page that several share counted in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kibibytes,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes * 1024 / MEGABYTE


def free_address() -> str:
    """An address on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def accepts(address: str) -> bool:
    """Whether somebody listens there. grpcio would wait for longer and longer between its attempts."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not get ready")
        time.sleep(0.005)
