"""The trial of a version that is new here: read, proven and timed in a process of its own.

A C library reads the weights, and another computes heavy networks. What makes them crash, or take memory or time
without end, ends the trial: the version is refused, and the server serves on.

`python -m service.supervisor.trial` is that process: a line of JSON in, a line of JSON out.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from service.config import ServerConfig
from service.errors import CorruptModelError, ServiceError
from service.link import error_from_dict, error_to_dict
from service.snapshot import VersionEntry

MEMORY_BYTES = 4 << 30  # of address space beyond what is imported; the largest file that the reader takes needs 3 GiB
TENSORFLOW_BYTES = 16 << 30  # where Keras computes: TensorFlow reserves much more than it uses
SECONDS = 100.0  # less than a worker may take to load the version afterwards
PACKAGES = ("unroll", "numpy", "onnxruntime", "tensorflow")  # what computes

logger = logging.getLogger(__name__)


class Trial:
    """A process that tries one version. It starts at once, to be ready when the files are."""

    def __init__(self) -> None:
        """Raises OSError where no process can be started."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.supervisor.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # As in a worker, where the engines that are chosen will compute.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the supervisor's
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def tried(self, model: str, entry: VersionEntry, config: ServerConfig) -> VersionEntry:
        """A version with the engines that are to compute it, chosen now.

        Raises what `host.load_version` raises; CorruptModelError where the process was ended by the file.
        """
        asked = {
            "model": model,
            "entry": asdict(replace(entry, engines=None)),
            "require_proof": config.require_proof,
            "fixed_engine": config.engine,
        }
        try:
            answer, _ = self.process.communicate(json.dumps(asked).encode(), SECONDS)
        except subprocess.TimeoutExpired:
            raise _refused(model, entry, f"was not done after {SECONDS:.0f} s") from None
        if self.process.returncode:
            raise _refused(model, entry, f"ended the process that did it: {_ending(self.process.returncode)}")
        found: dict[str, Any] = json.loads(answer.splitlines()[-1])
        if "error" in found:
            raise error_from_dict(found["error"])
        for refused in found["refused"]:
            logger.warning("version %s of %s: %s, so another engine serves", entry.number, model, refused)
        single, many = found["engines"]
        return replace(entry, engines=(single, many), basis=basis(config))


def basis(config: ServerConfig) -> str:
    """What a trial's outcome depends on beside the version: where that is another, the trial is made again."""
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
    """Tries the version that standard input names; ends with a status other than 0 where nothing can be said."""
    from service.serving.host import load_version

    line = sys.stdin.readline()
    if not line:  # the files did not come
        return
    asked = json.loads(line)
    model, entry = asked.pop("model"), VersionEntry(**asked.pop("entry"))
    memory = TENSORFLOW_BYTES if asked["fixed_engine"] == "tensorflow" else MEMORY_BYTES
    _bound(memory)
    answer: dict[str, Any]
    try:
        engine = load_version(model, entry, **asked).engine
        refused = [f"the engine {t.engine} {t.refused} (batch of {t.batch})" for t in engine.timings if t.refused]
        answer = {"engines": [engine.single.name, engine.many.name], "refused": refused}
    except ServiceError as error:
        answer = {"error": error_to_dict(error)}
    except MemoryError:
        answer = {"error": error_to_dict(_refused(model, entry, f"takes more than {memory >> 30} GiB of memory"))}
    print(json.dumps(answer))


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
