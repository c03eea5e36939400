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
            help="Table with rows in order of time (CSV, Parquet, Arrow; file, folder or URI), or .npz with sequences "
            "by the names of the network's inputs.",
            metavar="FILE",
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
    begin = time.monotonic()
    with bar(console) as shown:
        task = shown.add_task("scoring", total=None, note="")

        def told(done: int, total: int, rows: int) -> None:
            rate = rows / max(time.monotonic() - begin, 1e-9)
            shown.update(task, completed=done, total=total, note=f"{rate:,.0f} rows/s")

        if Path(data).suffix.lower() == ".npz":
            done = scoring.score_arrays(loaded, Path(data), out, told)
        else:
            how = chosen(loaded.layout.format, delimiter, decimal, time_format, duplicates)
            done = scoring.score(loaded, data, out, told, how)
    seconds = time.monotonic() - begin
    console.print(
        f"scored {done.rows} rows with version {loaded.version} of {loaded.name} in {seconds:.1f} s, "
        f"{done.rows / max(seconds, 1e-9):,.0f} rows a second; "
        f"{done.predicted} have a whole window behind them" + _treated(done) + f"\nwritten to {out}",
        highlight=False,
    )


def _treated(done: "Score") -> str:
    """What was done about gaps and missing values, as in training."""
    parts = []
    if done.gaps:
        parts.append(f"{done.gaps} gap{'' if done.gaps == 1 else 's'}, which no window spans")
    if done.filled:
        parts.append(f"{done.filled} missing value{'' if done.filled == 1 else 's'} filled with the value before")
    return "".join(f"\n{part}, as in training" for part in parts)
