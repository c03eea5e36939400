"""`unroll check`: by which road files come to be served, or why not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import Json, console, print_json, table

if TYPE_CHECKING:
    from service.convert.roads import Found
    from service.model.check import Report


def check(
    file: Annotated[
        Path, typer.Argument(help="A model file: .keras, .h5 or .json; or a folder, whose models are listed.")
    ],
    json: Json = False,
) -> None:
    """Show by which road a file comes to be served, or every reason why not, and the cost of a prediction.

    The roads: as it is; converted, by `unroll register` or `unroll convert`; through Keras, with --engine tensorflow;
    not at all. Exits with 0 if a file, or each model of a folder, is served as it is or converted.
    """
    from service.convert.roads import Road, find, find_all

    if file.is_dir() and not (file / "saved_model.pb").exists():
        found = []
        for one in find_all(file):
            found.append(one)
            if not json:
                _line(one, file)
        if json:
            print_json([_document(one) for one in found])
        elif not found:
            console.print(f"no models in {file}", highlight=False, markup=False)
    else:
        found = [find(file)]
        if json:
            print_json(_document(found[0]))
        else:
            _show(found[0])
    if not found or any(one.road not in (Road.SERVED, Road.CONVERT) for one in found):
        raise typer.Exit(1)


def _document(found: "Found") -> dict[str, Any]:
    """What scripts get."""
    report = found.report
    return {
        "file": str(found.path),
        "road": found.road.value,
        "command": found.command,
        "supported": report.supported if report else False,
        "reasons": list(found.reasons),
        "parameters": report.parameter_count if report else 0,
        "engine": report.engine if report else "",
        "microseconds": report.microseconds if report else 0.0,
        "timesteps": report.timesteps if report else 0,
        "elements": report.elements if report else 0,
    }


def _line(found: "Found", folder: Path) -> None:
    """One file of a folder."""
    console.print(
        f"{found.path.relative_to(folder)}: {found.road.value}", highlight=False, markup=False, soft_wrap=True
    )
    for reason in found.reasons[:1] if found.command else found.reasons:
        console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)


def _show(found: "Found") -> None:
    """A file by itself."""
    from service.convert.roads import Road

    name, report = found.path.name, found.report
    if found.road is Road.CONVERT:
        console.print(f"{name} can be served once it is converted:", highlight=False, markup=False)
    elif found.road is not Road.SERVED:
        console.print(f"{name} cannot be served as it is:", highlight=False, markup=False)
    for reason in found.reasons:
        console.print(f"  {reason}", highlight=False, markup=False)
    if found.road is Road.THROUGH_KERAS:
        console.print("Keras may compute it, for servers with that engine:", highlight=False)
    if report is not None and report.network is not None:
        _cost(report, name)
    if found.command:
        console.print(found.command, highlight=False, markup=False, soft_wrap=True)


def _cost(report: "Report", name: str) -> None:
    """The layers of a network, and what a prediction costs."""
    from service.config import DEFAULT_LIMITS

    if report.network is None:
        return
    layers = table("layer", "class", "parameters", title=f"{name} can be served")
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
