"""`unroll weights`: see weights, compare them, override them."""

from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.table import Table

from service.cli.common import (
    DEFAULT_ADDRESS,
    Address,
    Json,
    Model,
    RootCertificates,
    Token,
    Version,
    array_text,
    connect,
    console,
    number,
    print_json,
)
from service.cli.literals import parse_change
from service.cli.models import user
from service.client import to_array

app = typer.Typer(no_args_is_help=True, help="See weights, compare them, override them.")


@app.command()
def show(
    names: Annotated[
        list[str] | None, typer.Argument(help="Weights to show, such as simpleRNN/kernel; default: all.")
    ] = None,
    model: Model = "",
    version: Version = "",
    statistics: Annotated[bool, typer.Option("--statistics", help="Statistics only, no values.")] = False,
    json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token: Token = "",
    ca: RootCertificates = "",
) -> None:
    """Show the weights of a version, with statistics."""
    with connect(address, token, ca) as client:
        answer = client.get_weights(model=model, version=version, names=names or (), values=not statistics)
    if json:
        shown = MessageToDict(answer, preserving_proto_field_name=True)
        for entry, weight in zip(shown.get("weights", []), answer.weights, strict=True):
            if not statistics:
                entry["value"] = to_array(weight.value)
        print_json(shown)
        return
    table = Table(title=f"{answer.model} version {answer.version}  {answer.digest[:12]}", title_justify="left")
    for column in ("weight", "shape", "mean", "std", "min", "max", "L2", "spectral radius"):
        table.add_column(column)
    if not statistics:
        table.add_column("values")
    for weight in answer.weights:
        s = weight.statistics
        row = [weight.name, str(tuple(weight.shape))]
        row += [number(x) for x in (s.mean, s.standard_deviation, s.min, s.max, s.l2_norm)]
        row.append(" ".join(number(r) for r in s.spectral_radius))
        if not statistics:
            row.append(array_text(to_array(weight.value)))
        table.add_row(*row)
    console.print(table)


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="Version to compare from: number, alias or @ALIAS.")],
    version: Annotated[str, typer.Argument(help="Version to compare to; default: what is served.")] = "",
    model: Model = "",
    json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token: Token = "",
    ca: RootCertificates = "",
) -> None:
    """Show what differs between two versions, weight by weight."""
    with connect(address, token, ca) as client:
        answer = client.compare_weights(base, version, model=model)
    if json:
        print_json(answer)
        return
    table = Table(title=f"{answer.model}: version {answer.base_version} → {answer.version}", title_justify="left")
    for column in ("weight", "largest change", "mean change", "relative norm", "cosine", "elements changed"):
        table.add_column(column)
    for d in answer.differences:
        table.add_row(
            d.name, *(number(x) for x in (d.max_change, d.mean_change, d.relative_norm, d.cosine)), str(d.changed)
        )
    console.print(table)
    for what, only in ((answer.base_version, answer.only_in_base), (answer.version, answer.only_in_version)):
        if only:
            console.print(f"only in version {what}: {', '.join(only)}")


@app.command()
def override(
    changes: Annotated[
        list[str],
        typer.Argument(help="LAYER/WEIGHT=VALUE, += or *=; [0:1,2:4] before it for a slice.", metavar="CHANGE..."),
    ],
    reason: Annotated[str, typer.Option(help="Why, in a sentence; kept with the version.")],
    model: Model = "",
    alias: Annotated[str, typer.Option(help="Alias to change and move; default: the model's default alias.")] = "",
    expected: Annotated[
        str, typer.Option(help="Version you looked at; default: what the server says at this moment.")
    ] = "",
    keep_alias: Annotated[
        bool, typer.Option("--keep-alias", help="Register only; leave the alias where it is.")
    ] = False,
    json: Json = False,
    address: Address = DEFAULT_ADDRESS,
    token: Token = "",
    ca: RootCertificates = "",
) -> None:
    """Change weights for everybody: a new version, in service when this returns.

    For example: unroll weights override 'output/bias=[0.5]' --reason 'sensor 7 drifts'
    """
    parsed = [parse_change(text) for text in changes]
    with connect(address, token, ca) as client:
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
