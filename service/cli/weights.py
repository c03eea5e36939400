"""`unroll weights`: shows, compares and overrides weights."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    Json,
    Model,
    Version,
    array_text,
    check_picture,
    connected,
    console,
    number,
    print_json,
    table,
)
from service.cli.models import user
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.client import Client

# By how many blocks a recurrent kernel has; in Keras's order.
GATES = {
    1: ("candidate",),
    3: ("update", "reset", "candidate"),
    4: ("input", "forget", "candidate", "output"),
}

app = typer.Typer(no_args_is_help=True, help="Show, compare and override weights.")


@app.command()
@connected
def show(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of weights, such as simpleRNN/kernel; default: all.")
    ] = None,
    model: Model = "",
    version: Version = "",
    statistics: Annotated[bool, typer.Option("--statistics", help="Show statistics only, not values.")] = False,
    gates: Annotated[bool, typer.Option("--gates", help="Show statistics of recurrent weights for each gate.")] = False,
    plot: Annotated[str, typer.Option(help="Write a plot of the weights (PNG, PDF or SVG).", metavar="FILE")] = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show the weights of a version, with statistics."""
    from google.protobuf.json_format import MessageToDict

    from service.cli.plots import heat_map, save_weights
    from service.client import to_array

    check_picture(plot)
    answer = client.get_weights(
        model=model, version=version, names=names or (), values=not statistics or gates or bool(plot)
    )
    title = f"{answer.model} version {answer.version}, SHA-256 {answer.digest[:12]}…"
    if gates:
        _print_gates({weight.name: to_array(weight.value) for weight in answer.weights}, title, json=json)
        return
    if plot:
        arrays = {weight.name: to_array(weight.value) for weight in answer.weights}
        save_weights(plot, f"{answer.model} version {answer.version}", arrays)
    if json:
        shown = MessageToDict(answer, preserving_proto_field_name=True)
        for entry, weight in zip(shown.get("weights", []), answer.weights, strict=True):
            if not statistics:
                entry["value"] = to_array(weight.value)
        print_json(shown)
        return
    if not statistics:
        values = table("weight", "values", "", title=title)
        for weight in answer.weights:
            array = to_array(weight.value)
            values.add_row(f"{weight.name}\n{tuple(weight.shape)}", array_text(array), heat_map(array))
        console.print(values)
    figures = table("weight", "mean", "std", "min", "max", "L2", "radius", title="Statistics")
    for weight in answer.weights:
        s = weight.statistics
        row = [number(x) for x in (s.mean, s.standard_deviation, s.min, s.max, s.l2_norm)]
        figures.add_row(weight.name, *row, " ".join(number(r) for r in s.spectral_radius))
    console.print(figures)


@app.command()
@connected
def compare(
    base: Annotated[str, typer.Argument(help="Base version: a number, an alias or @ALIAS.")],
    version: Annotated[
        str, typer.Argument(help="Version to compare with the base; default: the one that is served.")
    ] = "",
    plot: Annotated[str, typer.Option(help="Write a plot of the differences (PNG, PDF or SVG).", metavar="FILE")] = "",
    model: Model = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show the differences between two versions, for each weight."""
    from service.cli.plots import save_weights
    from service.client import to_array

    check_picture(plot)
    answer = client.compare_weights(base, version, model=model, values=bool(plot))
    if plot:
        arrays = {difference.name: to_array(difference.difference) for difference in answer.differences}
        save_weights(plot, f"{answer.model}: version {answer.version} minus {answer.base_version}", arrays)
    if json:
        print_json(answer)
        return
    differences = table(
        "weight",
        "largest change",
        "mean change",
        "relative norm",
        "cosine",
        "elements changed",
        title=f"{answer.model}: version {answer.base_version} → {answer.version}",
    )
    for d in answer.differences:
        differences.add_row(
            d.name, *(number(x) for x in (d.max_change, d.mean_change, d.relative_norm, d.cosine)), str(d.changed)
        )
    console.print(differences)
    for what, only in ((answer.base_version, answer.only_in_base), (answer.version, answer.only_in_version)):
        if only:
            console.print(f"only in version {what}: {', '.join(only)}")


@app.command()
@connected
def override(
    changes: Annotated[
        list[str],
        typer.Argument(
            help="LAYER/WEIGHT=VALUE; += adds, *= scales; LAYER/WEIGHT[0:1,2:4]=VALUE changes a slice.",
            metavar="CHANGE...",
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why, in a sentence; kept with the version.")],
    model: Model = "",
    alias: Annotated[
        str, typer.Option(help="Alias to override, which then moves; default: the model's default alias.")
    ] = "",
    expected: Annotated[
        str, typer.Option(help="Version that the alias must point at now; default: the one that the server reports.")
    ] = "",
    keep_alias: Annotated[
        bool, typer.Option("--keep-alias", help="Register the new version, but do not move the alias.")
    ] = False,
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Change weights for all callers: registers a new version, which the server serves when the command returns.

    For example: unroll weights override 'output/bias=[0.5]' --reason 'sensor 7 drifts'
    """
    from service.cli.literals import parse_change

    parsed = [parse_change(text) for text in changes]
    if not expected:
        found = client.model(model)
        wanted = alias or found.default_alias
        expected = found.aliases.get(wanted, "") if wanted else found.default_version
    made = client.override_weights(
        parsed,
        reason=reason,
        expected_version=expected,
        model=model,
        alias=alias,
        actor=user(),
        keep_alias=keep_alias,
    )
    if json:
        print_json(made)
        return
    moved = f", {made.model}@{made.alias} points at it" if made.alias else ", no alias points at it"
    console.print(
        f"{made.model} version {made.version} made from {made.base_version} "
        f"({', '.join(made.changed_weights)} changed){moved}"
    )


def _print_gates(arrays: "Mapping[str, Any]", title: str, *, json: bool) -> None:
    """Each block of each recurrent weight, by the name of its gate."""
    import numpy as np

    found: list[dict[str, Any]] = []
    for name, array in arrays.items():
        recurrent = arrays.get(f"{name.rpartition('/')[0]}/recurrent_kernel")
        names = () if recurrent is None else GATES.get(recurrent.shape[-1] // recurrent.shape[-2], ())
        for gate, block in zip(names, np.split(array, len(names), axis=-1) if names else (), strict=True):
            square = name.endswith("recurrent_kernel") and array.ndim == 2  # else its blocks are convolutions
            found.append(
                {
                    "weight": name,
                    "gate": gate,
                    "mean": float(block.mean()),
                    "standard_deviation": float(block.std()),
                    "min": float(block.min()),
                    "max": float(block.max()),
                    "l2_norm": float(np.linalg.norm(block)),
                    "spectral_radius": float(np.abs(np.linalg.eigvals(block)).max()) if square else None,
                }
            )
    if not found:
        raise InvalidArgumentError("none of these weights belongs to a recurrent layer; name its recurrent_kernel too")
    if json:
        print_json(found)
        return
    shown = table("weight, gate", "mean", "std", "min", "max", "L2", "radius", title=title)
    for one in found:
        *figures, radius = list(one.values())[2:]
        shown.add_row(
            f"{one['weight']}, {one['gate']}", *map(number, figures), "" if radius is None else number(radius)
        )
    console.print(shown)
