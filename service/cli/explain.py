"""`unroll explain` and `unroll memory`: attribution of a prediction, and how far back a network remembers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    Inputs,
    Json,
    Model,
    Version,
    WhatIf,
    check_picture,
    connected,
    console,
    number,
    print_json,
    table,
)
from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    from service.client import Client

MOST_ROWS = 60  # of a table of timesteps
METHODS = "gradient_input, integrated_gradients, occlude_timesteps, occlude_features, ablate_units"


@connected
def explain(
    inputs: Inputs,
    method: Annotated[str, typer.Option(help=f"One of {METHODS}.", metavar="METHOD")] = "integrated_gradients",
    output: Annotated[str, typer.Option(help="Output to explain; may be left out where there is one.")] = "",
    timestep: Annotated[
        int | None, typer.Option(help="Of an output at every timestep; negative: from the end. Default: the last.")
    ] = None,
    element: Annotated[int, typer.Option(min=0, help="Element of the output, such as a class.")] = 0,
    baseline: Annotated[str, typer.Option(help="Baseline: zeros, training_mean, or JSON for one sequence.")] = "zeros",
    points: Annotated[
        int, typer.Option(min=0, max=256, help="Points for integrated gradients; 0: the server's default.")
    ] = 0,
    sequence: Annotated[int, typer.Option(min=0, help="Sequence of the batch to show, from 0.")] = 0,
    what_if: WhatIf = None,
    plot: Annotated[str, typer.Option(help="Write a plot of the scores (PNG, PDF or SVG).", metavar="FILE")] = "",
    model: Model = "",
    version: Version = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show how much each part of a sequence contributes to one number of the prediction."""
    from service.cli.insight_plots import save_attribution
    from service.cli.literals import parse_change, parse_inputs
    from service.client.insight import Target

    check_picture(plot)
    arrays = parse_inputs(inputs)
    sequences = _sequences(arrays)
    if sequence >= sequences:
        raise InvalidArgumentError(f"sequence: the batch has {sequences}, counted from 0; got {sequence}")
    found = client.attribute(
        arrays,
        Target(output=output, timestep=timestep, element=element),
        method=method,
        baseline=_baseline(baseline, client, model),
        points=points,
        model=model,
        version=version,
        what_if=[parse_change(text) for text in what_if or ()],
    )
    if plot:
        save_attribution(plot, found, arrays, sequence, method)
    if json:
        print_json(
            {
                "model": found.model,
                "version": found.version,
                "method": method,
                "value": found.value,
                "baseline_value": found.baseline_value,
                "scores": dict(found.scores),
                "residual": found.residual,
            }
        )
        return
    title = f"{found.model} version {found.version}, sequence {sequence}: {number(found.value[sequence])}"
    if found.residual.size:
        title += f" ({number(found.baseline_value[sequence])} at the baseline)"
    for name, scores in found.scores.items():
        _print_scores(f"{title}\n{method.replace('_', ' ')}: {name}", method, scores[sequence])
    if found.residual.size:
        console.print(f"the scores differ from the change since the baseline by {found.residual[sequence]:.1e} of it")
    if plot:
        console.print(f"plot: {plot}", highlight=False)


@connected
def memory(
    inputs: Inputs,
    layer: Annotated[list[str] | None, typer.Option(help="Recurrent layer; repeat for more; default: all.")] = None,
    what_if: WhatIf = None,
    plot: Annotated[str, typer.Option(help="Write a plot of the decay (PNG, PDF or SVG).", metavar="FILE")] = "",
    model: Model = "",
    version: Version = "",
    json: Json = False,
    *,
    client: "Client",
) -> None:
    """Show how far back each recurrent layer remembers, over one sequence."""
    from dataclasses import asdict

    from service.cli.insight_plots import save_memory
    from service.cli.literals import parse_change, parse_inputs

    check_picture(plot)
    found = client.remember(
        parse_inputs(inputs),
        layers=layer or (),
        model=model,
        version=version,
        what_if=[parse_change(text) for text in what_if or ()],
    )
    if plot:
        save_memory(plot, found)
    if json:
        layers = {name: asdict(one) for name, one in found.layers.items()}
        print_json({"model": found.model, "version": found.version, "layers": layers})
        return
    steps = max((len(one.by_states) for one in found.layers.values()), default=0)
    shown = table("layer", "class", "half", "tenth", "hundredth", "radius", title=(
        f"{found.model} version {found.version}: timesteps back until less is left, over {steps}"
    ))  # fmt: skip
    for name, one in found.layers.items():
        horizons = ["never" if h < 0 else str(h) for h in one.horizons]
        shown.add_row(name, one.class_name, *horizons, number(one.spectral_radius))
    console.print(shown)
    console.print("radius: spectral radius of the recurrent kernel; it does not say how long the layer remembers")
    if plot:
        console.print(f"plot: {plot}", highlight=False)


def _sequences(arrays: Any) -> int:
    return len(next(iter(arrays.values()), ())) if isinstance(arrays, dict) else len(arrays)


def _baseline(text: str, client: "Client", model: str) -> Any:
    """The baseline as the client takes it: a name, or an array for the one input."""
    from service.cli.literals import parse_inputs

    if text.isidentifier():
        return text
    given = parse_inputs(text)
    if isinstance(given, dict):
        return given
    served = client.model(model)
    version = next(v for v in served.versions if v.version == served.default_version)
    return {version.inputs[0].name: given}


def _print_scores(title: str, method: str, scores: Any) -> None:
    """One row for each timestep, feature or unit; of many the largest, in order."""
    import numpy as np

    from service.cli.plots import heat_map

    first = "unit" if method == "ablate_units" else "feature" if method == "occlude_features" else "timestep"
    matrix = scores.reshape(len(scores), -1)
    total = matrix.sum(axis=1)
    chosen = np.sort(np.argsort(-np.abs(total), kind="stable")[:MOST_ROWS])
    wide = matrix.shape[1] > 1
    shown = table(first, "score", *(["by feature", ""] if wide else [""]), title=title)
    reach = np.abs(matrix).max(initial=0.0) or 1.0
    for i in chosen:
        parts = " ".join(number(value) for value in matrix[i, :8]) + (" …" if matrix.shape[1] > 8 else "")
        cells = heat_map(matrix[i] if wide else total[i], reach)
        cells.right_crop(1)  # the end of the line
        shown.add_row(str(i), number(total[i]), *([parts, cells] if wide else [cells]))
    if len(chosen) < len(matrix):
        shown.caption = f"the {len(chosen)} largest of {len(matrix)}"
    console.print(shown)
