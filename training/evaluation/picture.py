"""The picture of a backtest: forecasts over what came, and errors by fold and by step of the horizon."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.drawing import ACCENT, GUIDE, INK, LINES, figure, legend_above, panel
from training.evaluation.backtested import Backtested, Errors
from training.evaluation.errors import NETWORK

BASELINES = 3  # that are drawn: the best ones; others would hide how these differ
MOST_NAMES = 12  # of series, in a row of bars


def draw(found: Backtested, title: str) -> Any:
    """A figure of a backtest."""
    layout = found.layout
    drawn = figure(9, 6.5, f"{title}: backtest of {', '.join(layout.predicted)}")
    grid = drawn.add_gridspec(2, 2, height_ratios=(1.2, 1))
    top = drawn.add_subplot(grid[0, :])
    if layout.classes:
        _probability(top, found)
    else:
        _over_time(top, found)
    shown = _best(found)
    left = drawn.add_subplot(grid[1, 0])
    _lines(left, found.by("fold"), shown, found.metric, "fold, by its origin")
    other = drawn.add_subplot(grid[1, 1])
    if found.expected.shape[1] > 1:
        _lines(other, found.by("step"), shown, found.metric, "step of the horizon")
    elif 1 < len(np.unique(found.series)) <= MOST_NAMES:
        _lines(other, found.by("series"), shown, found.metric, "series")
    else:
        _bars(other, found.errors(), shown, found.metric)
    drawn.legend(*left.get_legend_handles_labels(), fontsize=8, frameon=False, ncols=8, loc="outside lower center")
    return drawn


def _best(found: Backtested) -> list[str]:
    """Who is drawn: the network and the best baselines."""
    errors = found.errors()
    others = sorted((who for who in errors if who != NETWORK), key=lambda who: errors[who][found.metric])
    return [NETWORK, *others[:BASELINES]]


def _color(who: str, shown: list[str]) -> str:
    return ACCENT if who == NETWORK else (INK, *LINES[2:])[shown.index(who) - 1]


def _over_time(axes: Any, found: Backtested) -> None:
    """The values of the first series as they came, and every forecast that does not overlap the one before it."""
    whose = found.series == found.series[0]
    outputs = found.expected.shape[1]
    times, expected = found.times[whose], np.asarray(found.expected[whose], float)
    moments, first = np.unique(times.reshape(-1), return_index=True)
    axes.plot(moments, expected.reshape(-1)[first], color=INK, linewidth=1.2, label="actual")
    predicted, label = np.asarray(found.predicted[NETWORK][whose], float), "network"
    after = None
    for at, line, fold in zip(times, predicted, found.folds[whose], strict=True):
        if after is not None and after[1] == fold and at[0] <= after[0]:
            continue
        after = at[-1], fold
        axes.plot(at, line, color=ACCENT, linewidth=1.2, marker="o", markersize=2.5 if outputs > 1 else 3, label=label)
        label = ""
    for origin in found.origins:
        axes.axvline(origin, color=GUIDE, linewidth=0.8, zorder=0)
    name = found.labels[found.series[0]]
    panel(axes, f"Forecasts and what came{f', {name}' if name else ''}; a line at each origin")
    legend_above(axes)


def _probability(axes: Any, found: Backtested) -> None:
    """The probability that was given to the class that came, of each forecast of the first series."""
    whose = found.series == found.series[0]
    right = np.take_along_axis(np.asarray(found.predicted[NETWORK][whose]), found.expected[whose], axis=1)[:, 0]
    axes.plot(found.times[whose][:, 0], right, color=ACCENT, marker="o", markersize=3, linewidth=0)
    for origin in found.origins:
        axes.axvline(origin, color=GUIDE, linewidth=0.8, zorder=0)
    panel(axes, "Probability of the class that came; a line at each origin", "", "probability")
    axes.set_ylim(0, 1.02)


def _lines(axes: Any, by: Mapping[str, Errors], shown: list[str], metric: str, what: str) -> None:
    """The error of each forecast along folds, steps or series."""
    for who in shown:
        values = [found[who][metric] for found in by.values()]
        axes.plot(values, color=_color(who, shown), marker="o", markersize=3, linewidth=1.2, label=who)
    names = list(by)
    few = names[:: max(1, -(-len(names) // 6))]
    axes.set_xticks([names.index(name) for name in few], few)
    panel(axes, f"{metric} by {what}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _bars(axes: Any, errors: Errors, shown: list[str], metric: str) -> None:
    """The error of each forecast over all folds."""
    values = [errors[who][metric] for who in shown]
    drawn = axes.barh(range(len(shown)), values, color=[_color(who, shown) for who in shown], height=0.6)
    axes.bar_label(drawn, [f"{value:.4g}" for value in values], fontsize=8, padding=3)
    axes.set_yticks(range(len(shown)), shown)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    panel(axes, f"{metric} over all folds")
