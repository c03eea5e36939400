"""`unroll register`: a `.keras` file that exists becomes a registered version."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def register(
    file: Annotated[Path, typer.Argument(help="A .keras file.", metavar="FILE.keras")],
    name: Annotated[str, typer.Option(help="Model to register under.")],
    alias: Annotated[str, typer.Option(help="Alias to point at the new version; default: none.")] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment; default: the model's name.")] = "",
    proof_from: Annotated[
        Path | None,
        typer.Option(help="Inputs of the proof, an .npz with an array for each; default: of chance.", metavar="FILE"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="`tensorflow`: also what only Keras computes, for servers with that engine.")
    ] = "",
) -> None:
    """Register a file that Keras saved, with a proof made by Keras where it is installed.

    The file is read as the server reads it: what cannot be served is not registered.
    """
    console.print(f"reading {file.name}; importing MLflow, and Keras if it is there …", highlight=False)
    from training import registering

    made = registering.register(file, name, alias=alias, experiment=experiment, proof_from=proof_from, engine=engine)
    proof = (
        f"proven: at most {made.parity:.0%} of the allowed difference from Keras"
        if made.parity is not None
        else "without a proof: Keras is not installed here"
    )
    console.print(f"{name} version {made.version} registered, {proof}", highlight=False)
    for note in made.notes:
        console.print(note, highlight=False, markup=False)
    console.print(f"{name}@{alias} points at it" if alias else "no alias points at it", highlight=False)
