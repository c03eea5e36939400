"""Shows how the job on people's own data goes: bars on a terminal, a few lines elsewhere."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from training.checkpoints import Progress as Fit
from training.job import Listener

if TYPE_CHECKING:
    from training.network import Weights

PLAIN_SECONDS = 10.0  # between two lines, where there is no terminal to draw a bar on


def bar(console: Console) -> Progress:
    """A bar with what is told beside it; nothing is drawn where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TextColumn("{task.fields[told]}"), TimeRemainingColumn(), console=console,
                    disable=not console.is_terminal, transient=True)  # fmt: skip


class Shown(Listener):
    """Draws a job on a console."""

    def __init__(self, console: Console) -> None:
        self.run_id = ""
        self.check: Callable[[], None] = lambda: None  # called whenever something is told; may end the job
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
        self.run_id, self._epochs = run_id, epochs
        self._console.print(f"run {run_id}", highlight=False)

    def built(self, summary: str, weights: "Weights") -> None:
        """Keras's table of layers."""
        self._console.print(summary, highlight=False, markup=False)

    def learning(self, epoch: int, share: float, progress: Fit) -> None:
        """A bar of epochs, with the losses; a line now and then where there is no bar."""
        self._last = progress
        told = "" if not progress.epoch else (
            f"loss {progress.losses[-1]:.4g}, validation {progress.validation_losses[-1]:.4g}, "
            f"best {progress.best_loss:.4g} in epoch {progress.best_epoch}"
        )  # fmt: skip
        self._draw("fitting", epoch + share, self._epochs, told)
        if not self._console.is_terminal and time.monotonic() > self._next and told:
            self._console.print(f"epoch {epoch} of {self._epochs}: {told}", highlight=False)
            self._next = time.monotonic() + PLAIN_SECONDS

    def fitted(self, seconds: float) -> None:
        """A line."""
        self.close()
        if self._last is not None:
            last = self._last
            self._console.print(
                f"fitted {last.epoch} epochs in {seconds:.1f} s; the best was epoch {last.best_epoch}, "
                f"with the validation loss {last.best_loss:.5g}",
                highlight=False,
            )

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _draw(self, what: str, done: float, total: float, told: str) -> None:
        self.check()
        if self._bar is None:
            self._bar = bar(self._console)
            self._task = self._bar.add_task(what, total=total, told="")
            self._bar.start()
        self._bar.update(self._task, completed=done, told=told)
