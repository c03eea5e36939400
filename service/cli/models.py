"""`unroll models`: the models that a server serves, and their aliases."""

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    Json,
    Model,
    Version,
    connected,
    console,
    number,
    print_json,
    table,
)
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.client import Client
    from service.pb import unroll_pb2 as pb

SHOWN_LABELS = 10

app = typer.Typer(
    no_args_is_help=True, help="Show the models that a server serves and their versions, and move aliases."
)


@app.command("list")
@connected
def list_models(json: Json = False, *, client: "Client") -> None:
    """List the models of a server and their versions."""
    from google.protobuf.json_format import MessageToDict

    from service.pb import unroll_pb2 as pb

    models = list(client.models())
    if json:
        print_json([MessageToDict(model, preserving_proto_field_name=True) for model in models])
        return
    found = table("model", "version", "aliases", "made by", "who: why", "proof")
    for model in models:
        for version in model.versions:
            aliases = [f"@{alias}" for alias, number in sorted(model.aliases.items()) if number == version.version]
            found.add_row(
                model.name,
                version.version + (" (default)" if version.version == model.default_version else ""),
                " ".join(aliases),
                _origin(version),
                ": ".join(filter(None, (version.actor, version.reason))),
                _word(pb.Proof.Name(version.proof), "PROOF_") + (" with gradients" if version.gradients_proven else ""),
            )
    console.print(found)
    for model in models:
        if model.stale_reason:
            console.print(f"[yellow]{model.name}: {model.stale_reason}")


@app.command()
@connected
def show(
    model: Model = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show one model: the layers of its network, and whether the registry agrees."""
    found = client.model(model)
    if json:
        print_json(found)
        return
    serves = f"serving version {found.default_version}" if found.default_version else "nothing loaded yet"
    console.print(f"[bold]{found.name}[/], {serves} for {found.references[0]}")
    if found.confirmed_time.seconds:
        console.print(
            f"registry: {found.stale_reason or 'agrees'}, last confirmed {found.confirmed_time.ToJsonString()}"
        )
    else:
        console.print(f"registry: {found.stale_reason or 'not reached yet'}")
    for version in found.versions:
        layers = table(
            "layer", "class", "output shape", "parameters",
            title=f"version {version.version}, engine {version.engine}, SHA-256 {version.digest[:12]}…",
        )  # fmt: skip
        for layer in version.layers:
            shape = "(" + ", ".join("any" if n < 0 else str(n) for n in layer.output_shape) + ")"
            layers.add_row(layer.name, layer.class_name, shape, str(layer.parameter_count))
        console.print(layers)
        for line in _meaning(version.data):
            console.print(f"  {line}", highlight=False, markup=False)
        for note in version.notes:
            console.print(f"  {note}")


def _meaning(data: "pb.DataLayout") -> "Iterator[str]":
    """What a version reads and predicts, as far as it says."""
    computed = 2 * len(data.calendar)
    given = [*data.features[: len(data.features) - computed], *data.categories, *data.calendar]
    if reads := ", ".join(given) or data.text:
        yield f"reads: {reads}" + (f"; {data.window} timesteps" if data.window else "")
    if predicts := ", ".join(data.targets) or data.target:
        yield f"predicts: {predicts}" + (f"; {data.horizon} steps" if data.horizon else "")
    if labels := data.classes:
        more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
        yield f"classes: {', '.join(labels[:SHOWN_LABELS])}{more}"


@app.command()
@connected
def versions(
    model: Model = "",
    most: Annotated[int, typer.Option(min=1, help="Number of versions to show, the newest first.")] = 20,
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """List the versions that the registry has of a model: who made each and why, and how well it did."""
    from itertools import islice

    from google.protobuf.json_format import MessageToDict

    from service.pb import unroll_pb2 as pb

    found = list(islice(client.versions(model), most))
    if json:
        print_json([MessageToDict(version, preserving_proto_field_name=True) for version in found])
        return
    shown = table("version", "aliases", "made by", "when", "who: why", "proof", "error")
    for version in found:
        gate, created = version.gate, version.created_time
        figures = f"{gate.metric} {number(gate.error)}" if gate.HasField("error") else ""
        if figures and gate.HasField("baseline_error"):
            figures += f" ({gate.baseline}: {number(gate.baseline_error)})"
        shown.add_row(
            version.version + (" (loaded)" if version.loaded else ""),
            " ".join(f"@{alias}" for alias in version.aliases),
            _origin(version),
            f"{created.ToDatetime():%Y-%m-%d %H:%M}" if created.seconds else "",
            ": ".join(filter(None, (version.actor, version.refusal or version.reason))),
            _word(pb.Proof.Name(version.proof), "PROOF_").replace("unspecified", ""),
            figures,
        )
    console.print(shown)


@app.command()
@connected
def examples(
    model: Model = "",
    version: Version = "",
    sequences: Annotated[int, typer.Option(min=0, help="Largest number of sequences; 0: all that there are.")] = 0,
    *,
    client: "Client",
) -> None:
    """Print sequences that a version was proven with, as JSON that `unroll predict` and `unroll trace` take."""
    found = client.examples(model=model, version=version, sequences=sequences)
    if not found.inputs:
        raise InvalidArgumentError(f"version {found.version} of {found.model} has no proof, and so no examples")
    inputs = {name: array.tolist() for name, array in found.inputs.items()}
    typer.echo(dumps(next(iter(inputs.values())) if len(inputs) == 1 else inputs))


@app.command("move-alias")
@connected
def move_alias(
    version: Annotated[str, typer.Argument(help="Number of the version to point the alias at.")],
    alias: Annotated[str, typer.Option(help="Alias to move; default: the model's default alias.")] = "",
    model: Model = "",
    expected: Annotated[
        str, typer.Option(help="Version that the alias must point at now; default: the one that the server reports.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; kept with the version.")] = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Point an alias at another version. When the command returns, the server serves that version."""
    if not expected:
        found = client.model(model)
        expected = found.aliases.get(alias or found.default_alias, "")
    moved = client.move_alias(version, expected_version=expected, alias=alias, model=model, reason=reason, actor=user())
    if json:
        print_json(moved)
        return
    console.print(f"{moved.model}@{moved.alias}: version {moved.previous_version} → {moved.version}")


def user() -> str:
    """Who sits at this terminal, as far as the system knows."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return ""


def _origin(version: "pb.ModelVersion | pb.RegisteredVersion") -> str:
    """How a version came about, in a few words."""
    from service.pb import unroll_pb2 as pb

    made = _word(pb.VersionOrigin.Name(version.origin), "VERSION_ORIGIN_")
    return f"{made} of {version.base_version}" if version.base_version else made


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
