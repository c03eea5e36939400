"""`unroll convert`: writes a `.h5` file, a `.keras` file of Keras 2, or an architecture and weights, for Keras 3."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import console
from service.cli.extras import require


def convert(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="What to convert, then the file to write: old.h5 new.keras; model.json weights.h5 new.keras.",
            metavar="FILE... NEW.keras",
        ),
    ],
) -> None:
    """Write an older model file as a .keras file of Keras 3, with the numbers that it had and its weights as trained.

    Reads .h5 files of Keras 2 and 3, .keras files of Keras 2, and a JSON architecture with its weights. Nothing in a
    file is executed. What was rewritten is printed.
    """
    require("serve")
    *sources, target = files
    if not sources or target.suffix != ".keras":
        raise typer.BadParameter("expected what to convert and a .keras file to write", param_hint="FILE... NEW.keras")
    if any(target.exists() and source.exists() and target.samefile(source) for source in sources):
        raise typer.BadParameter("the file to write is one to convert", param_hint="NEW.keras")
    from service.convert.conversion import convert as write

    made = write(sources, target)
    lines = [f"{sources[0].name} ({made.origin}) is written to {target} for Keras 3:"]
    lines += [f"  {note}" for note in made.notes] or ["  nothing had to be rewritten"]
    lines += [
        f"{made.network.parameter_count} parameters, read back from it",
        f"next: unroll register {target} --name NAME",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
