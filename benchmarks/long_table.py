"""A table that is longer than memory should hold: peak memory and rate of `unroll train` and `unroll score` on it.

The table is a folder of Parquet files with a partition for each of its series. Each command is a process of its own,
and its memory is what the operating system says it had at most, mapped files included.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Figure, environment, machine, python, show

ROWS = 50_000_000
SERIES, FILES = 8, 4  # files of each series
FEATURES = "abc"
WINDOW, BATCH = 16, 8192
LIMIT, GIGABYTE = 2e9, 1e9  # bytes
TRAIN = [
    "--time", "t", "--group", "well", "--target", "a", "--window", str(WINDOW), "--units", "8",
    "--batch-size", str(BATCH), "--epochs", "1", "--promote", "always", "--name", "long",
]  # fmt: skip


def main() -> None:
    """Measures and prints; an argument is another number of rows."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as name:
        folder = Path(name)
        write(folder / "wells", rows)
        figures = [
            figure("unroll train, 1 epoch", rows, *command(folder, "train", *TRAIN)),
            figure(
                "unroll score", rows,
                *command(folder, "score", "--model", "models:/long@champion", "--out", str(folder / "out.parquet")),
            ),
        ]  # fmt: skip
        size = sum(path.stat().st_size for path in (folder / "wells").rglob("*.parquet"))
    show("A long table", figures, [machine(), f"{rows:,} rows in {size / 2**20:,.0f} MiB of Parquet"])


def write(folder: Path, rows: int) -> None:
    """A table of minutes in a folder."""
    import pyarrow as pa
    from pyarrow import parquet

    noise = np.random.default_rng(0)
    count = rows // SERIES // FILES
    for series in range(SERIES):
        into = folder / f"well={series}"
        into.mkdir(parents=True)
        for number in range(FILES):
            minutes = np.arange(number * count, (number + 1) * count)
            columns = {"t": minutes.astype("datetime64[m]").astype("datetime64[ms]")}
            for i, name in enumerate(FEATURES):
                wave = np.sin(minutes / (50 + 10 * i), dtype=np.float32)
                columns[name] = wave + noise.standard_normal(count, np.float32) / 10
            parquet.write_table(pa.table(columns), into / f"part-{number}.parquet")


def command(folder: Path, *arguments: str) -> tuple[float, int]:
    """Seconds that a command takes on the table, and bytes that it has at most."""
    env = environment(
        MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db", UNROLL_CHECKPOINTS=str(folder / "checkpoints"),
        UNROLL_CACHE=str(folder / "cache"), TMPDIR=str(folder),
    )  # fmt: skip
    given = python("-m", "service.cli", *arguments, "--data", str(folder / "wells"))
    begin = time.perf_counter()
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(given, env=env, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if status:
            raise RuntimeError(said.read())
    return time.perf_counter() - begin, used.ru_maxrss * 1024


def figure(what: str, rows: int, seconds: float, peak: int) -> Figure:
    """The memory of a command, beside what it may have."""
    return Figure(
        f"{what}: peak memory, GB", f"{peak / GIGABYTE:.2f} ({rows / seconds:,.0f} rows/s)", f"{LIMIT / GIGABYTE:g}",
        [peak / GIGABYTE], target=LIMIT / GIGABYTE,
    )  # fmt: skip


if __name__ == "__main__":
    main()
