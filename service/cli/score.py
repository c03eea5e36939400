"""`unroll score`: runs a whole file through a registered network."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.cli.extras import require
from service.cli.formats import Decimal, Delimiter, Duplicates, TimeFormat, chosen

if TYPE_CHECKING:
    from training.scoring import Score

console = Console()


def score(
    data: Annotated[
        str,
        typer.Option(
            help="Table with rows in order of time: CSV, Parquet or Arrow; file, folder or URI.", metavar="FILE"
        ),
    ],
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION.", metavar="REFERENCE")],
    out: Annotated[Path, typer.Option(help="File to write: .csv or .parquet.", metavar="FILE")],
    cache: Annotated[Path, typer.Option(envvar="UNROLL_CACHE", help="Folder for downloaded versions.")] = Path(
        "~/.cache/unroll"
    ),
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    time_format: TimeFormat = None,
    duplicates: Duplicates = None,
) -> None:
    """Run a table of any length through a registered network, in bounded memory and without TensorFlow.

    Writes one row for each row of the table, with the prediction from the window that ends there. The table is read as
    the one that the version was trained on.
    """
    require("serve", "tables")
    from training import scoring
    from training.progress import bar

    loaded = scoring.load(model, cache.expanduser())
    how = chosen(loaded.layout.format, delimiter, decimal, time_format, duplicates)
    begin = time.monotonic()
    with bar(console) as shown:
        task = shown.add_task("scoring", total=None, note="")
        done = scoring.score(loaded, data, out, lambda at, of: shown.update(task, completed=at, total=of), how)
    seconds = time.monotonic() - begin
    console.print(
        f"scored {done.rows} rows with version {loaded.version} of {loaded.name} in {seconds:.1f} s; "
        f"{done.predicted} have a whole window behind them" + _treated(done) + f"\nwritten to {out}",
        highlight=False,
    )


def _treated(done: "Score") -> str:
    """What was done about gaps and missing values, as in training."""
    parts = []
    if done.gaps:
        parts.append(f"{done.gaps} gaps, which no window spans")
    if done.filled:
        parts.append(f"{done.filled} missing values filled with the value before")
    return "".join(f"\n{part}, as in training" for part in parts)
