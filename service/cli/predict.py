"""`unroll predict`: a prediction from the command line."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

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
    from service.client.messages import Array


@connected
def predict(
    inputs: Inputs,
    model: Model = "",
    version: Version = "",
    what_if: WhatIf = None,
    return_state: Annotated[
        bool, typer.Option("--state", help="Also show the states after the last timestep.")
    ] = False,
    top: Annotated[
        int, typer.Option(min=0, help="Also show so many classes with the largest scores, by their labels.")
    ] = 0,
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Predict sequences. With --what-if, show the predictions with and without the change."""
    from service.cli.literals import parse_change, parse_inputs

    arrays = parse_inputs(inputs)
    changes = [parse_change(text) for text in what_if or ()]
    plain = client.predict(arrays, model=model, version=version, return_state=return_state, top_classes=top)
    changed = (
        client.predict(
            arrays, model=model, version=plain.version, return_state=return_state, what_if=changes, top_classes=top
        )
        if changes
        else None
    )
    if json:
        shown: dict[str, Any] = {"model": plain.model, "version": plain.version, "outputs": dict(plain.outputs)}
        if return_state:
            shown["final_state"] = dict(plain.final_state)
        if top:
            shown["classes"] = _plain(plain.classes)
        if changed:
            shown["what_if"] = {"outputs": dict(changed.outputs), "final_state": dict(changed.final_state)}
            if top:
                shown["what_if"]["classes"] = _plain(changed.classes)
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
    if top:
        _print_classes(columns, [one.classes for one in (plain, changed) if one])


def _plain(classes: "Mapping[str, Array]") -> dict[str, Any]:
    """Classes as JSON: by output, in lists as deep as it has axes."""
    from dataclasses import asdict

    import numpy as np

    return {name: np.frompyfunc(asdict, 1, 1)(found).tolist() for name, found in classes.items()}


def _print_classes(columns: list[str], found: "Sequence[Mapping[str, Array]]") -> None:
    """A row for each sequence, or each timestep of it; a column for each prediction."""
    import numpy as np

    shown = table("output", "place", *columns)
    for name, first in found[0].items():
        for place in np.ndindex(first.shape[:-1]):
            cells = [
                ", ".join(f"{one.label or one.index} {one.score:.6g}" for one in each[name][place]) for each in found
            ]
            shown.add_row(name, ", ".join(map(str, place)), *cells)
    console.print(shown)
