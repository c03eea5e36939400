"""`unroll train`: the command, and how it shows what the job does."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.options import Options

if TYPE_CHECKING:
    from training.job import Outcome
    from training.network import Weights

DEFAULT = Options()
NETWORK, FITTING = "Network", "Fitting"
PLAIN_LINES = 10  # of progress, where there is no terminal to draw a bar on

console = Console()


def train(
    name: Annotated[str, typer.Option(help="Model to register under.")] = "reference",
    alias: Annotated[str, typer.Option(help="Alias to point at the new version.")] = "champion",
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Train only where the alias is not there yet.")
    ] = False,
    experiment: Annotated[str, typer.Option(help="MLflow experiment; default: the model's name.")] = "",
    units: Annotated[int, typer.Option(help="Units of the recurrent layer.", rich_help_panel=NETWORK)] = DEFAULT.units,
    activation: Annotated[
        str, typer.Option(help="Its activation, as Keras names it; linear: none.", rich_help_panel=NETWORK)
    ] = DEFAULT.activation,
    return_sequences: Annotated[
        bool, typer.Option("--return-sequences", help="Give its output at every timestep.", rich_help_panel=NETWORK)
    ] = False,
    dense_units: Annotated[
        int, typer.Option(help="Units of the Dense layer after it; 0: none.", rich_help_panel=NETWORK)
    ] = DEFAULT.dense_units,
    dense_activation: Annotated[
        str, typer.Option(help="Activation of the Dense layer; softmax: classification.", rich_help_panel=NETWORK)
    ] = DEFAULT.dense_activation,
    epochs: Annotated[
        int, typer.Option(help="Passes over the data; 0: register initial weights.", rich_help_panel=FITTING)
    ] = DEFAULT.epochs,
    loss: Annotated[
        str, typer.Option(help="Loss, as Keras names it; default: as the network needs.", rich_help_panel=FITTING)
    ] = DEFAULT.loss,
    optimizer: Annotated[
        str, typer.Option(help="Optimizer, as Keras names it.", rich_help_panel=FITTING)
    ] = DEFAULT.optimizer,
    learning_rate: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel=FITTING)] = (
        DEFAULT.learning_rate
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything left to chance.", rich_help_panel=FITTING)] = (
        DEFAULT.seed
    ),
) -> None:
    """Train a network, and register it in MLflow with a proof of what it computes.

    Without options: the reference network, SimpleRNN(4) and Dense(1), on three short sequences.
    """
    options = Options(
        units=units,
        activation=activation,
        return_sequences=return_sequences,
        dense_units=dense_units,
        dense_activation=dense_activation,
        loss=loss,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=epochs,
        seed=seed,
    )
    if if_missing and (number := _registered(name, alias)):
        console.print(f"{name}@{alias} is there: version {number}", highlight=False)
        return
    console.print("importing TensorFlow and MLflow …")
    from training import job

    class Shown(job.Listener):
        """Draws a job on the console."""

        def __init__(self) -> None:
            self._bar: Progress | None = None
            self._every = max(1, options.epochs // PLAIN_LINES)
            self._next = self._every

        def built(self, summary: str, weights: "Weights") -> None:
            console.print(summary, highlight=False, markup=False)
            console.print(_weights("Weights before training", weights))
            if console.is_terminal and options.epochs:
                columns = (
                    TextColumn("fitting"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("loss {task.fields[loss]}"),
                )
                self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
                self._task = self._bar.add_task("fit", total=options.epochs, loss="")
                self._bar.start()

        def progress(self, epoch: int, loss: float) -> None:
            if self._bar:
                self._bar.update(self._task, completed=epoch, loss=f"{loss:.5g}")
            elif epoch >= self._next:
                console.print(f"epoch {epoch:>6} of {options.epochs}   loss {loss:.6g}", highlight=False)
                self._next = epoch + self._every

        def fitted(self, seconds: float) -> None:
            self.close()
            console.print(f"fitted {options.epochs} epochs in {seconds:.1f} s", highlight=False)

        def close(self) -> None:
            """Leaves the terminal as it was."""
            if self._bar:
                self._bar.stop()

    shown = Shown()
    try:
        outcome = job.run(options, job.Registration(name, alias, experiment), shown)
    except KeyboardInterrupt:
        shown.close()
        console.print("interrupted: nothing was registered, the run is marked KILLED")
        raise typer.Exit(130) from None
    finally:
        shown.close()
    _show(outcome)
    console.print(
        f"registered [bold]{name}[/] version [bold]{outcome.version}[/], and [bold]{name}@{alias}[/] points at it\n"
        f"proof: our own network gives what Keras gives, within {outcome.parity:.2g} of what is allowed\n"
        f"next: unroll serve --model models:/{name}@{alias}",
        highlight=False,
    )


def _registered(name: str, alias: str) -> str:
    """The version under an alias; empty where there is none."""
    from registry.errors import RegistryNotFoundError
    from registry.references import Reference
    from registry.store import Store

    try:
        return Store().resolve(Reference(name, alias=alias)).number
    except RegistryNotFoundError:
        return ""


def _show(outcome: "Outcome") -> None:
    import numpy as np

    console.print(_weights("Weights after training", outcome.after))
    table = Table(title="Predictions", title_justify="left", box=SIMPLE_HEAD)
    for column in ("sequence", "target", "prediction"):
        table.add_column(column)
    for sequence, target, prediction in zip(outcome.inputs, outcome.targets, outcome.predictions, strict=True):
        table.add_row(*(np.array2string(a, precision=6, suppress_small=True) for a in (sequence, target, prediction)))
    console.print(table)
    if outcome.losses:
        console.print(f"final loss {outcome.losses[-1]:.6g}", highlight=False)


def _weights(title: str, weights: "Weights") -> Table:
    import numpy as np

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("weight", "shape", "values"):
        table.add_column(column)
    for weight, values in weights.items():
        shown: Any = np.array2string(values, precision=4, suppress_small=True, threshold=64)
        table.add_row(weight, str(values.shape), shown)
    return table
