"""`unroll train`: its options, and the training job that they start."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import console
from service.cli.extras import require
from service.cli.formats import Decimal, Delimiter, Duplicates, TimeFormat
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from training import config as configs

DATA, NETWORK, FITTING = "Data", "Network", "Fitting"

Data = Annotated[
    str | None,
    typer.Option(
        help="Table (CSV, Parquet, Arrow; file, folder or URI), .npz with x and y, or .txt: learn its next character.",
        metavar="FILE",
        rich_help_panel=DATA,
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="YAML file of these options; the command line takes precedence.", metavar="FILE")
]


def train(
    name: Annotated[
        str | None, typer.Option(help="Model to register under; default: reference, or the name of the data file.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Alias to point at the new version; default: champion.")] = None,
    if_missing: Annotated[
        bool,
        typer.Option(
            "--if-missing",
            help="Train only if the alias does not exist yet; exit with 1 if it still does not exist afterwards.",
        ),
    ] = False,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment; default: the model's name.")] = None,
    promote: Annotated[
        str | None,
        typer.Option(
            help="When to move the alias: always, never, or better (default): if the new version does better on "
            "held-out data than the version that the alias points at, or than the baselines if there is no alias."
        ),
    ] = None,
    min_improvement: Annotated[
        float | None,
        typer.Option(help="Share of the champion's error by which the new version must be better; default: 0."),
    ] = None,
    gate_folds: Annotated[
        int | None,
        typer.Option(
            help="Move the alias only if the new version is, on average over so many folds of the held-out data, at "
            "least as good as the baselines and the version that the alias points at; default: 0, no folds."
        ),
    ] = None,
    config: Config = None,
    resume: Annotated[str, typer.Option(help="Go on with a run that was interrupted or killed.", metavar="RUN")] = "",
    data: Data = None,
    target: Annotated[
        str | None, typer.Option(help="Column to predict, or several, separated by commas.", rich_help_panel=DATA)
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Column of texts, whose labels the target holds; default: none.", rich_help_panel=DATA),
    ] = None,
    text_unit: Annotated[
        str | None,
        typer.Option(help="What the network reads of a text: word (default) or char.", rich_help_panel=DATA),
    ] = None,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            help="Most words or characters of texts to tell apart. [words: 20000; characters: 256]",
            rich_help_panel=DATA,
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Columns to predict from, separated by commas; default: all numeric ones.", rich_help_panel=DATA
        ),
    ] = None,
    categorical: Annotated[
        str | None,
        typer.Option(help="Columns of text to predict from, which are embedded.", rich_help_panel=DATA),
    ] = None,
    future: Annotated[
        str | None,
        typer.Option(help="Columns known for the steps to predict, such as holidays.", rich_help_panel=DATA),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times; default: rows are in order.", rich_help_panel=DATA)
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            help="Features of the times, as sine and cosine: month, dayofyear, day, weekday, hour, or several.",
            rich_help_panel=DATA,
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column that distinguishes series; default: one series.", rich_help_panel=DATA)
    ] = None,
    group_embedding: Annotated[
        int | None,
        typer.Option(help="Numbers that the network learns for each series; default: none.", rich_help_panel=DATA),
    ] = None,
    static: Annotated[
        str | None,
        typer.Option(help="Columns to predict from that are constant in each series.", rich_help_panel=DATA),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(help="Timesteps that the network reads; of texts, words or characters.", rich_help_panel=DATA),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            help="Steps to predict; for classes, how far ahead; 0: at the end of the window. [1]", rich_help_panel=DATA
        ),
    ] = None,
    season: Annotated[
        int | None,
        typer.Option(help="Length of a season in steps, for the baseline; default: none.", rich_help_panel=DATA),
    ] = None,
    conformal: Annotated[
        str | None,
        typer.Option(
            help="Prediction intervals: split (default), or adaptive, which follow the recent error of the series.",
            rich_help_panel=DATA,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="regression or classification; default: according to the target.", rich_help_panel=DATA),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="Missing values: error (default), drop, ffill, interpolate.", rich_help_panel=DATA),
    ] = None,
    gaps: Annotated[
        str | None, typer.Option(help="Irregular times: error (default), split, keep.", rich_help_panel=DATA)
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the times for early stopping. [0.15]", rich_help_panel=DATA)
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of the times to hold out: the latest ones. [0.15]", rich_help_panel=DATA)
    ] = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    time_format: TimeFormat = None,
    duplicates: Duplicates = None,
    network: Annotated[
        str | None, typer.Option(help="simple-rnn, gru or lstm. [simple-rnn; texts: gru]", rich_help_panel=NETWORK)
    ] = None,
    embedding: Annotated[
        int | None,
        typer.Option(help="Numbers that stand for a word or character of a text. [32]", rich_help_panel=NETWORK),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Units of each recurrent layer: 4, or 32,16. [4; tables: 32]", rich_help_panel=NETWORK),
    ] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--forward", help="Read sequences in both directions.", rich_help_panel=NETWORK),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Share of outputs to drop while fitting. [0]", rich_help_panel=NETWORK)
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option(
            "--residual/--level", help="Read and predict differences from the last value.", rich_help_panel=NETWORK
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="Activation, as Keras names it; linear: none; default: tanh.", rich_help_panel=NETWORK),
    ] = None,
    return_sequences: Annotated[
        bool | None, typer.Option("--return-sequences", help="Output at every timestep.", rich_help_panel=NETWORK)
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
            help="Largest number of epochs; 0: register the initial weights. [2000; tables: 200; texts: 50]",
            rich_help_panel=FITTING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Sequences in an optimizer step; 0: all. [0; tables: 32]", rich_help_panel=FITTING),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without improvement before stopping; 0: never. [0; tables: 20; texts: 5]",
            rich_help_panel=FITTING,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="Loss, as Keras names it; default: according to the network.", rich_help_panel=FITTING),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Optimizer, as Keras names it; default: adam.", rich_help_panel=FITTING)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate. [0.01; tables: 0.003]", rich_help_panel=FITTING)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. [0]", rich_help_panel=FITTING)] = None,
) -> None:
    """Train a network, and register it in MLflow with a proof of what it computes.

    Without options, the command trains the reference network, SimpleRNN(4) and Dense(1), on three short sequences.

    With --data, it trains on a file and compares the network with baselines on held-out data. The alias moves only
    if the new network beats the version that the alias points at.
    """
    given = {key.replace("_", "-"): value for key, value in locals().items() if value is not None}
    require("train")
    from training import config as configs

    given.pop("config", None)
    given.pop("if-missing")
    if given.pop("resume"):
        if given or config:
            raise InvalidArgumentError(
                "resume: a run continues with its own options; no others are allowed", field="resume"
            )
        _train(None, resume)
        return
    wanted = configs.job_of((configs.load(config) if config else {}) | given)
    registration = wanted.registration
    if if_missing and (number := _registered(registration.name, registration.alias)):
        console.print(f"{registration.name}@{registration.alias} exists: version {number}", highlight=False)
        return
    _train(wanted, "", needed=if_missing)


def _train(wanted: "configs.Job | None", run_id: str, *, needed: bool = False) -> None:
    """Runs what is wanted, or resumes a run; Ctrl-C ends it in one line and with the status of shells.

    Where the alias is `needed` and did not move, the status is 1, so that what waits for the alias is not started.
    """
    console.print("importing TensorFlow and MLflow …")
    from service.cli.report import report
    from training import job
    from training.interrupts import interruptible
    from training.progress import Shown

    shown = Shown(console, weights=bool(wanted and not wanted.source.data))
    try:
        with interruptible() as shown.check:
            outcome = job.run(wanted, shown) if wanted else job.resume(run_id, shown)
    except KeyboardInterrupt:
        shown.close()
        console.print("interrupted: nothing was registered" + (", the run is marked KILLED" if shown.run_id else ""))
        if shown.run_id:
            console.print(f"resume with: unroll train --resume {shown.run_id}", highlight=False)
        raise typer.Exit(130) from None
    finally:
        shown.close()
    report(outcome, console)
    if needed and not outcome.decision.promoted:
        raise typer.Exit(1)


def _registered(name: str, alias: str) -> str:
    """The version under an alias; empty where there is none."""
    from registry.errors import RegistryNotFoundError
    from registry.references import Reference
    from registry.store import Store

    try:
        return Store().resolve(Reference(name, alias=alias)).number
    except RegistryNotFoundError:
        return ""
