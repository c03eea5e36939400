"""Shows how the job on people's own data goes: bars on a terminal, a few lines elsewhere."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Gives a check that raises KeyboardInterrupt if Ctrl-C was pressed in the block.

    Python raises it by itself, but native code that calls back into Python may swallow it, as TensorFlow does while it
    traces; then the check raises it a moment later.
    """
    pressed = False

    def note(_number: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


class Shown(Listener):
    """Draws a job on a console."""

    def __init__(self, console: Console, check: Callable[[], None]) -> None:
        """`check` is called whenever something is told, and may end the job."""
        self.run_id = ""
        self._check = check
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
        self._check()
        if self._bar is None:
            self._bar = bar(self._console)
            self._task = self._bar.add_task(what, total=total, told="")
            self._bar.start()
        self._bar.update(self._task, completed=done, told=told)
