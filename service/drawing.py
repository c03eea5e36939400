"""The style of all plots, those of commands and those of training in MLflow. Figures need matplotlib."""

from typing import Any

import numpy as np

from service.errors import NotSupportedError

DIVERGING = "RdBu_r"  # red above zero, blue below
LINES = ("#33415c", "#c1440e", "#2a7f62", "#7a5195", "#b0882b")
INK, ACCENT = LINES[:2]
GUIDE = "0.75"  # of lines that are no data
MOST_NUMBERS = (16, 12)  # columns and rows of a heat map across a page in which numbers fit


def figure(width: float, height: float, title: str = "") -> Any:
    """An empty figure, in inches. Raises NotSupportedError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NotSupportedError("plots need matplotlib, which the extra `train` installs") from None
    drawn = Figure(figsize=(width, height), layout="constrained")
    if title:
        drawn.suptitle(title, fontsize=11, color=INK)
    return drawn


def panel(axes: Any, title: str, x: str = "", y: str = "") -> None:
    """Gives axes their title and labels, and takes away what frames them."""
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def legend_above(axes: Any) -> None:
    """Puts the legend beside the title, where no line runs through it."""
    axes.legend(fontsize=8, frameon=False, ncols=8, loc="lower right", bbox_to_anchor=(1, 1), columnspacing=1.4)


def whole_numbers(axis: Any) -> None:
    """Has an axis count: timesteps, units, features."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=9))


def short_dates(axis: Any) -> None:
    """Has an axis name dates by what tells them apart."""
    from matplotlib import dates

    untyped: Any = dates
    axis.set_major_locator(locator := untyped.AutoDateLocator())
    axis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    axis.get_offset_text().set_fontsize(8)


def heat(axes: Any, values: Any, reach: float = 0.0, most_numbers: tuple[int, int] = MOST_NUMBERS) -> Any:
    """Draws a matrix (along, across) from left to right on a scale around zero, with numbers where they fit.

    reach: the end of the scale; 0: the largest magnitude in the matrix. Gives the image.
    """
    values = np.asarray(values, float)
    reach = reach or float(np.abs(values).max(initial=0.0)) or 1.0
    image = axes.imshow(
        values.T, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest",
        extent=(-0.5, len(values) - 0.5, values.shape[1] - 0.5, -0.5),
    )  # fmt: skip
    axes.spines[:].set_visible(False)
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    if len(values) <= most_numbers[0] and values.shape[1] <= most_numbers[1]:
        for (i, j), value in np.ndenumerate(values):
            pale = abs(value) < 0.5 * reach
            axes.text(i, j, f"{value:.2g}", ha="center", va="center", fontsize=7, color=INK if pale else "white")
    return image


def scale(drawn: Any, image: Any, axes: Any) -> None:
    """Draws the scale of a heat map next to its axes, or next to several that share it."""
    bar = drawn.colorbar(image, ax=axes, shrink=0.9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def lines(axes: Any, values: Any, what: str = "") -> None:
    """Draws each column of (timesteps, columns) as a line with its points."""
    for i, line in enumerate(np.asarray(values, float).T[: len(LINES)]):
        axes.plot(line, color=LINES[i], marker="o", markersize=3, linewidth=1, label=f"{what} {i}")
    if what and values.shape[1] > 1:
        axes.legend(fontsize=8, frameon=False)
    axes.set_xlim(-0.5, len(values) - 0.5)
    whole_numbers(axes.xaxis)


def bars(axes: Any, values: Any) -> None:
    """Draws a vector as bars, red above zero, with numbers where they fit."""
    values = np.asarray(values, float)
    drawn = axes.bar(range(values.size), values, color=[ACCENT if value > 0 else INK for value in values], width=0.6)
    axes.axhline(0, color=GUIDE, linewidth=0.8)
    axes.set_xlim(-0.6, values.size - 0.4)
    if values.size <= MOST_NUMBERS[0]:
        axes.bar_label(drawn, [f"{value:.3g}" for value in values], fontsize=8, padding=2)
        axes.margins(y=0.25)
    whole_numbers(axes.xaxis)
