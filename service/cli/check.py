"""`unroll check`: whether a `.keras` file can be served, and if not, why."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import Json, console, print_json, table


def check(
    file: Annotated[Path, typer.Argument(help="A .keras file.", metavar="FILE.keras")],
    json: Json = False,
) -> None:
    """Show whether a file can be served, every reason why not, and the cost of a prediction. Exits with 0 if it can."""
    from service.config import DEFAULT_LIMITS
    from service.model.check import check as examine

    report = examine(file)
    if json:
        print_json(
            {
                "supported": report.supported,
                "reasons": list(report.reasons),
                "parameters": report.parameter_count,
                "engine": report.engine,
                "microseconds": report.microseconds,
                "timesteps": report.timesteps,
                "elements": report.elements,
            }
        )
    elif report.network is None:
        console.print(f"{file.name} cannot be served:", highlight=False, markup=False)
        for reason in report.reasons:
            console.print(f"  {reason}", highlight=False, markup=False)
        if report.through_keras:
            line = "Keras may compute it; for servers with that engine: unroll register --engine tensorflow"
            console.print(line, highlight=False)
    else:
        layers = table("layer", "class", "parameters", title=f"{file.name} can be served")
        for layer in report.network.layers:
            layers.add_row(layer.name, layer.class_name, str(layer.parameter_count))
        console.print(layers)
        for note in report.network.notes:
            console.print(note, highlight=False, markup=False)
        line = f"{report.parameter_count} parameters; computed by {report.engine}"
        what = f"sequence of {report.timesteps} timesteps" if report.timesteps else "prediction"
        if report.microseconds:
            line += f", which takes {report.microseconds:.1f} µs for one {what} here"
        console.print(line, highlight=False)
        if report.elements:
            most = min(DEFAULT_LIMITS.computed // report.elements, DEFAULT_LIMITS.batch)
            line = f"a server computes up to {most} in one call"
            if not most:
                line = f"a server refuses it, unless started with --max-computed {report.elements} or more"
            console.print(f"one {what} makes {report.elements} numbers in all layers together: {line}", highlight=False)
    if not report.supported:
        raise typer.Exit(1)
