"""Helpers of the benchmarks: figures with targets, timed programs, and programs pinned to some cores."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]

console = Console()


@dataclass(frozen=True)
class Figure:
    """What was measured, relative to what, and its target."""

    what: str
    ours: str
    yardstick: str
    rounds: Sequence[float]  # ratio or difference of the two, in each round
    target: float
    at_least: bool = False  # else at most
    unit: str = ""
    judged: bool = True

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def held(self) -> bool:
        """Whether the target was met."""
        return self.value >= self.target if self.at_least else self.value <= self.target


def show(title: str, figures: Iterable[Figure], notes: Iterable[str] = ()) -> None:
    """Prints figures as a table, with what a reader should know of them."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("measured", "ours", "yardstick", "median (least–most)", "target", "held"):
        table.add_column(column)
    for figure in figures:
        verdict = ("[green]yes[/]" if figure.held else "[red]no[/]") if figure.judged else "not judged"
        spread = f"{min(figure.rounds):.3g}–{max(figure.rounds):.3g}"
        table.add_row(
            figure.what,
            figure.ours,
            figure.yardstick,
            f"{figure.value:.3g}{figure.unit} ({spread})",
            f"{'≥' if figure.at_least else '≤'} {figure.target:g}{figure.unit}",
            verdict,
        )
    console.print(table)
    for note in notes:
        console.print(f"– {note}", highlight=False)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a program: as here, but bytecode is written, so that every start but the first finds it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": str(ROOT), **changes}


def python(*arguments: str, cores: Iterable[int] | None = None) -> list[str]:
    """The command that runs Python, on these cores if they are given."""
    return on(cores, [sys.executable, *arguments]) if cores is not None else [sys.executable, *arguments]


def on(cores: Iterable[int], command: Sequence[str]) -> list[str]:
    """A command that stays on these cores. It replaces the process that sets them, so the process id is its own."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]


def timed(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> float:
    """Seconds that a program takes from start to end; raises RuntimeError with what it said if it fails."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds


def machine() -> str:
    """What the figures were taken on."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    busy = "; others use this machine, which blurs the figures" if load > 1 else ""
    return f"{cores} cores, Python {sys.version.split()[0]}, load average at the start {load:.1f}{busy}"


def middle(values: Iterable[Any]) -> float:
    """The median."""
    return statistics.median(values)
