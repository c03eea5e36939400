"""Figures of a run for the MLflow UI. Drawn without a display and without global state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from training.data.windows import Array

DIVERGING, INK, ACCENT = "RdBu_r", "#33415c", "#c44536"


def loss_curve(losses: Sequence[float], validation_losses: Sequence[float] = ()) -> Figure:
    """The loss of each epoch, on a logarithmic scale, with that on the validation part where there is one."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color=INK, label="training")
    if validation_losses:
        axes.plot(range(1, len(validation_losses) + 1), validation_losses, color=ACCENT, label="validation")
        axes.legend()
    axes.set(title="Loss", xlabel="epoch", ylabel="loss")
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    return figure


def weights_before_and_after(before: Mapping[str, Array], after: Mapping[str, Array]) -> Figure:
    """Each weight as a heat map, before and after training on one scale, with its values where there is room."""
    figure = Figure(figsize=(9, 1.0 + 2.0 * len(before)), layout="constrained")
    grid = figure.subplots(len(before), 2, squeeze=False)
    for (name, old), row in zip(before.items(), grid, strict=True):
        reach = float(max(np.abs(old).max(), np.abs(after[name]).max())) or 1.0
        for axes, values, when in ((row[0], old, "before"), (row[1], after[name], "after")):
            matrix = np.atleast_2d(values)
            image = axes.imshow(matrix, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto")
            axes.set_title(f"{name} {when}", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            if matrix.size <= 64:
                for (i, j), value in np.ndenumerate(matrix):
                    color = "white" if abs(value) > 0.6 * reach else "black"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
        figure.colorbar(image, ax=list(row), shrink=0.9)
    return figure


def predictions_against_targets(predictions: Array, targets: Array) -> Figure:
    """Each prediction over its target; on the line they are equal."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    x, y = np.ravel(targets), np.ravel(predictions)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.05 * (high - low) or 1.0
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
    many = len(x) > 200  # which would hide each other
    axes.scatter(x, y, color=ACCENT, s=3 if many else 36, alpha=0.3 if many else 1.0, linewidths=0)
    axes.set(title="Predictions against targets", xlabel="target", ylabel="prediction", xlim=ends, ylim=ends)
    axes.grid(alpha=0.3)
    return figure


def hidden_states(layer: str, over_time: Array, most: int = 6) -> Figure:
    """The states of a recurrent layer after each timestep, one heat map for each of the first sequences."""
    shown = over_time[:most]  # (sequences, timesteps, units)
    figure = Figure(figsize=(1.5 + 2.2 * len(shown), 3.5), layout="constrained")
    figure.suptitle(f"Hidden states of {layer}")
    reach = float(np.abs(shown).max()) or 1.0
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for i, (axes, sequence) in enumerate(zip(panels, shown, strict=True)):
        image = axes.imshow(sequence.T, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest")
        axes.set(title=f"sequence {i}", xlabel="timestep")
        axes.set_xticks(range(sequence.shape[0]) if sequence.shape[0] <= 12 else [])
    panels[0].set_ylabel("unit")
    figure.colorbar(image, ax=list(panels), shrink=0.9)
    return figure
