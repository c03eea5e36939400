"""Plots of attributions and of memory. They need matplotlib."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from service.client import Attribution, Memory
from service.drawing import ACCENT, GUIDE, INK, bars, figure, heat, lines, panel, scale, whole_numbers

SMALLEST = 1e-6  # of what is left of a change, below which a picture does not go
OVER_TIME = ("gradient_input", "integrated_gradients", "occlude_timesteps")
WHAT = {"ablate_units": "unit", "occlude_features": "feature"}


def save_attribution(path: str, found: Attribution, inputs: Any, sequence: int, method: str) -> None:
    """A file with the input as lines over its scores by timestep; or scores by feature or unit as bars."""
    given = inputs if isinstance(inputs, dict) else dict.fromkeys(found.scores, inputs)
    panels: list[Callable[[Any, Any], None]] = []
    for name, scores in found.scores.items():
        one = scores[sequence]
        if method in OVER_TIME and np.ndim(given.get(name, ())) > 1:
            values = np.asarray(given[name][sequence], float)
            panels.append(partial(_draw_input, name, values.reshape(len(values), -1)))
        panels.append(partial(_draw_scores, name, one, WHAT.get(method, "timestep")))
    title = f"{found.model} version {found.version}, sequence {sequence}: {found.value[sequence]:.4g}"
    drawn = figure(8, 2.2 * len(panels) + 0.8, f"{title}, {method.replace('_', ' ')}")
    for axes, draw in zip(drawn.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        draw(drawn, axes)
    drawn.savefig(path, dpi=120)


def _draw_input(name: str, values: Any, _drawn: Any, axes: Any) -> None:
    panel(axes, f"input {name}")
    lines(axes, values, "feature")


def _draw_scores(name: str, scores: Any, what: str, drawn: Any, axes: Any) -> None:
    matrix = scores.reshape(len(scores), -1)
    if matrix.shape[1] > 1:
        scale(drawn, heat(axes, matrix), axes)
        panel(axes, f"scores of {name}", what, "feature")
    else:
        bars(axes, matrix[:, 0])
        panel(axes, f"scores of {name}: what raises the prediction is red", what)


def save_memory(path: str, found: Memory) -> None:
    """A file with what is left of a change, by how many timesteps ago it was made, one panel for each layer."""
    title = f"{found.model} version {found.version}: what the last state owes to the past"
    drawn = figure(8, 2.8 * len(found.layers) + 0.6, title)
    grid = drawn.subplots(len(found.layers), 1, squeeze=False)[:, 0]
    for axes, (name, layer) in zip(grid, found.layers.items(), strict=True):
        felt = np.flatnonzero(layer.by_states[::-1] >= SMALLEST)
        shown = max(2, int(felt[-1]) + 2 if len(felt) else 2)
        for values, label, colour in (
            (layer.by_states, "by earlier states", INK),
            (layer.by_inputs, "by inputs", ACCENT),
        ):
            axes.semilogy(np.maximum(values[::-1], SMALLEST / 1e3), color=colour, label=label, linewidth=1.2)
        for share in (0.5, 0.1, 0.01):
            axes.axhline(share, color=GUIDE, linewidth=0.8, linestyle="--")
            axes.annotate(f" {share:.0%}", (1, share), xycoords=("axes fraction", "data"), fontsize=7, color="0.4")
        panel(axes, f"{name} ({layer.class_name})", "timesteps back", "largest singular value")
        axes.set_xlim(0, min(shown, len(layer.by_states)) - 1 or 1)
        axes.set_ylim(bottom=SMALLEST)
        whole_numbers(axes.xaxis)
        axes.legend(fontsize=8, frameon=False)
    drawn.savefig(path, dpi=120)
