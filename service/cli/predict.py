"""`unroll predict`: a prediction from the command line."""

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

if TYPE_CHECKING:
    from service.client import Client


@connected
def predict(
    inputs: Inputs,
    model: Model = "",
    version: Version = "",
    what_if: WhatIf = None,
    return_state: Annotated[
        bool, typer.Option("--state", help="Also show the states after the last timestep.")
    ] = False,
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Predict sequences. With --what-if, show the predictions with and without the change."""
    from service.cli.literals import parse_change, parse_inputs

    arrays = parse_inputs(inputs)
    changes = [parse_change(text) for text in what_if or ()]
    plain = client.predict(arrays, model=model, version=version, return_state=return_state)
    changed = (
        client.predict(arrays, model=model, version=plain.version, return_state=return_state, what_if=changes)
        if changes
        else None
    )
    if json:
        shown = {"model": plain.model, "version": plain.version, "outputs": dict(plain.outputs)}
        if return_state:
            shown["final_state"] = dict(plain.final_state)
        if changed:
            shown["what_if"] = {"outputs": dict(changed.outputs), "final_state": dict(changed.final_state)}
        print_json(shown)
        return
    columns = ["prediction"] if changed is None else ["as served", "what if " + ", ".join(what_if or ())]
    shown_as = table("tensor", *columns, title=f"{plain.model} version {plain.version}")
    for name, array in [*plain.outputs.items(), *plain.final_state.items()]:
        row = [name, array_text(array, precision=6)]
        if changed:
            row.append(array_text({**changed.outputs, **changed.final_state}[name], precision=6))
        shown_as.add_row(*row)
    console.print(shown_as)
