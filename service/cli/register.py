"""`unroll register`: registers an existing `.keras` file; `--repair` registers a repaired copy of a version."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.extras import require

console = Console()


def register(
    file: Annotated[Path | None, typer.Argument(help="A .keras file.", metavar="FILE.keras")] = None,
    name: Annotated[str, typer.Option(help="Model to register under.")] = "",
    alias: Annotated[str, typer.Option(help="Alias to point at the new version; default: none.")] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment; default: the model's name.")] = "",
    proof_from: Annotated[
        Path | None,
        typer.Option(help="Inputs of the proof, an .npz with an array for each; default: random.", metavar="FILE"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="`tensorflow`: also what only Keras computes, for servers with that engine.")
    ] = "",
    repair: Annotated[
        str,
        typer.Option(
            help="In place of a file: a version that only its maker's program can open is registered anew, with the "
            "same weights.",
            metavar="REFERENCE",
        ),
    ] = "",
) -> None:
    """Register a file that Keras saved, with a proof made by Keras where it is installed.

    The file is read as the server reads it: what cannot be served is not registered. A metric or loss of your own that
    it was compiled with is left out, so that MLflow and Keras open the version anywhere.
    """
    require("serve")
    if repair:
        if file or name or experiment or proof_from:
            raise typer.BadParameter("a version keeps its name, experiment and proof", param_hint="--repair")
        _repair(repair, alias, engine)
        return
    if file is None or not name:
        raise typer.BadParameter("a file and --name, or --repair models:/NAME/VERSION", param_hint="what to register")
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
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{name}@{alias} points at it" if alias else "no alias points at it", highlight=False)


def _repair(reference: str, alias: str, engine: str) -> None:
    console.print(f"reading {reference}; importing MLflow …", highlight=False)
    from training import registering

    made = registering.repair(reference, alias=alias, engine=engine)
    if not made.version:
        console.print(f"{made.name} version {made.base} opens wherever Keras is installed: nothing to mend")
        return
    console.print(
        f"{made.name} version {made.version} registered: the weights of version {made.base}, without "
        f"{', '.join(made.left_out)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(f"{made.name}@{alias} points at it" if alias else "no alias points at it", highlight=False)
