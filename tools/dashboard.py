"""Draws the Grafana dashboard without Grafana: its panels, as its file lays them out, with what Prometheus answers.

python tools/dashboard.py http://127.0.0.1:9090 dashboard.png [minutes]
"""

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, MaxNLocator

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "deploy" / "observe" / "grafana" / "dashboards" / "unroll.json"
COLUMNS = 24  # of Grafana's grid
COLOURS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300")
INK, DIM, GROUND, CARD, LINE = "#d8d9da", "#9aa0a6", "#111217", "#181b1f", "#2c3235"
MOST_NAMED = 10  # lines of a panel in its legend, which Grafana would scroll
BASES = {"s": "s", "µs": "µs", "bytes": "B", "reqps": "req/s"}  # in which nothing is written
STEPS = 200  # points of a line


def ask(prometheus: str, path: str, **query: object) -> Any:
    """What Prometheus answers to a query. Raises OSError where it does not."""
    address = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310  # whoever runs it says which Prometheus
        return json.load(answer)["data"]["result"]


def legend(template: str, labels: dict[str, str]) -> str:
    """The name of a line, as Grafana makes it of its labels."""
    if template:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def number(value: float, unit: str) -> str:
    """A number in a unit, as Grafana writes it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    scales = {
        "s": [(1, "s"), (1e-3, "ms"), (1e-6, "µs")],
        "µs": [(1e6, "s"), (1e3, "ms"), (1, "µs")],
        "bytes": [(2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")],
        "reqps": [(1e3, "K req/s"), (1, "req/s")],
    }.get(unit, [(1e6, "Mil"), (1e3, "K"), (1, "")])
    if not value:
        return f"0 {BASES.get(unit, '')}".strip()
    factor, name = next(((f, n) for f, n in scales if abs(value) >= f * 0.9995), scales[-1])
    text = f"{value / factor:.4g}" if unit == "bytes" or value / factor >= 100 else f"{value / factor:.3g}"
    return f"{text} {name}".strip()


def draw_lines(axes: Any, panel: dict[str, Any], prometheus: str, start: float, end: float) -> None:
    """A panel of lines over time, with the last value of each in its legend."""
    defaults = panel["fieldConfig"]["defaults"]
    unit, top = defaults.get("unit", "short"), 0.0
    step, drawn = max(1.0, (end - start) / STEPS), 0
    for target in panel["targets"]:
        for series in ask(prometheus, "query_range", query=target["expr"], start=start, end=end, step=step):
            points = [(datetime.fromtimestamp(t), float(v)) for t, v in series["values"]]
            known = [value for _, value in points if math.isfinite(value)]
            top = max([top, *known])
            name = legend(target.get("legendFormat", ""), series["metric"])
            last = number(known[-1], unit) if known else "no number"
            colour = COLOURS[drawn % len(COLOURS)]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=f"{name}   {last}")
            drawn += 1
    axes.set_xlim(datetime.fromtimestamp(start), datetime.fromtimestamp(end))
    axes.set_ylim(defaults.get("min", 0), top * 1.08 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=not top))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, unit)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.grid(color=LINE, linewidth=0.6)
    if drawn:
        handles, names = axes.get_legend_handles_labels()
        look = {"frameon": False, "labelcolor": INK, "handlelength": 1.2, "labelspacing": 0.25, "fontsize": 6.5}
        place = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.13), "ncols": 2 if drawn > 4 else 1}
        axes.legend(handles[:MOST_NAMED], names[:MOST_NAMED], **place, **look)
    else:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=DIM)


def draw_table(axes: Any, panel: dict[str, Any], prometheus: str) -> None:
    """A panel that is a table of what holds now."""
    axes.axis("off")
    found = [one for target in panel["targets"] for one in ask(prometheus, "query", query=target["expr"])]
    rows = [{"Time": str(one["value"][0]), **one["metric"], "Value": one["value"][1]} for one in found]
    columns = list(rows[0]) if rows else []
    for organized in (one["options"] for one in panel.get("transformations", [])):
        columns = [name for name in columns if not organized["excludeByName"].get(name)]
        columns.sort(key=lambda name: organized["indexByName"].get(name, len(columns)))
    if not rows:
        return
    table = axes.table(
        [[row.get(name, "") for name in columns] for row in rows], colLabels=columns, loc="upper left", cellLoc="left"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, _), cell in table.get_celld().items():
        cell.set(facecolor=CARD, edgecolor=LINE)
        cell.get_text().set_color(DIM if row == 0 else INK)


def main(prometheus: str, out: str, minutes: str = "10") -> None:
    """Draws the whole dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    end = time.time()
    start = end - float(minutes) * 60
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(16, rows * 0.36), facecolor=GROUND)
    grid = GridSpec(rows, COLUMNS, figure, left=0.01, right=0.99, top=0.985, bottom=0.005, hspace=0, wspace=0)
    figure.text(0.012, 0.989, dashboard["title"], color=INK, fontsize=13, weight="bold")
    for panel in panels:
        place = panel["gridPos"]
        whole = figure.add_subplot(grid[place["y"] : place["y"] + place["h"], place["x"] : place["x"] + place["w"]])
        whole.axis("off")
        box = whole.get_position()
        if panel["type"] == "row":
            figure.text(box.x0 + 0.002, box.y0 + box.height / 3, panel["title"], color=INK, fontsize=11)
            continue
        figure.patches.append(_card(figure, box))
        figure.text(box.x0 + 0.008, box.y1 - 0.0085, panel["title"], color=INK, fontsize=9)
        inner = [box.x0 + 0.045, box.y0 + box.height * 0.36, box.width - 0.055, box.height * 0.5]
        if panel["type"] == "table":
            inner = [box.x0 + 0.01, box.y0 + 0.005, box.width - 0.02, box.height * 0.82]
        axes = figure.add_axes(inner, facecolor=CARD)
        axes.tick_params(colors=DIM, labelsize=7, length=0)
        axes.spines[:].set_visible(False)
        if panel["type"] == "table":
            draw_table(axes, panel, prometheus)
        else:
            draw_lines(axes, panel, prometheus, start, end)
    figure.savefig(out, dpi=90, facecolor=GROUND)


def _card(figure: Any, box: Any) -> Any:
    from matplotlib.patches import Rectangle

    gap = 0.003
    place, width, height = (box.x0 + gap, box.y0 + 0.0015), box.width - 2 * gap, box.height - 0.003
    look = {"facecolor": CARD, "edgecolor": LINE, "linewidth": 0.8}
    return Rectangle(place, width, height, transform=figure.transFigure, zorder=-1, **look)


if __name__ == "__main__":
    main(*sys.argv[1:])
