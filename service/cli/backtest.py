"""`unroll backtest`: what a network and its baselines would have forecast in the past, by rolling origin."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import check_picture, console, table, tables
from service.cli.extras import require
from service.cli.train import train

if TYPE_CHECKING:
    from training.backtest import Outcome
    from training.evaluation.backtested import Backtested, Errors

# Options of `unroll train` that say what becomes of a version, or that make sense only without a table.
NOT_TAKEN = {"alias", "if_missing", "promote", "min_improvement", "gate_folds", "resume"} | {
    "return_sequences", "dense_units", "dense_activation", "text", "text_unit", "vocabulary", "embedding"
}  # fmt: skip
MOST_COLUMNS = 20  # of a table by fold, step or series


def backtest(
    folds: Annotated[int, typer.Option(min=1, help="Number of folds.")] = 5,
    stride: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps from one origin to the next; default: such that all folds together are as long as the "
            "held-out part, and each at least as long as the horizon.",
        ),
    ] = 0,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the network anew for each fold; default: once, before the first.")
    ] = False,
    statsforecast: Annotated[
        bool, typer.Option("--statsforecast", help="Compare with AutoETS and AutoTheta too (extra `baselines`).")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File for every forecast: .csv or .parquet.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.", metavar="FILE")] = None,
    **training: Any,
) -> None:
    """Backtest the network of a configuration before the held-out part, compared with baselines.

    The folds lie before the held-out part. A forecast knows only what lies before it; the network knows only what lies
    before the origin of its fold or, without --refit, of the first fold. Nothing is registered, and the held-out part
    is not touched, so that you can choose options by backtests.

    The other options are those of `unroll train`, on the command line or in --config.
    """
    check_picture(plot)
    require("train")
    if statsforecast:
        require("baselines")
    from training import config as configs

    given = {name.replace("_", "-"): value for name, value in training.items() if value is not None}
    file = given.pop("config", None)
    job = configs.job_of((configs.load(file) if file else {}) | given)
    console.print("importing TensorFlow and MLflow …")
    from training import backtest as backtests
    from training.interrupts import interruptible
    from training.progress import Shown

    shown = Shown(console)
    try:
        with interruptible() as shown.check:
            outcome = backtests.run(job, backtests.Plan(folds, stride, refit, statsforecast), shown)
    except KeyboardInterrupt:
        shown.close()
        console.print("interrupted: the run is marked KILLED")
        raise typer.Exit(130) from None
    finally:
        shown.close()
    _show(outcome)
    if out is not None:
        from training.data.output import write_table

        write_table(outcome.found.as_table(), out)
        console.print(f"written to {out}", highlight=False)
    if plot is not None:
        from training.evaluation.picture import draw

        draw(outcome.found, job.registration.name).savefig(plot, dpi=120)
        console.print(f"drawn to {plot}", highlight=False)


def _with_training(command: Any) -> Any:
    """A command with the options of `unroll train` that it takes."""
    own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [p for p in inspect.signature(train).parameters.values() if p.name not in NOT_TAKEN]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own + added]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _show(outcome: "Outcome") -> None:
    """Errors over all folds, and the deciding one by fold, by step and by series."""
    found, folds = outcome.found, outcome.folds
    errors = found.errors()
    shown = table("", *(name.replace("_", " ") for name in errors["network"]), title=f"Backtest, {len(folds)} folds")
    for who, figures in errors.items():
        shown.add_row(who, *(f"{figures[m]:.5g}" if m in figures else "" for m in errors["network"]))
    console.print(shown)
    _show_by(found, "fold")
    if found.expected.shape[1] > 1:
        _show_by(found, "step")
    if len(found.labels) > 1:
        _show_by(found, "series")
    if baseline := found.better_baseline:
        console.print(f"the baseline {baseline!r} is better than the network", highlight=False)
    console.print(f"recorded in run {outcome.run_id}", highlight=False)


def _show_by(found: "Backtested", what: str) -> None:
    """The deciding error of each forecast, the smallest of each fold, step or series in bold."""
    by = found.by(what)
    columns = {name: _cells(errors, found.metric) for name, errors in list(by.items())[:MOST_COLUMNS]}
    rows = {who: [cells[i] for cells in columns.values()] for i, who in enumerate(found.predicted)}
    for shown in tables(f"{found.metric} by {what}", what, list(columns), rows, console):
        console.print(shown)
    if len(by) > MOST_COLUMNS:
        console.print(f"and {len(by) - MOST_COLUMNS} more; --out writes every forecast", highlight=False)


def _cells(errors: "Errors", metric: str) -> list[str]:
    best = min(figures[metric] for figures in errors.values())
    texts = ((f"{figures[metric]:.5g}", figures[metric] == best) for figures in errors.values())
    return [f"[bold]{text}[/]" if bold else text for text, bold in texts]


command = _with_training(backtest)
