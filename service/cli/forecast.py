"""`unroll forecast`: the values after the last row of each series of a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import check_picture, connected, console, served, table
from service.cli.extras import require
from service.cli.formats import Decimal, Delimiter, Duplicates, TimeFormat, chosen
from service.errors import InvalidArgumentError, NotFoundError, NotReadyError

if TYPE_CHECKING:
    from service.client import Client
    from training.data.layout import Layout
    from training.forecasting import Forecasts, PredictFunction

MOST_ROWS = 60  # of the table on the terminal


def forecast(
    data: Annotated[
        str,
        typer.Option(
            help="Table that ends where the forecast begins: CSV, Parquet or Arrow; file, folder or URI.",
            metavar="FILE",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; with --address also NAME.", metavar="REFERENCE"),
    ],
    group: Annotated[str, typer.Option(help="Forecast only this series.", metavar="NAME")] = "",
    level: Annotated[
        str, typer.Option(help="Levels of prediction intervals in percent, such as 80,95.", metavar="LEVELS")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File to write: .csv or .parquet.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.", metavar="FILE")] = None,
    cache: Annotated[Path, typer.Option(envvar="UNROLL_CACHE", help="Folder for downloaded versions.")] = Path(
        "~/.cache/unroll"
    ),
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    time_format: TimeFormat = None,
    duplicates: Duplicates = None,
    *,
    client: "Client | None",
) -> None:
    """Forecast each series of a table: the next values, their times, and prediction intervals.

    The version knows its columns, window and horizon. Values of columns known ahead stand in the rows behind the last
    known target. It is read from the registry, or a server with --address
    computes; then neither TensorFlow nor a registry is needed.
    """
    check_picture(plot)
    require("tables")
    if client is None:
        require("serve")
    from training import forecasting

    levels = _levels(level)
    name, version, layout, predict, adaptive = _local(model, cache) if client is None else _remote(model, client)
    how = chosen(layout.format, delimiter, decimal, time_format, duplicates)
    found = forecasting.forecast(predict, layout, data, how=how, group=group, levels=levels, adaptive=adaptive)
    _show(found, f"{name} version {version}", levels)
    if out is not None:
        _write(found, out)
    if plot is not None:
        from service.cli.forecast_plots import draw

        draw(found, f"{name} version {version}").savefig(plot, dpi=120)
        console.print(f"drawn to {plot}", highlight=False)


def _levels(text: str) -> list[float]:
    """Levels in percent. Raises InvalidArgumentError."""
    try:
        levels = [float(level) for level in text.split(",") if level.strip()]
    except ValueError:
        levels = [0.0]
    if not all(0 < level < 100 for level in levels):
        raise InvalidArgumentError(f"level: expected levels in percent, such as 80,95, got {text!r}", field="level")
    return levels


def _local(model: str, cache: Path) -> "tuple[str, str, Layout, PredictFunction, int]":
    """A version of the registry, its layout, what predicts with it, and by how many errors its intervals are scaled."""
    from training import scoring
    from training.evaluation.errors import named

    loaded = scoring.load(model, cache.expanduser())
    (output,) = loaded.network.outputs

    def predict(inputs: Mapping[str, Any], levels: Sequence[float], recent: Any | None = None) -> tuple[Any, Any]:
        predicted = loaded.network.forward(named(loaded.network, inputs)).outputs[output.name]
        if levels and loaded.intervals is None:
            raise NotReadyError(
                f"level: version {loaded.version} of {loaded.name} has no prediction intervals", field="level"
            )
        around = loaded.intervals.around if loaded.intervals else None
        return predicted, {level: around(predicted, level, recent) for level in levels if around}

    adaptive = loaded.intervals.adaptive if loaded.intervals else None
    return loaded.name, loaded.version, loaded.layout, predict, adaptive.forecasts if adaptive else 0


def _remote(model: str, client: "Client") -> "tuple[str, str, Layout, PredictFunction, int]":
    """The same of a version that a server serves."""
    import numpy as np

    from training.data.layout import Layout

    name, version = served(model)
    answered = client.model(name)
    number = answered.aliases.get(version[1:], "") if version.startswith("@") else version or answered.default_version
    if number not in {v.version for v in answered.versions} and number == version:
        client.examples(model=name, version=version, sequences=1)  # which has the server load it
        answered = client.model(name)
    found = next((v for v in answered.versions if v.version == number), None)
    if found is None:
        listed = ", ".join(v.version for v in answered.versions)
        raise NotFoundError(
            f"model: the server does not hold {model} in memory; of {answered.name} it holds version {listed}",
            field="model",
        )
    layout = Layout.of(found.data)
    if not layout.has_columns:
        raise InvalidArgumentError(
            f"model: version {number} of {answered.name} was not trained with unroll train --data, so nobody knows "
            "which columns it takes",
            field="model",
        )

    def ask(inputs: Mapping[str, Any], levels: Sequence[float], recent: Any = ()) -> tuple[Any, Any]:
        given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
        answer = client.predict(given, model=answered.name, version=number, levels=levels, recent_errors=recent)
        return answer.output, answer.intervals

    def predict(inputs: Mapping[str, Any], levels: Sequence[float], recent: Any | None = None) -> tuple[Any, Any]:
        known = np.zeros(0, bool) if recent is None else np.isfinite(recent).reshape(len(recent), -1).all(axis=1)
        if recent is None or not known.any():
            return ask(inputs, levels)
        recent = np.maximum(recent, np.finfo(np.float64).tiny)  # a server takes positive numbers
        if known.all():
            return ask(inputs, levels, recent)
        predicted, intervals = ask(inputs, levels)
        _, scaled = ask({name: values[known] for name, values in inputs.items()}, levels, recent[known])
        chosen = np.cumsum(known) - 1  # the place of each sequence among those
        spread = known.reshape(-1, *[1] * (predicted.ndim - 1))
        merged = {
            level: tuple(
                np.where(spread, end[chosen], plain) for plain, end in zip(intervals[level], ends, strict=True)
            )
            for level, ends in scaled.items()
        }
        return predicted, merged

    forecasts = found.adaptive_intervals.forecasts if found.HasField("adaptive_intervals") else 0
    return answered.name, number, layout, predict, forecasts


def _show(found: "Forecasts", title: str, levels: Sequence[float]) -> None:
    """A table with a row for each series and step."""
    layout = found.layout
    columns = [layout.group] if layout.group else []
    columns += (
        ["target", layout.time or "step", "forecast"] if layout.targets else [layout.time or "step", layout.target]
    )
    columns += ["probability"] if layout.classes else [f"{level:g} %" for level in levels]
    shown = table(*columns, title=f"{title}: forecast of {', '.join(layout.predicted)}")
    rows = [row for one in found.found for row in _rows(one, layout)]
    for row in rows[:MOST_ROWS]:
        shown.add_row(*row)
    console.print(shown)
    if len(rows) > MOST_ROWS:
        console.print(f"and {len(rows) - MOST_ROWS} more rows; --out writes them all", highlight=False)
    if found.adaptive and len(found.plain) < len({one.group for one in found.found}):
        console.print(
            f"intervals: scaled by the mean absolute error of the last {found.adaptive} forecasts of the series",
            highlight=False,
        )
    for name, reason in found.plain.items():
        console.print(
            f"intervals{f' of {name!r}' if name else ''}: plain widths, not scaled by the recent error: {reason}",
            highlight=False,
            markup=False,
        )
    for name, reason in found.left_out.items():
        console.print(f"no forecast for {name!r}: {reason}", highlight=False, markup=False)


def _rows(one: Any, layout: "Layout") -> list[list[str]]:
    """The rows of a series, or of one target of it."""
    begin = [*([one.group] if layout.group else []), *([one.target] if layout.targets else [])]
    if layout.classes:
        best = int(one.predicted.argmax())
        return [[*begin, _time(one.times[0]), layout.classes[best], f"{one.predicted[best]:.3f}"]]
    made = []
    for i, value in enumerate(one.predicted):
        ends = [f"{lower[i]:.6g} to {upper[i]:.6g}" for lower, upper in one.intervals.values()]
        made.append([*begin, _time(one.times[i]), f"{value:.6g}", *ends])
    return made


def _time(time: Any) -> str:
    """A time for people: a date alone where it is midnight."""
    text = (
        time.isoformat(sep=" ") if hasattr(time, "isoformat") else f"{time:g}" if isinstance(time, float) else str(time)
    )
    return text.removesuffix(" 00:00:00")


def _write(found: "Forecasts", out: Path) -> None:
    """Writes all rows to a file, which appears whole or not at all."""
    from training.data.output import write_table
    from training.forecasting import as_table

    write_table(as_table(found), out)
    console.print(f"written to {out}", highlight=False)


command = connected(forecast, optional=True)
