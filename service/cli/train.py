"""`unroll train`: the command, and how it shows what the job does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.cli.extras import require
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from training import config as configs
    from training import own_data
    from training.job import Outcome
    from training.network import Weights

DATA, NETWORK, FITTING = "Data", "Network", "Fitting"
PLAIN_LINES = 10  # of progress, where there is no terminal to draw a bar on

console = Console()

Data = Annotated[
    str | None, typer.Option(help="CSV or Parquet table, or .npz with x and y.", metavar="FILE", rich_help_panel=DATA)
]
Config = Annotated[
    Path | None, typer.Option(help="YAML file of these options; what is typed wins over it.", metavar="FILE")
]


def train(
    name: Annotated[
        str | None, typer.Option(help="Model to register under; default: reference, or the file's.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Alias to point at the new version; default: champion.")] = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Train only where the alias is not there yet.")
    ] = False,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment; default: the model's name.")] = None,
    promote: Annotated[
        str | None,
        typer.Option(
            help="Move the alias: always, never, or (default) if better than what it points at, on held-out data."
        ),
    ] = None,
    min_improvement: Annotated[
        float | None, typer.Option(help="By which share of the champion's error it must be better; default: 0.")
    ] = None,
    config: Config = None,
    resume: Annotated[str, typer.Option(help="Go on with a run that was interrupted or killed.", metavar="RUN")] = "",
    data: Data = None,
    target: Annotated[str | None, typer.Option(help="Column to predict.", rich_help_panel=DATA)] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Columns to predict from, with commas; default: all numbers.", rich_help_panel=DATA),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times; default: rows in order.", rich_help_panel=DATA)
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column that tells series apart; default: one series.", rich_help_panel=DATA)
    ] = None,
    window: Annotated[int | None, typer.Option(help="Timesteps the network sees.", rich_help_panel=DATA)] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            help="Steps to predict; of classes, how far ahead; 0: at the window's end. [1]", rich_help_panel=DATA
        ),
    ] = None,
    season: Annotated[
        int | None, typer.Option(help="Steps of a season, for the baseline; default: none.", rich_help_panel=DATA)
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="regression or classification; default: by the target.", rich_help_panel=DATA)
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="Missing values: error (default), drop, ffill, interpolate.", rich_help_panel=DATA),
    ] = None,
    gaps: Annotated[
        str | None, typer.Option(help="Uneven times: error (default), split, keep.", rich_help_panel=DATA)
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the times for early stopping. [0.15]", rich_help_panel=DATA)
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of the times, the latest, held out. [0.15]", rich_help_panel=DATA)
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="simple-rnn (default), gru or lstm.", rich_help_panel=NETWORK)
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Units of each recurrent layer: 4, or 32,16. [4; tables: 32]", rich_help_panel=NETWORK),
    ] = None,
    bidirectional: Annotated[
        bool | None, typer.Option("--bidirectional/--forward", help="Read both ways.", rich_help_panel=NETWORK)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Share dropped while fitting. [0]", rich_help_panel=NETWORK)
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option(
            "--residual/--level", help="See and give differences from the last value.", rich_help_panel=NETWORK
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="Activation, as Keras names it; linear: none; default: tanh.", rich_help_panel=NETWORK),
    ] = None,
    return_sequences: Annotated[
        bool | None, typer.Option("--return-sequences", help="Give outputs at every timestep.", rich_help_panel=NETWORK)
    ] = None,
    dense_units: Annotated[
        int | None, typer.Option(help="Units of the Dense layer after it; 0: none. [1]", rich_help_panel=NETWORK)
    ] = None,
    dense_activation: Annotated[
        str | None,
        typer.Option(help="Its activation; softmax: classification; default: linear.", rich_help_panel=NETWORK),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Most passes over the data; 0: register initial weights. [2000; tables: 200]", rich_help_panel=FITTING
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences in a step; 0: all. [0; tables: 32]", rich_help_panel=FITTING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without improvement before stopping; 0: never; default with tables: 20.",
            rich_help_panel=FITTING,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="Loss, as Keras names it; default: as the network needs.", rich_help_panel=FITTING),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Optimizer, as Keras names it; default: adam.", rich_help_panel=FITTING)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate. [0.01; tables: 0.003]", rich_help_panel=FITTING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything left to chance. [0]", rich_help_panel=FITTING)
    ] = None,
) -> None:
    """Train a network, and register it in MLflow with a proof of what it computes.

    Without options: the reference network, SimpleRNN(4) and Dense(1), on three short sequences.

    With --data: on your own data, measured on what was held out beside two baselines; the alias moves only if the new
    network beats what the alias points at.
    """
    given = {key.replace("_", "-"): value for key, value in locals().items() if value is not None}
    require("train")
    from training import config as configs

    given.pop("config", None)
    given.pop("if-missing")
    if given.pop("resume"):
        if given or config:
            raise InvalidArgumentError("resume: a run goes on as it began, without other options", field="resume")
        _train_on_data(None, resume)
        return
    wanted = configs.job_of((configs.load(config) if config else {}) | given)
    registration = wanted.registration
    if if_missing and (number := _registered(registration.name, registration.alias)):
        console.print(f"{registration.name}@{registration.alias} is there: version {number}", highlight=False)
        return
    if wanted.source.data:
        _train_on_data(wanted, "")
    else:
        _train_reference(wanted)


def _train_reference(wanted: "configs.Job") -> None:
    options, registration = wanted.options, wanted.registration
    console.print("importing TensorFlow and MLflow …")
    from training import job
    from training.interrupts import interruptible

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
            check()
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
        with interruptible() as check:
            outcome = job.run(options, registration, shown)
    except KeyboardInterrupt:
        shown.close()
        console.print("interrupted: nothing was registered, the run is marked KILLED")
        raise typer.Exit(130) from None
    finally:
        shown.close()
    _show(outcome)
    name, alias = registration.name, registration.alias
    console.print(
        f"registered [bold]{name}[/] version [bold]{outcome.version}[/], and [bold]{name}@{alias}[/] points at it\n"
        f"proof: our own network gives what Keras gives, within {outcome.parity:.2g} of what is allowed\n"
        f"next: unroll serve --model models:/{name}@{alias}",
        highlight=False,
    )


def _train_on_data(wanted: "configs.Job | None", run_id: str) -> None:
    """Runs what is wanted, or goes on with a run; Ctrl-C ends it in one line and with the status of shells."""
    from training import own_data
    from training.interrupts import interruptible
    from training.progress import Shown

    shown = Shown(console)
    try:
        with interruptible() as shown.check:
            outcome = own_data.run(wanted, shown) if wanted else own_data.resume(run_id, shown)
    except KeyboardInterrupt:
        shown.close()
        console.print("interrupted: nothing was registered" + (", the run is marked KILLED" if shown.run_id else ""))
        if shown.run_id:
            console.print(f"go on with: unroll train --resume {shown.run_id}", highlight=False)
        raise typer.Exit(130) from None
    finally:
        shown.close()
    report(outcome)


def report(outcome: "own_data.Outcome") -> None:
    """What was measured, what was decided, and what was registered."""
    measured, champion = outcome.measured, outcome.champion
    table = Table(title="Error on held-out data", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for metric in measured.network:
        table.add_column(metric.replace("_", " "), justify="right")
    rows = {"this network": measured.network, **{f"baseline: {k}": v for k, v in measured.baselines.items()}}
    if champion and champion.error is not None:
        rows[f"champion, version {champion.version}"] = {measured.metric: champion.error}
    for who, figures in rows.items():
        table.add_row(who, *(f"{figures[m]:.5g}" if m in figures else "" for m in measured.network))
    console.print(table)
    name, verb = outcome.name, "promoted" if outcome.decision.promoted else "not promoted"
    console.print(
        f"{verb}: {outcome.decision.reason}\n"
        f"registered [bold]{name}[/] version [bold]{outcome.version}[/], "
        f"and [bold]{name}@{outcome.alias}[/] points at it\n"
        f"proof: our own network gives what Keras gives, within {outcome.parity:.2g} of what is allowed\n"
        f"next: unroll serve --model models:/{name}@{outcome.alias}",
        highlight=False,
    )


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


def _registered(name: str, alias: str) -> str:
    """The version under an alias; empty where there is none."""
    from registry.errors import RegistryNotFoundError
    from registry.references import Reference
    from registry.store import Store

    try:
        return Store().resolve(Reference(name, alias=alias)).number
    except RegistryNotFoundError:
        return ""
