"""Progress of a training job: bars on a terminal, a few lines elsewhere."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.checkpoints import Progress as Fit
from training.job import Listener

if TYPE_CHECKING:
    from training.network import Weights

PLAIN_LINES, PLAIN_SECONDS = 10, 10.0  # where there is no terminal to draw a bar on: lines, at least, or their distance


def bar(console: Console) -> Progress:
    """A bar with text next to it; nothing is drawn where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console,
                    disable=not console.is_terminal, transient=True)  # fmt: skip


def weights_table(title: str, weights: "Weights") -> Table:
    """Names, shapes and values."""
    import numpy as np

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("weight", "shape", "values"):
        table.add_column(column)
    for weight, values in weights.items():
        shown = np.array2string(values, precision=4, suppress_small=True, threshold=64)
        table.add_row(weight, str(values.shape), shown)
    return table


class Shown(Listener):
    """Draws a job on a console."""

    def __init__(self, console: Console, *, weights: bool = False) -> None:
        """`weights`: whether initial weights are shown; those of large networks fill the screen."""
        self._weights = weights
        self.run_id = ""
        self.check: Callable[[], None] = lambda: None  # called at every step; may end the job
        self._console = console
        self._bar: Progress | None = None
        self._next = time.monotonic() + PLAIN_SECONDS
        self._last: Fit | None = None

    def reading(self, done: int, total: int) -> None:
        """A bar of the file."""
        self._draw("reading", done, total, "")
        if done >= total:
            self.close()

    def found(self, text: str) -> None:
        """A line."""
        self._console.print(text, highlight=False, markup=False)

    def started(self, run_id: str, epochs: int) -> None:
        """A line with the run, which is what one needs to go on after a kill."""
        self.run_id, self._epochs, self._next_epoch = run_id, epochs, max(1, epochs // PLAIN_LINES)
        self._console.print(f"run {run_id}", highlight=False)

    def built(self, summary: str, weights: "Weights") -> None:
        """Keras's table of layers, and the weights where they are shown."""
        self._console.print(summary, highlight=False, markup=False)
        if self._weights:
            self._console.print(weights_table("Weights before training", weights))

    def learning(self, epoch: int, share: float, progress: Fit) -> None:
        """A bar of epochs, with the losses; a line now and then where there is no bar."""
        self._last = progress
        note = f"loss {progress.losses[-1]:.4g}" if progress.losses else ""
        if progress.validation_losses:
            note += f", validation {progress.validation_losses[-1]:.4g}, "
            note += f"best {progress.best_loss:.4g} in epoch {progress.best_epoch}"
        self._draw("fitting", epoch + share, self._epochs, note)
        due = epoch >= self._next_epoch or time.monotonic() > self._next
        if not self._console.is_terminal and due and note:
            self._console.print(f"epoch {epoch} of {self._epochs}: {note}", highlight=False)
            self._next = time.monotonic() + PLAIN_SECONDS
            self._next_epoch = epoch + max(1, self._epochs // PLAIN_LINES)

    def fitted(self, seconds: float) -> None:
        """A line."""
        self.close()
        if self._last is not None:
            last = self._last
            best = ""
            if last.validation_losses:
                best = f"; the best was epoch {last.best_epoch}, with the validation loss {last.best_loss:.5g}"
            epochs = f"{last.epoch} epoch{'' if last.epoch == 1 else 's'}"
            taken = f"{seconds:.1f} s" if seconds >= 0.05 else "less than 0.1 s"
            self._console.print(f"fitted {epochs} in {taken}{best}", highlight=False)

    def comparing(self, done: int, total: int) -> None:
        """A bar of forecasts."""
        self._draw("AutoETS and AutoTheta", done, total, "")
        if done >= total:
            self.close()

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _draw(self, what: str, done: float, total: float, note: str) -> None:
        self.check()
        if self._bar is None:
            self._bar = bar(self._console)
            self._task = self._bar.add_task(what, total=total, note="")
            self._bar.start()
        self._bar.update(self._task, completed=done, note=note)
