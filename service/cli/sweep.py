"""`unroll sweep`: tries many values of the options that a file leaves open; the best trial goes through the gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from service.cli.common import console
from service.cli.extras import require

if TYPE_CHECKING:
    from training.sweep import SweepTrial

SHOWN = 10  # trials, at most


def sweep(
    config: Annotated[
        Path, typer.Option(help="YAML file of train's options, with the values to try under `sweep`.", metavar="FILE")
    ],
    trials: Annotated[int, typer.Option(min=1, help="Number of trials.")] = 20,
    jobs: Annotated[int, typer.Option(min=1, help="Number of trials that run at the same time.")] = 1,
    cluster: Annotated[
        str,
        typer.Option(
            help="Address of a Ray cluster to run the trials on; default: local processes.", metavar="ADDRESS"
        ),
    ] = "",
) -> None:
    """Train many networks, compare them on the validation part, and put the best one through train's gate.

    `sweep` in the file lists the options to vary: choices, `units: [[16], [32, 16]]`, or ranges, `learning-rate: {low:
    0.001, high: 0.1, log: true}`.
    """
    require("train")
    from service.cli.report import report
    from training import config as configs
    from training import sweep as sweeps
    from training.interrupts import interruptible
    from training.progress import Shown, bar

    document = configs.load(config)
    listener = Shown(console)
    with bar(console) as shown:
        task = shown.add_task("trials", total=trials, note="")

        def tried(trial: "SweepTrial | str", count: int) -> None:
            listener.check()
            shown.update(task, completed=count)
            text = trial if isinstance(trial, str) else f"{_values(trial)}: {trial.error:.5g}"
            console.print(f"trial {count} of {trials}: {text}", highlight=False, markup=False)
            if count == trials:
                shown.stop()

        try:
            with interruptible() as listener.check:
                outcome = sweeps.run(document, trials, jobs, cluster, listener, tried)
        except KeyboardInterrupt:
            shown.stop()
            listener.close()
            console.print("interrupted: nothing was registered, the sweep is marked KILLED")
            raise typer.Exit(130) from None
        finally:
            listener.close()
    table = Table(title="Error on the validation part", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("options")
    table.add_column("error", justify="right")
    for trial in outcome.trials[:SHOWN]:
        table.add_row(_values(trial), f"{trial.error:.5g}")
    console.print(table)
    report(outcome.best, console)


def _values(trial: "SweepTrial") -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.values.items())
