"""`unroll trace`: what happens inside a network while it reads a sequence."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    Inputs,
    Json,
    Model,
    Version,
    WhatIf,
    array_text,
    connected,
    console,
    print_json,
    table,
)
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from service.client import Client


@connected
def trace(
    inputs: Inputs,
    layer: Annotated[list[str] | None, typer.Option(help="Layer to show; repeat for more; default: all.")] = None,
    sequence: Annotated[int, typer.Option(min=0, help="Which sequence of the batch to show.")] = 0,
    what_if: WhatIf = None,
    plot: Annotated[str, typer.Option(help="Write a picture (PNG, PDF or SVG) of the states.", metavar="FILE")] = "",
    model: Model = "",
    version: Version = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show every layer's output, hidden states and gates at every timestep, for one sequence of a batch."""
    from service.cli.literals import parse_change, parse_inputs
    from service.cli.plots import heat_map, save_trace

    arrays = parse_inputs(inputs)
    batch = len(next(iter(arrays.values()), ())) if isinstance(arrays, dict) else len(arrays)
    if sequence >= batch:
        raise InvalidArgumentError(f"sequence: the batch has {batch}, counted from 0; got {sequence}")
    changes = [parse_change(text) for text in what_if or ()]
    found = client.trace(arrays, model=model, version=version, layers=layer or (), what_if=changes)
    if plot:
        save_trace(plot, found, sequence)
    if json:
        layers = {name: dict(shown.tensors) for name, shown in found.layers.items()}
        print_json({"model": found.model, "version": found.version, "layers": layers, "outputs": dict(found.outputs)})
        return
    for name, shown in found.layers.items():
        title = f"{name} ({shown.class_name}) of {found.model} version {found.version}, sequence {sequence}"
        tensors = table("tensor", "shape", "values", "", title=title)
        for tensor, values in shown.tensors.items():
            one = values[sequence]
            tensors.add_row(tensor, str(one.shape), array_text(one), heat_map(one))
        console.print(tensors)
    if plot:
        console.print(f"picture: {plot}", highlight=False)
