"""`unroll trace`: shows the hidden states and outputs of a network while it reads a sequence."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    Inputs,
    Json,
    Model,
    Version,
    WhatIf,
    array_text,
    check_picture,
    connected,
    console,
    number,
    print_json,
    table,
)
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from service.client import Client
    from service.pb import unroll_pb2 as pb

AT_ONCE = 64  # sequences in a message of a summary


@connected
def trace(
    inputs: Inputs,
    layer: Annotated[list[str] | None, typer.Option(help="Layer to show; can be repeated; default: all.")] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option(help="Tensor to show, such as hidden_state; can be repeated; default: all.", metavar="NAME"),
    ] = None,
    timesteps: Annotated[str, typer.Option(help="Timesteps to show; default: all.", metavar="START:STOP")] = "",
    sequence: Annotated[int, typer.Option(min=0, help="Sequence of the batch to show, from 0.")] = 0,
    what_if: WhatIf = None,
    plot: Annotated[str, typer.Option(help="Write a plot of the states (PNG, PDF or SVG).", metavar="FILE")] = "",
    summary: Annotated[
        bool, typer.Option("--summary", help="Summarize units and gates over any number of sequences.")
    ] = False,
    model: Model = "",
    version: Version = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show every layer's output, hidden states and gates at every timestep, for one sequence of a batch."""
    from service.cli.literals import parse_change, parse_inputs, parse_range
    from service.cli.plots import heat_map, save_trace

    check_picture(plot)
    arrays = parse_inputs(inputs)
    changes = [parse_change(text) for text in what_if or ()]
    if summary:
        if layer or tensor or timesteps or plot:
            raise InvalidArgumentError("--summary takes none of --layer, --tensor, --timesteps and --plot")
        summarized = client.summarize(_batches(arrays), model=model, version=version, what_if=changes)
        _print_summary(summarized, json=json)
        return
    batch = len(next(iter(arrays.values()), ())) if isinstance(arrays, dict) else len(arrays)
    if sequence >= batch:
        raise InvalidArgumentError(f"sequence: the batch has {batch}, counted from 0; got {sequence}")
    found = client.trace(
        arrays, model=model, version=version, layers=layer or (), what_if=changes, names=tensor or (),
        timesteps=parse_range(timesteps or ":"),
    )  # fmt: skip
    if plot:
        save_trace(plot, found, sequence)
    if json:
        layers = {name: dict(shown.tensors) for name, shown in found.layers.items()}
        print_json({"model": found.model, "version": found.version, "layers": layers, "outputs": dict(found.outputs)})
        return
    for name, shown in found.layers.items():
        title = f"{name} ({shown.class_name}) of {found.model} version {found.version}, sequence {sequence}"
        tensors = table("tensor", "shape", "values", "", title=title)
        for name_of_tensor, values in shown.tensors.items():
            one = values[sequence]
            tensors.add_row(name_of_tensor, str(one.shape), array_text(one), heat_map(one))
        console.print(tensors)
    if plot:
        console.print(f"plot: {plot}", highlight=False)


def _batches(arrays: "Any") -> "Iterator[Any]":
    """The sequences, some at a time."""
    first = next(iter(arrays.values())) if isinstance(arrays, dict) else arrays
    for i in range(0, len(first), AT_ONCE):
        yield (
            {name: array[i : i + AT_ONCE] for name, array in arrays.items()}
            if isinstance(arrays, dict)
            else arrays[i : i + AT_ONCE]
        )


def _print_summary(found: "pb.SummarizeResponse", *, json: bool) -> None:
    import numpy as np

    if json:
        print_json(found)
        return
    for one in found.tensors:
        title = (
            f"{one.layer} ({one.class_name}) of {found.model} version {found.version}: "
            f"{one.tensor.replace('_', ' ')} over {found.sequences} sequences"
        )
        shown = table("unit", "mean", "std", "min", "max", "saturated", "histogram", title=title)
        histogram = np.array(one.histogram).reshape(-1, one.bins)
        for unit in range(len(one.mean)):
            saturated = f"{one.saturated[unit]:.0%}" if one.saturated else ""
            figures = [
                number(value) for value in (one.mean[unit], one.standard_deviation[unit], one.min[unit], one.max[unit])
            ]
            bars = _bars(histogram[unit]) + (" dead" if one.dead[unit] else "")
            shown.add_row(str(unit), *figures, saturated, bars)
        console.print(shown)


def _bars(counts: "np.ndarray[Any, Any]") -> str:
    """A histogram in one line."""
    most = max(1, counts.max())
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * int(count) // int(most))] for count in counts)
