"""`unroll register`: registers an existing file; `--repair` registers a repaired copy of a version."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.extras import require

console = Console()


def register(
    file: Annotated[
        Path | None,
        typer.Argument(help="A .keras file, or one that is converted first, as by `unroll convert`.", metavar="FILE"),
    ] = None,
    name: Annotated[str, typer.Option(help="Model to register under.")] = "",
    alias: Annotated[str, typer.Option(help="Alias to point at the new version; default: none.")] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment; default: the model's name.")] = "",
    proof_from: Annotated[
        Path | None,
        typer.Option(
            help="Inputs for the proof, an .npz file with one array for each input; default: random.", metavar="FILE"
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="Names of the classes, in the order of the outputs: a file with one on each line, or a,b,c.",
            metavar="FILE|LIST",
        ),
    ] = "",
    engine: Annotated[
        str,
        typer.Option(help="tensorflow: also accept files that only Keras can compute, for servers with that engine."),
    ] = "",
    repair: Annotated[
        str,
        typer.Option(
            help="Instead of a file: a version that refers to code outside Keras, or is an .h5 file. Registers the "
            "same weights as a new version without that.",
            metavar="REFERENCE",
        ),
    ] = "",
    unwrap: Annotated[
        bool,
        typer.Option(help="With --repair: the network inside a wrapper in Python, without what the wrapper does."),
    ] = False,
) -> None:
    """Register a .keras or .h5 file, with a proof by Keras if Keras is installed.

    The file is read as the server reads it, and a file that cannot be served is not registered. Custom metrics and
    losses that it was compiled with are left out, so that MLflow and Keras can open the version anywhere.
    """
    require("serve")
    if repair:
        if file or name or experiment or proof_from or labels:
            raise typer.BadParameter("a version keeps its name, experiment, proof and labels", param_hint="--repair")
        _repair(repair, alias, engine, unwrap=unwrap)
        return
    if unwrap:
        raise typer.BadParameter("it needs --repair models:/NAME/VERSION", param_hint="--unwrap")
    if file is None or not name:
        raise typer.BadParameter("a file and --name, or --repair models:/NAME/VERSION", param_hint="what to register")
    console.print(f"reading {file.name}; importing MLflow, and Keras if it is installed …", highlight=False)
    from training import labels as class_labels
    from training import registering

    made = registering.register(
        file, name, alias=alias, experiment=experiment, proof_from=proof_from, engine=engine,
        labels=class_labels.read(labels) if labels else (),
    )  # fmt: skip
    proof = (
        f"proven: at most {made.parity:.0%} of the allowed difference from Keras"
        if made.parity is not None
        else "without a proof: Keras is not installed here"
    )
    console.print(f"{name} version {made.version} registered, {proof}", highlight=False)
    for note in made.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{name}@{alias} points at it" if alias else "no alias points at it", highlight=False)


def _repair(reference: str, alias: str, engine: str, *, unwrap: bool) -> None:
    console.print(f"reading {reference}; importing MLflow …", highlight=False)
    from training import registering

    made = registering.repair(reference, alias=alias, engine=engine, unwrap=unwrap)
    if not made.version:
        console.print(f"{made.name} version {made.base} opens wherever Keras is installed: nothing to repair")
        return
    what = f"the weights of version {made.base}" + (f", without {', '.join(made.left_out)}" if made.left_out else "")
    for line in (f"{made.name} version {made.version} registered: {what}", *made.notes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{made.name}@{alias} points at it" if alias else "no alias points at it", highlight=False)
