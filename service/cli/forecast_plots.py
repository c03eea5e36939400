"""Pictures of forecasts: the last rows of each series, the forecast, and the bands of its prediction intervals."""

from typing import TYPE_CHECKING, Any

import numpy as np

from service.drawing import ACCENT, INK, figure, legend_above, panel, short_dates

if TYPE_CHECKING:
    from training.forecasting import Forecast, Forecasts

MOST_PANELS = 12  # that are drawn, of series and targets
BANDS = (0.32, 0.2, 0.12, 0.08)  # how dark the bands are, the narrowest first


def draw(found: "Forecasts", title: str) -> Any:
    """A figure with a panel for each series and target; classes are drawn as bars of their probabilities."""
    series = found.found[:MOST_PANELS]
    more = f", {len(series)} of {len(found.found)} series" if len(series) < len(found.found) else ""
    drawn = figure(8, 2.4 * len(series) + 0.8, f"{title}: forecast of {', '.join(found.layout.predicted)}{more}")
    for axes, one in zip(drawn.subplots(len(series), 1, squeeze=False)[:, 0], series, strict=True):
        name = ": ".join(filter(None, [one.group, one.target if found.layout.targets else ""]))
        panel(axes, name, "probability" if found.layout.classes else "")
        if found.layout.classes:
            _draw_classes(axes, one, found.layout.classes)
        else:
            _draw_values(axes, one, scaled=bool(found.adaptive) and one.group not in found.plain)
    return drawn


def _draw_values(axes: Any, one: "Forecast", *, scaled: bool) -> None:
    """The past as a line, the forecast as one that continues it, and the bands around it.

    `scaled`: the bands follow the recent error of the series, and the legend says so.
    """
    times, values = np.asarray(one.times), one.predicted
    if one.past is not None:
        past = np.asarray(one.past_times)
        axes.plot(past, one.past, color=INK, linewidth=1.2, label="past")
        if np.isfinite(one.past[-1]):  # so that the forecast is seen to continue it
            times, values = np.concatenate([past[-1:], times]), np.concatenate([one.past[-1:], values])
    joined = len(values) - len(one.predicted)  # 1 with the last known value, which is no forecast and has no dot
    for (level, (lower, upper)), dark in zip(sorted(one.intervals.items()), BANDS, strict=False):
        low, high = (np.concatenate([values[:joined], end]) for end in (lower, upper))
        label = f"{level:g} %, adaptive" if scaled else f"{level:g} %"
        axes.fill_between(times, low, high, color=ACCENT, alpha=dark, linewidth=0, label=label)
    dots = {"marker": "o", "markersize": 3, "markevery": slice(joined, None)}
    axes.plot(times, values, color=ACCENT, linewidth=1.2, label="forecast", **dots)
    if np.asarray(one.times).dtype.kind == "M":  # dates, of which long ones would overlap
        short_dates(axes.xaxis)
    legend_above(axes)
    axes.grid(alpha=0.3)


def _draw_classes(axes: Any, one: "Forecast", classes: tuple[str, ...]) -> None:
    bars = axes.barh(range(len(classes)), one.predicted, color=INK, height=0.6)
    axes.bar_label(bars, [f"{share:.2f}" for share in one.predicted], fontsize=8, padding=3)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlim(0, 1.1)
