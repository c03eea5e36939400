"""Pictures of weights and states: files for people, and heat maps in the terminal. Needs matplotlib for files only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.text import Text

from service.client import Trace
from service.errors import NotSupportedError

DIVERGING = "RdBu_r"
GATES = ("input_gate", "forget_gate", "output_gate", "update_gate", "reset_gate", "candidate")
MOST_COLUMNS = 60  # of a heat map in a terminal


def heat_map(array: Any) -> Text:
    """A matrix as coloured cells, a row a line: red above zero, blue below, relative to the largest magnitude."""
    matrix = _matrix(array)[:, :MOST_COLUMNS]
    reach = float(np.abs(matrix).max(initial=0.0)) or 1.0
    text = Text()
    for row in matrix:
        for value in row / reach:
            faded = int(255 * (1 - abs(value)))
            red, green, blue = (255, faded, faded) if value > 0 else (faded, faded, 255)
            text.append("  ", style=f"on rgb({red},{green},{blue})")
        text.append("\n")
    return text


def save_weights(path: str, title: str, weights: Mapping[str, Any]) -> None:
    """A file with one heat map for each weight, each on a scale of its own around zero."""
    rows = [max(1.2, min(4.0, 0.25 * _matrix(value).shape[0] + 0.7)) for value in weights.values()]
    figure = _figure(8, sum(rows) + 0.6)
    figure.suptitle(title)
    panels = figure.subplots(len(weights), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    for axes, (name, value) in zip(panels, weights.items(), strict=True):
        reach = float(np.abs(value).max(initial=0.0)) or 1.0
        image = axes.imshow(_matrix(value), cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto")
        axes.set_title(f"{name} {tuple(value.shape)}", fontsize=9, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=120)


def save_trace(path: str, trace: Trace, sequence: int) -> None:
    """A file with the states of each recurrent layer over time, its gates beneath, and the prediction at the bottom."""
    panels = []
    for name, layer in trace.layers.items():
        for kind in ("hidden_state", "cell_state", *GATES):
            panels += [
                (f"{name} ({layer.class_name}): {tensor.replace('_', ' ')}", values[sequence])
                for tensor, values in layer.tensors.items()
                if tensor.rpartition("/")[2] == kind
            ]
    output_name, output = next(iter(trace.outputs.items()))
    figure = _figure(8, 1.6 * (len(panels) + 1) + 0.6)
    figure.suptitle(f"{trace.model} version {trace.version}, sequence {sequence}")
    grid = figure.subplots(len(panels) + 1, 1, squeeze=False)[:, 0]
    for axes, (title, values) in zip(grid, panels, strict=False):  # values: (timesteps, units)
        reach = float(np.abs(values).max(initial=0.0)) or 1.0
        image = axes.imshow(
            values.T, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest",
            extent=(-0.5, len(values) - 0.5, values.shape[1] - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title(title, fontsize=9, loc="left")
        axes.set(ylabel="unit", xlabel="timestep")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)
        figure.colorbar(image, ax=axes)
    values = output[sequence].astype(float)
    bottom = grid[-1]
    if values.ndim == 2:  # an output at every timestep
        bottom.plot(values, marker="o", markersize=3)
        bottom.set(xlabel="timestep")
    else:
        bottom.bar(range(values.size), np.ravel(values), color="#33415c")
        for i, value in enumerate(np.ravel(values)):
            bottom.annotate(f"{value:.4g}", (i, value), ha="center", va="bottom", fontsize=8)
        bottom.set_xticks(range(values.size))
        bottom.margins(y=0.25)
    bottom.set_title(f"prediction: {output_name}", fontsize=9, loc="left")
    figure.savefig(path, dpi=120)


def _matrix(array: Any) -> Any:
    """An array as rows and columns; of more axes, such as a convolution's, all but the last are rows."""
    matrix = np.atleast_2d(array)
    return matrix.reshape(-1, matrix.shape[-1])


def _figure(width: float, height: float) -> Any:
    """An empty figure. Raises NotSupportedError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NotSupportedError("pictures need matplotlib, which the extra `train` installs") from None
    return Figure(figsize=(width, height), layout="constrained")
