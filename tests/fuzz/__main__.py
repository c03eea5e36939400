"""`python -m tests.fuzz [TARGET …] [--runs N]`: fuzzes the reader, each input made from those that reached new code.

What it learns stays in build/fuzz, and is where the next run begins.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = 100_000
LARGEST = 1 << 16  # bytes of an input
# The timeout is of the wall's time, and for what never ends: slow inputs are told by the CPU's (targets.py).
FLAGS = ("-timeout=120", "-rss_limit_mb=2048", f"-max_len={LARGEST}", "-len_control=0")


@dataclass(frozen=True)
class Outcome:
    """What came of one target."""

    inputs: int = 0
    at_first: int = 0  # edges of the reader's code that the seeds reach
    reached: int = 0
    kept: int = 0  # inputs, each of which reached something new


def main() -> None:
    """Runs the targets side by side, each in a process of its own, and says what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which: {', '.join(TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"inputs for each target; default: {RUNS:,}")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "fuzz", help="what is kept; default: build/fuzz"
    )
    given = parser.parse_args()
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}; there are: {', '.join(TARGETS)}")
    folder, begin = given.folder.resolve(), time.time()
    folder.mkdir(parents=True, exist_ok=True)
    processes = {name: _start(name, given.runs, folder) for name in given.targets or TARGETS}
    table = Table("target", "inputs", "edges: seeds → now", "inputs kept", "faults")
    faults: list[Path] = []
    for name, process in processes.items():
        status = process.wait()
        outcome = _outcome(folder / f"{name}.log")
        found = [path for path in folder.glob(f"{name}-fault-*") if path.stat().st_mtime >= begin - 1]
        if status and not found:
            sys.exit(f"{name} ended with status {status}; {folder / f'{name}.log'} says why")
        reached = f"{outcome.at_first:,} → {outcome.reached:,}"
        table.add_row(name, f"{outcome.inputs:,}", reached, f"{outcome.kept:,}", str(len(found)))
        faults += found
    Console().print(table)
    for path in faults:
        print(f"{path}\n  again: python -m tests.fuzz.one {path.name.partition('-fault-')[0]} {path}")
    if faults:
        sys.exit("the reader has a fault")


def _start(name: str, runs: int, folder: Path) -> "subprocess.Popen[bytes]":
    corpus = folder / name
    corpus.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for number, seed in enumerate(TARGETS[name].seeds(Path(scratch))):
            if len(seed) <= LARGEST:
                (corpus / f"seed-{number:03}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(folder), f"-runs={runs}", *FLAGS]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def _outcome(log: Path) -> Outcome:
    """What libFuzzer's log says: lines such as `#100000 DONE cov: 812 ft: 3190 corp: 401/1Mb …`."""
    lines = re.findall(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: \d+ corp: (\d+)", log.read_text(errors="replace"), re.M)
    if not lines:
        return Outcome()
    first = next((line for line in lines if line[1] == "INITED"), lines[0])
    inputs, _, reached, kept = lines[-1]
    return Outcome(int(inputs), int(first[2]), int(reached), int(kept))


if __name__ == "__main__":
    main()
