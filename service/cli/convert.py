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
            help="What to convert, then the file to write: old.h5 new.keras; model.json weights.h5 new.keras; "
            "model.safetensors new.keras, with --like.",
            metavar="FILE... NEW.keras",
        ),
    ],
    like: Annotated[
        Path | None,
        typer.Option(
            help="The modules of a PyTorch network with its weights in a .safetensors file: see docs/converting.md.",
            metavar="FILE.yaml",
        ),
    ] = None,
) -> None:
    """Write an older model file as a .keras file of Keras 3, with the numbers that it had and its weights as trained.

    Reads .h5 files of Keras 2 and 3, .keras files of Keras 2, a JSON architecture with its weights, and weights of
    PyTorch with a description of its modules; nothing in these is executed. A SavedModel is loaded with tf_keras,
    which runs what is in it. What was rewritten is printed.
    """
    require("serve")
    *sources, target = files
    if not sources or target.suffix != ".keras":
        raise typer.BadParameter("expected what to convert and a .keras file to write", param_hint="FILE... NEW.keras")
    if any(target.exists() and source.exists() and target.samefile(source) for source in sources):
        raise typer.BadParameter("the file to write is one to convert", param_hint="NEW.keras")
    from service.convert import conversion, saved_model

    compared = ""
    if like is not None:
        if len(sources) != 1:
            raise typer.BadParameter("one .safetensors file is converted at a time", param_hint="FILE... NEW.keras")
        made, error = conversion.convert_torch(sources[0], like, target)
        compared = "PyTorch is not installed, so nothing was compared with it"
        if error is not None:
            compared = f"compared with PyTorch: at most {error:.0%} of the allowed difference"
    elif len(sources) == 1 and saved_model.is_one(sources[0]):
        require("convert")
        made = saved_model.convert_folder(sources[0], target)
    else:
        made = conversion.convert(sources, target)
    lines = [f"{sources[0].name} ({made.origin}) is written to {target} for Keras 3:"]
    lines += [compared] if compared else [f"  {note}" for note in made.notes] or ["  nothing had to be rewritten"]
    lines += [
        f"{made.network.parameter_count} parameters, read back from it",
        f"next: unroll register {target} --name NAME",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
