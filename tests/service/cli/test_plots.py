"""service.cli.plots: pictures of whatever weights and outputs a network has."""

from pathlib import Path

import numpy as np
import pytest

from service.cli.common import check_picture
from service.cli.forecast_plots import draw
from service.cli.plots import heat_map, save_trace, save_weights
from service.client import LayerTrace, Trace
from service.drawing import figure, legend_above, panel
from service.errors import InvalidArgumentError
from tests.training.commands import run
from training.data.layout import Layout
from training.forecasting import Forecast, Forecasts


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (3, 2, 4), (0, 4)])
def test_heat_map(shape):
    """A weight of any number of axes is drawn as rows of its last one."""
    array = np.random.default_rng(0).normal(size=shape)
    width = shape[-1] if shape else 1
    lines = heat_map(array).plain.splitlines()
    assert lines == ["  " * width] * (array.size // width)


def test_pictures_are_written(tmp_path):
    """A file is written for the kernel of a convolution, and for a network whose output is truth values."""
    save_weights(str(tmp_path / "weights.png"), "conv", {"conv/kernel": np.ones((3, 2, 4), np.float32)})
    layer = LayerTrace("GRU", {"hidden_state": np.ones((1, 5, 2), np.float32)})
    trace = Trace("m", "1", {"gru": layer}, {"above": np.array([[True, False]])}, what_if=False)
    save_trace(str(tmp_path / "trace.png"), trace, 0)
    for name in ("weights", "trace"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(1,), (5,), (40,), (5, 2), (5, 1)])
def test_predictions_are_drawn_by_what_they_are(tmp_path, shape):
    """One number as text, a vector as bars, a sequence as lines: each gives a picture."""
    layer = LayerTrace("GRU", {"hidden_state": np.random.default_rng(0).normal(size=(1, 5, 4))})
    trace = Trace("m", "1", {"gru": layer}, {"y": np.ones((1, *shape))}, what_if=False)
    save_trace(str(tmp_path / "trace.png"), trace, 0)
    assert (tmp_path / "trace.png").stat().st_size > 5_000


@pytest.mark.parametrize("levels", [(), (50, 80, 90, 95)])
def test_no_line_runs_through_a_legend_above(levels):
    """A legend above lies over the axes, beside their title and within the picture, whatever is drawn in them."""
    drawn = figure(8, 3, "title")
    axes = drawn.add_subplot()
    panel(axes, "a series")
    for label in ("past", *(f"{level} %, adaptive" for level in levels), "forecast"):
        axes.plot([0, 1], label=label)
    legend_above(axes)
    drawn.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    (title,) = (text for text in axes.get_children() if getattr(text, "get_text", str)() == "a series")
    assert legend.y0 >= axes.get_window_extent().y1 - 1
    assert legend.x0 > title.get_window_extent().x1
    assert legend.x1 <= drawn.bbox.x1


def test_only_forecasts_have_dots():
    """The line of a forecast begins at the last known value, which has no dot and no width of its band."""
    one = Forecast(
        group="", target="y", times=np.array([3.0, 4.0]), predicted=np.array([5.0, 6.0]),
        intervals={80.0: (np.array([4.0, 5.0]), np.array([6.0, 7.0]))},
        past_times=np.array([0.0, 1.0, 2.0]), past=np.array([2.0, 3.0, 4.0]),
    )  # fmt: skip
    layout = Layout(features=("y",), target="y", window=3, horizon=2)
    (axes,) = draw(Forecasts(layout, (one,)), "title").axes
    past, line = axes.lines
    assert past.get_xdata().tolist() == [0, 1, 2]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([2, 3, 4], [4, 5, 6])
    assert line.get_xdata()[line.get_markevery()].tolist() == [3, 4]


@pytest.mark.parametrize("name", ["x.gif", "x", "png"])
def test_only_pictures_that_the_help_names(name):
    """A name of any other kind is refused; the kind may be in capitals."""
    for picture in ("a.png", "b.SVG", Path("c.pdf"), "", None):
        check_picture(picture)
    with pytest.raises(InvalidArgumentError, match=rf"^plot: expected a name that ends in .*, got {name}$"):
        check_picture(f"folder/{name}")


def test_a_picture_is_refused_before_anything_else():
    """Commands look at the name of a picture first, so that nothing is computed in vain."""
    with pytest.raises(InvalidArgumentError, match=r"got x\.gif$"):
        run("forecast", "--data", "none.csv", "--model", "models:/none@champion", "--plot", "x.gif")
    with pytest.raises(InvalidArgumentError, match=r"got x\.gif$"):
        run("backtest", "--data", "none.csv", "--plot", "x.gif")
    for words in (("weights", "show"), ("weights", "compare", "1", "2"), ("trace", "[[[1]]]"), ("explain", "[[[1]]]")):
        with pytest.raises(InvalidArgumentError, match=r"got x\.gif$"):
            run(*words, "--plot", "x.gif")
