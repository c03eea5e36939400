"""Figures of a run for the MLflow UI. Drawn without a display and without global state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.drawing import (
    ACCENT,
    GUIDE,
    INK,
    LINES,
    figure,
    heat,
    legend_above,
    panel,
    scale,
    short_dates,
    whole_numbers,
)
from training.data.windows import Array, Places, Windows

MOST_TARGETS = 6  # that are drawn


def loss_curve(losses: Sequence[float], validation_losses: Sequence[float] = ()) -> Any:
    """The loss of each epoch, on a logarithmic scale, with that on the validation part where there is one."""
    drawn = figure(7, 4)
    axes = drawn.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color=INK, label="training")
    if validation_losses:
        axes.plot(range(1, len(validation_losses) + 1), validation_losses, color=ACCENT, label="validation")
        axes.legend(fontsize=8, frameon=False)
    panel(axes, "Loss", "epoch", "loss")
    whole_numbers(axes.xaxis)
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    return drawn


def weights_before_and_after(before: Mapping[str, Array], after: Mapping[str, Array]) -> Any:
    """Each weight as a heat map, before and after training on one scale, with its values where there is room."""
    drawn = figure(9, 1.0 + 2.0 * len(before))
    grid = drawn.subplots(len(before), 2, squeeze=False)
    for (name, old), row in zip(before.items(), grid, strict=True):
        reach = float(max(np.abs(old).max(), np.abs(after[name]).max())) or 1.0
        for axes, values, when in ((row[0], old, "before"), (row[1], after[name], "after")):
            image = heat(axes, np.atleast_2d(values).T, reach, (8, 8))
            panel(axes, f"{name} {when}")
            axes.set_xticks([])
            axes.set_yticks([])
        scale(drawn, image, list(row))
    return drawn


def predictions_against_targets(predictions: Array, targets: Array, columns: Sequence[str] = ()) -> Any:
    """Each prediction over its target; on the line they are equal. Of several `columns`, a panel for each."""
    if len(columns) < 2:
        drawn = figure(5, 5)
        _against(drawn.add_subplot(), predictions, targets, "Predictions against targets")
        return drawn
    shown = columns[:MOST_TARGETS]
    drawn = figure(1 + 4 * len(shown), 4.4, "Predictions against targets")
    for i, axes in enumerate(drawn.subplots(1, len(shown), squeeze=False)[0]):
        _against(axes, predictions[..., i], targets[..., i], shown[i])
    return drawn


def _against(axes: Any, predictions: Array, targets: Array, title: str) -> None:
    x, y = np.ravel(targets), np.ravel(predictions)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.05 * (high - low) or 1.0
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color=GUIDE, linewidth=1, zorder=0)
    many = len(x) > 200  # which would hide each other
    axes.scatter(x, y, color=ACCENT, s=3 if many else 36, alpha=0.3 if many else 1.0, linewidths=0)
    panel(axes, title, "target", "prediction")
    axes.set(xlim=ends, ylim=ends)
    axes.grid(alpha=0.3)


def predictions_over_time(
    predictions: Array, targets: Array, windows: Windows, columns: Sequence[str], most: int = 4
) -> Any:
    """What came and what was predicted, one after the other; of several steps the first and the last.

    A panel for each of the longest stretches without a gap; of several `columns`, one for each, of the longest stretch.
    Over the times of the table, or over its rows where it has none.
    """
    stretches = np.zeros(len(windows), np.int32) if windows.segments is None else windows.segments[windows.starts]
    names, counts = np.unique(stretches, return_counts=True)
    longest = names[np.argsort(-counts, kind="stable")]
    several = predictions.ndim == 3
    if not several:
        predictions, targets, columns = predictions[..., None], targets[..., None], columns[:1]
    shown = [(longest[0], i) for i in range(min(len(columns), MOST_TARGETS))]
    if not several:
        shown = [(name, 0) for name in np.sort(longest[:most])]
    timeline = windows.timeline
    clock, axis = (timeline.clock, "time") if timeline and timeline.timed else (None, "row of the table")
    drawn = figure(7, 1.2 + 2.2 * len(shown), "Held-out data, and what was predicted of it")
    for axes, (name, i) in zip(drawn.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        chosen = np.flatnonzero(stretches == name)
        _over_time(axes, predictions[chosen, :, i], targets[chosen, :, i], windows.target_starts[chosen], clock)
        panel(axes, columns[i], axis if axes is drawn.axes[-1] else "")
        if clock is None:
            whole_numbers(axes.xaxis)
        elif clock.dtype.kind == "M":
            short_dates(axes.xaxis)
        axes.grid(alpha=0.3)
    legend_above(drawn.axes[0])
    return drawn


def _over_time(axes: Any, predictions: Array, targets: Array, rows: Places, clock: npt.NDArray[Any] | None) -> None:
    """The targets at their times or rows, and the predictions of the first and the last step at theirs."""
    last = predictions.shape[1] - 1
    # Windows share most of their targets.
    known, first = np.unique(rows[:, None] + np.arange(last + 1), return_index=True)
    axes.plot(*_with_gaps(known, targets.reshape(-1)[first], clock), color=INK, linewidth=1, label="target")
    for step, colour in ((0, ACCENT), (last, LINES[2]))[: 2 if last else 1]:
        ahead = f"{step + 1} step{'s' if step else ''} ahead"
        line = _with_gaps(rows + step, predictions[:, step], clock)
        axes.plot(*line, color=colour, linewidth=1, alpha=0.9, label=f"predicted {ahead}")


def _with_gaps(
    rows: Places, values: Array, clock: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A line over rows, or over their times by the clock, that breaks where rows are missing."""
    gaps = np.flatnonzero(np.diff(rows) > 1) + 1
    x = rows if clock is None else clock[rows]
    x = x if x.dtype.kind == "M" else x.astype(float)
    return np.insert(x, gaps, x[gaps]), np.insert(values.astype(float), gaps, np.nan)


def hidden_states(layer: str, over_time: Array, most: int = 6) -> Any:
    """The states of a recurrent layer after each timestep, one heat map for each of the first sequences."""
    shown = over_time[:most]  # (sequences, timesteps, units)
    drawn = figure(1.5 + 2.2 * len(shown), 3.5, f"Hidden states of {layer}")
    reach = float(np.abs(shown).max()) or 1.0
    panels = drawn.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for i, (axes, sequence) in enumerate(zip(panels, shown, strict=True)):
        image = heat(axes, sequence, reach, (4, 12))
        panel(axes, f"sequence {i}", "timestep", "" if i else "unit")
    scale(drawn, image, list(panels))
    return drawn
