"""Load on a gRPC method: h2load if it is installed, else a Python process, which is slower than what it measures.

`python -m benchmarks.load URL FILE CONNECTIONS STREAMS SECONDS` is that process; a URL is ADDRESS/SERVICE/METHOD.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.common import environment, on, python

PREFIX = 5  # bytes before each message of gRPC: whether it is compressed, and its length
FIRST = ["chrt", "--fifo", "1"]  # runs a command before all others on its core
DRAIN_SECONDS = 5.0  # for the last answers of a load by Python


@dataclass(frozen=True)
class Shape:
    """How requests come."""

    connections: int
    streams: int  # at a time on each connection
    seconds: int  # whole ones, as h2load wants them
    requests: int = 0  # in all, whatever time they take; 0: as many as the seconds have room for. By h2load alone


@dataclass(frozen=True)
class Done:
    """What came of a load."""

    requests: int  # that were answered
    per_second: float


def has_h2load() -> bool:
    """Whether the real load generator is there."""
    return shutil.which("h2load") is not None


def load(
    url: str, request: Path, answer_bytes: int | None, shape: Shape, core: int, *, headers: Sequence[str] = ()
) -> Done:
    """Loads a method, ADDRESS/SERVICE/METHOD, from one core; by h2load `https://` may stand before it.

    `request` holds a message with its prefix. Every answer must have so many bytes; None: as many as all others.
    `headers`, each NAME: VALUE, are sent with every request, by h2load alone.

    Raises RuntimeError if any request failed: an error of gRPC has status 200 in HTTP, but carries no message.
    """
    done, received = _h2load(url, request, shape, core, headers) if has_h2load() else _python(url, request, shape, core)
    if answer_bytes is None:
        answer_bytes = received // done.requests - PREFIX
    if answer_bytes <= 0 or received != done.requests * (PREFIX + answer_bytes):
        raise RuntimeError(f"{done.requests} answers of {answer_bytes} bytes were expected, and {received} bytes came")
    return done


def latencies(url: str, request: Path, seconds: int, core: int) -> list[float]:
    """Seconds of each call of one caller, which waits for one answer before it asks again. Needs h2load.

    Where this process may say so, the caller comes before all others on its core: what it waits for is the server.
    """
    with tempfile.NamedTemporaryFile("r") as log:
        _h2load(url, request, Shape(1, 1, seconds), core, [], log.name)
        return [int(line.split("\t")[2]) * 1e-6 for line in log]


def _h2load(
    url: str, request: Path, shape: Shape, core: int, headers: Sequence[str], log: str = ""
) -> tuple[Done, int]:
    command = [
        "h2load", *([f"--log-file={log}"] if log else []),
        f"--clients={shape.connections}", f"--max-concurrent-streams={shape.streams}",
        f"--requests={shape.requests}" if shape.requests else f"--duration={shape.seconds}", f"--data={request}",
        "--header=content-type: application/grpc", "--header=te: trailers",
        *(f"--header={header}" for header in headers), url if "://" in url else f"http://{url}",
    ]  # fmt: skip
    if log and subprocess.run([*FIRST, "true"], check=False, capture_output=True).returncode == 0:
        command = [*FIRST, *command]
    ended = subprocess.run(on([core], command), capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    rate = re.search(r"([\d.]+) req/s", said)
    data = re.search(r"\((\d+)\) data", said)
    if ended.returncode or not (counts and rate and data) or any(map(int, counts.groups()[1:])):
        raise RuntimeError(f"h2load reports failures:\n{said}")
    return Done(int(counts[1]), float(rate[1])), int(data[1])


def _python(url: str, request: Path, shape: Shape, core: int) -> tuple[Done, int]:
    arguments = [url, str(request), str(shape.connections), str(shape.streams), str(shape.seconds)]
    command = python("-m", "benchmarks.load", *arguments, cores=[core])
    done = json.loads(subprocess.run(command, env=environment(), capture_output=True, check=True).stdout)
    return Done(done["requests"], done["per_second"]), done["received"]


class _Load:
    """Requests from this process, each answer followed by the next request."""

    def __init__(self, message: bytes, seconds: float) -> None:
        self._message = message
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self.requests = self.received = 0

    def follow(self, call: "grpc.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
        """Keeps one request on its way until the time is over."""

        def answered(future: "grpc.Future[bytes]") -> None:
            answer = future.result()
            with self._lock:
                self.requests += 1
                self.received += PREFIX + len(answer)
            if time.monotonic() < self._end:
                self.follow(call)

        call.future(self._message).add_done_callback(answered)


def main() -> None:
    """Loads a server and prints what came of it as JSON."""
    url, request, connections, streams, seconds = sys.argv[1:]
    address, slash, method = url.partition("/")
    begin = time.monotonic()
    work = _Load(Path(request).read_bytes()[PREFIX:], float(seconds))
    for _ in range(int(connections)):
        channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary(slash + method, request_serializer=None, response_deserializer=None)
        for _ in range(int(streams)):
            work.follow(call)
    time.sleep(float(seconds))
    per_second = work.requests / (time.monotonic() - begin)
    time.sleep(DRAIN_SECONDS)
    print(json.dumps({"requests": work.requests, "per_second": per_second, "received": work.received}))


if __name__ == "__main__":
    main()
