"""Plots of weights and states: image files, and heat maps in the terminal. Only image files need matplotlib."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.text import Text

from service.client import Trace
from service.drawing import INK, bars, figure, heat, lines, panel, scale

GATES = ("input_gate", "forget_gate", "output_gate", "update_gate", "reset_gate", "candidate")
MOST_COLUMNS = 60  # of a heat map in a terminal


def heat_map(array: Any, reach: float = 0.0) -> Text:
    """A matrix as coloured cells, a row a line: red above zero, blue below, relative to `reach`.

    reach: 0: the largest magnitude in the matrix.
    """
    matrix = _matrix(array)[:, :MOST_COLUMNS]
    reach = reach or float(np.abs(matrix).max(initial=0.0)) or 1.0
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
    drawn = figure(8, sum(rows) + 0.6, title)
    panels = drawn.subplots(len(weights), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    for axes, (name, value) in zip(panels, weights.items(), strict=True):
        scale(drawn, heat(axes, _matrix(value).T), axes)
        panel(axes, f"{name} {tuple(value.shape)}")
        axes.set_xticks([])
        axes.set_yticks([])
    drawn.savefig(path, dpi=120)


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
    values = output[sequence].astype(float)
    heights = [max(1.3, min(3.0, 0.25 * shown.shape[1] + 0.8)) for _, shown in panels]
    heights.append(0.5 if values.size == 1 else 1.8)
    drawn = figure(8, sum(heights) + 0.6, f"{trace.model} version {trace.version}, sequence {sequence}")
    grid = drawn.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (title, shown) in zip(grid, panels, strict=False):  # shown: (timesteps, units)
        scale(drawn, heat(axes, shown), axes)
        panel(axes, title, "timestep", "unit")
    draw_prediction(grid[-1], output_name, values)
    drawn.savefig(path, dpi=120)


def draw_prediction(axes: Any, name: str, values: Any) -> None:
    """An output of one sequence: one number as text, a vector as bars, a sequence as lines."""
    panel(axes, f"prediction: {name}")
    if values.size == 1:
        axes.axis("off")
        axes.text(0, 0.5, f"{values.item():.6g}", fontsize=14, color=INK, va="center", transform=axes.transAxes)
    elif values.ndim == 2:  # an output at every timestep
        lines(axes, values, "element")
        axes.set_xlabel("timestep", fontsize=9)
    else:
        bars(axes, np.ravel(values))
        axes.set_xlabel("element", fontsize=9)


def _matrix(array: Any) -> Any:
    """An array as rows and columns; of more axes, such as a convolution's, all but the last are rows."""
    matrix = np.atleast_2d(array)
    return matrix.reshape(-1, matrix.shape[-1])
