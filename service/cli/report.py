"""The final report of `unroll train` and `unroll sweep`: errors, predictions, decision and registered version."""

from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.cli.common import tables

COVERAGE_SHOWN = (80.0, 95.0)  # levels of prediction intervals, in percent

if TYPE_CHECKING:
    from training.evaluation.errors import Measured
    from training.evaluation.gate import Champion
    from training.job import Outcome


def report(outcome: "Outcome", console: Console) -> None:
    """What was measured, what was decided, and what was registered."""
    if outcome.measured:
        console.print(_errors(outcome.measured, outcome.champion))
        if outcome.measured.by_target:
            _show_by_target(outcome.measured.by_target, console)
    else:
        _reference(outcome, console)
    if outcome.measured and outcome.measured.coverage:
        console.print(_coverage(outcome.measured.coverage, "prediction"), highlight=False)
    if outcome.measured and outcome.measured.adaptive_coverage:
        console.print(_coverage(outcome.measured.adaptive_coverage, "adaptive"), highlight=False)
    if outcome.measured and outcome.measured.temperature is not None:
        console.print(_calibration(outcome.measured.temperature), highlight=False)
    if outcome.measured and (baseline := outcome.measured.better_baseline):
        console.print(_advice(outcome, baseline), highlight=False, markup=False)
    name, verb = outcome.name, "promoted" if outcome.decision.promoted else "not promoted"
    console.print(
        f"{verb}: {outcome.decision.reason}\n"
        f"registered [bold]{name}[/] version [bold]{outcome.version}[/], "
        f"and [bold]{name}@{outcome.alias}[/] points at it\n"
        f"proof: our network and Keras differ by at most {outcome.fitted.parity:.2g} of the tolerance\n"
        f"next: unroll serve --model models:/{name}@{outcome.alias}",
        highlight=False,
    )


def _advice(outcome: "Outcome", baseline: str) -> str:
    """What may help a network that a baseline beats."""
    layout, options = outcome.examples.layout, outcome.options
    ways = ["more --epochs or another --learning-rate", "unroll sweep"]
    if not layout.classes and not options.residual and set(layout.predicted) <= set(layout.features):
        ways.insert(0, "--residual, which learns changes from the last value and suits series that drift")
    text = f"this network is worse than the baseline {baseline!r}; what may help: {'; '.join(ways)}"
    return text if outcome.decision.promoted else f"{text}. --promote always moves the alias regardless"


def _coverage(coverage: dict[float, float], kind: str) -> str:
    """How many of the held-out values lie within the intervals of that kind."""
    shown = [f"{share:.0%} at {level:g} %" for level, share in coverage.items() if level in COVERAGE_SHOWN]
    return f"held-out values within the {kind} intervals: {', '.join(shown)}"


def _calibration(temperature: float) -> str:
    """By what the probabilities of classes were calibrated."""
    if temperature == 1:
        return "probabilities: no temperature fits the validation part better than 1"
    return f"probabilities: calibrated on the validation part, temperature {temperature:.3g}"


def _errors(measured: "Measured", champion: "Champion | None") -> Table:
    table = Table(title="Error on held-out data", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for metric in measured.network:
        table.add_column(metric.replace("_", " "), justify="right")
    rows = {"this network": measured.network, **{f"baseline: {k}": v for k, v in measured.baselines.items()}}
    if measured.temperature not in (None, 1.0):
        rows = {"this network": measured.network, "before calibration": measured.uncalibrated, **rows}
    if champion and champion.error is not None:
        rows[f"champion, version {champion.version}"] = {measured.metric: champion.error}
    if measured.better_baseline:
        rows[f"baseline: {measured.better_baseline} (better)"] = rows.pop(f"baseline: {measured.better_baseline}")
    for who, figures in rows.items():
        table.add_row(who, *(f"{figures[m]:.5g}" if m in figures else "" for m in measured.network))
    return table


def _show_by_target(by_target: "dict[str, Measured]", console: Console) -> None:
    """The errors of each of several targets, in its own units, beside those of the baselines."""
    first = next(iter(by_target.values()))
    rows = {metric: [f"{one.network[metric]:.5g}" for one in by_target.values()] for metric in first.network}
    for name in first.baselines:
        errors = [one.baselines[name][one.metric] for one in by_target.values()]
        rows[f"{first.metric} of {name}"] = [f"{error:.5g}" for error in errors]
    for shown in tables("By target", "", list(by_target), rows, console):
        console.print(shown)


def _reference(outcome: "Outcome", console: Console) -> None:
    """The weights of the reference, and what it predicts of the sequences that it learned from."""
    from training.progress import weights_table

    fitted = outcome.fitted
    console.print(weights_table("Weights after training", fitted.after))
    table = Table(title="Predictions", title_justify="left", box=SIMPLE_HEAD)
    for column in ("sequence", "target", "prediction"):
        table.add_column(column)
    inputs = outcome.examples.parts.train.inputs()
    for sequence, target, prediction in zip(inputs, fitted.targets, fitted.predictions, strict=True):
        table.add_row(*(np.array2string(a, precision=6, suppress_small=True) for a in (sequence, target, prediction)))
    console.print(table)
    if fitted.progress.losses:
        console.print(f"final loss {fitted.progress.losses[-1]:.6g}", highlight=False)
