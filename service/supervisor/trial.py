"""Trials of new versions: each is read, proven and timed in a separate process.

A C library reads the weights, and another computes heavy networks. What makes them crash, or take memory or time
without end, ends the trial: the version is refused, and the server serves on.

`python -m service.supervisor.trial` forks those processes: for each line of JSON in, a line of JSON out.
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, Self

from service.config import ServerConfig
from service.errors import CorruptModelError, ServiceError
from service.link import error_from_dict, error_to_dict
from service.snapshot import VersionEntry
from service.version import DISTRIBUTION

MEMORY_BYTES = 4 << 30  # of address space beyond what is imported; the largest file that the reader takes needs 3 GiB
TENSORFLOW_BYTES = 16 << 30  # where Keras computes: TensorFlow reserves much more than it uses
SECONDS = 100.0  # less than a worker may take to load the version afterwards
LARGEST_ANSWER = 60_000  # bytes: what a pipe takes without waiting
PACKAGES = (DISTRIBUTION, "numpy", "onnxruntime", "tensorflow")  # what computes

logger = logging.getLogger(__name__)


class Trial:
    """A process that tries versions, one after the other, each in a child of its own. It starts at once.

    The process imports what computes, and forks for each version: a version that ends its child ends nothing else, and
    many versions cost the imports once.
    """

    def __init__(self) -> None:
        """Raises OSError where no process can be started."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.supervisor.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # As in a worker, where the engines that are chosen will compute.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the supervisor's, and the children end with the process
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """Whether it can try another version."""
        return self.process.poll() is None

    def close(self) -> None:
        """Ends the process and what it is trying."""
        with contextlib.suppress(ProcessLookupError):  # it was waited for
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not sent
                assert pipe is not None
                pipe.close()
        self.process.wait()

    def tried(self, model: str, entry: VersionEntry, config: ServerConfig) -> VersionEntry:
        """A version with the engines that are to compute it, chosen now.

        Raises what `load_version` raises; CorruptModelError where the process was ended by the file.
        """
        asked = {
            "model": model,
            "entry": asdict(replace(entry, engines=None)),
            "require_proof": config.require_proof,
            "fixed_engine": config.engine,
        }
        try:
            answer = self._answer(json.dumps(asked).encode() + b"\n")
        except TimeoutError:
            self.close()
            raise _refused(model, entry, f"was not done after {SECONDS:.0f} s") from None
        status = answer["status"] if answer else self._status()
        if status:
            raise _refused(model, entry, f"ended the process that did it: {_ending(status)}")
        assert answer is not None
        found: dict[str, Any] = json.loads(answer["found"])
        if "error" in found:
            raise error_from_dict(found["error"])
        for refused in found["refused"]:
            logger.warning("version %s of %s: %s, so another engine serves", entry.number, model, refused)
        single, many = found["engines"]
        return replace(entry, engines=(single, many), basis=basis(config))

    def _answer(self, question: bytes) -> dict[str, Any] | None:
        """The answer to a question; None where the process has ended. Raises TimeoutError."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        deadline, received = time.monotonic() + SECONDS, b""
        try:
            stdin.write(question)
            stdin.flush()
        except OSError:
            return None
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(stdout.fileno(), 65536)
            if not piece:
                return None
            received += piece
        answer: dict[str, Any] = json.loads(received)
        return answer

    def _status(self) -> int:
        """How the process ended; it is ended where it has not."""
        try:
            return self.process.wait(1.0) or 1
        except subprocess.TimeoutExpired:
            self.close()
            return self.process.returncode


def basis(config: ServerConfig) -> str:
    """What a trial's outcome depends on besides the version: where that is another, the trial is made again."""
    found = [f"engine {config.engine or 'any'}", f"proof {'required' if config.require_proof else 'not required'}"]
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return ", ".join(found)


def _refused(model: str, entry: VersionEntry, what: str) -> CorruptModelError:
    return CorruptModelError(f"version {entry.number} of {model}: reading and proving it {what}")


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def main() -> None:
    """Tries each version that a line of standard input names, in a child; answers in a line how the child ended."""
    import service.serving.loaded  # noqa: F401  # here once, for all children

    gc.collect()
    gc.freeze()  # so that children share what is there
    for line in sys.stdin:
        receive, send = os.pipe()
        child = os.fork()
        if not child:
            os.close(receive)
            _try(line, send)
        os.close(send)
        with os.fdopen(receive, "rb") as pipe:
            found = pipe.read(LARGEST_ANSWER).decode()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            print(json.dumps({"status": status, "found": found}), flush=True)
        except BrokenPipeError:  # the supervisor has ended; leave without the flush at the interpreter's end
            os._exit(0)


def _try(line: str, send: int) -> NoReturn:
    """Tries a version in this process and ends it; with a status other than 0 where nothing can be said."""
    os.dup2(2, 1)  # the answer goes through a pipe of its own, so what a library prints is none
    status = 1
    try:
        os.write(send, json.dumps(_found(json.loads(line))).encode())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _found(asked: dict[str, Any]) -> dict[str, Any]:
    """What is to be said of a version."""
    from service.serving.loaded import load_version

    model, entry = asked.pop("model"), VersionEntry(**asked.pop("entry"))
    memory = TENSORFLOW_BYTES if asked["fixed_engine"] == "tensorflow" else MEMORY_BYTES
    _bound(memory)
    try:
        engine = load_version(model, entry, **asked).engine
    except ServiceError as error:
        return {"error": error_to_dict(error)}
    except MemoryError:
        return {"error": error_to_dict(_refused(model, entry, f"takes more than {memory >> 30} GiB of memory"))}
    refused = [f"the engine {t.engine} {t.refused} (batch of {t.batch})" for t in engine.timings if t.refused]
    return {"engines": [engine.single.name, engine.many.name], "refused": refused}


def _bound(memory: int) -> None:
    """Bounds what this process takes; where memory is short for all, it is the first to go."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every platform has these bounds
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS),) * 2)  # also where nobody waits any more
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
