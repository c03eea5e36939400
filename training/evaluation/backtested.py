"""The forecasts of a backtest beside what came, and their errors by fold, by step and by series.

Of several targets each is a series of its own. They have different units, so that only MASE and sMAPE are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.layout import Layout
from training.data.times import text
from training.data.windows import Windows
from training.evaluation.accuracy import Numbers, accuracy
from training.evaluation.baselines import Predicted, baseline_errors
from training.evaluation.errors import NETWORK, Figures, errors, metric, shortened

SCALE_FREE = ("mase", "smape")
BY = ("fold", "step", "series")

Errors = dict[str, Figures]  # by whose they are, and then by metric


@dataclass(frozen=True)
class FoldForecasts:
    """The forecasts of one target in one fold."""

    fold: int
    target: int  # place in the layout's
    windows: Windows
    predicted: Mapping[str, Predicted]  # by who predicts; of the network probabilities where there are classes
    scale: Numbers  # (windows,): of MASE


@dataclass(frozen=True)
class Backtested:
    """The forecasts of all folds, one after the other."""

    layout: Layout
    origins: tuple[Any, ...]  # of the folds
    folds: npt.NDArray[np.int64]  # (windows,): places in `origins`
    series: npt.NDArray[np.int64]  # (windows,): places in `labels`
    names: tuple[str, ...]  # of the series in the table
    cutoffs: npt.NDArray[Any]  # (windows,): the time of the last row that each forecast knows
    times: npt.NDArray[Any]  # (windows, outputs): of the targets
    expected: Predicted  # (windows, outputs)
    predicted: Mapping[str, Predicted]
    scale: Numbers  # (windows,)

    @staticmethod
    def of(layout: Layout, origins: Sequence[Any], made: Sequence[FoldForecasts]) -> "Backtested":
        """From the forecasts of each fold and target; `origins` are those of all folds."""
        folds, series, cutoffs, times = [], [], [], []
        names: tuple[str, ...] = ()
        for one in made:
            windows, timeline = one.windows, one.windows.timeline
            assert timeline is not None
            ends, names = windows.target_starts - windows.lead, timeline.names
            folds.append(np.full(len(windows), one.fold))
            series.append(timeline.series[ends].astype(np.int64) * len(layout.predicted) + one.target)
            cutoffs.append(timeline.clock[ends])
            times.append(timeline.clock[windows.target_starts[:, None] + np.arange(windows.outputs)])
        return Backtested(
            layout,
            tuple(origins),
            np.concatenate(folds),
            np.concatenate(series),
            names,
            np.concatenate(cutoffs),
            np.concatenate(times),
            np.concatenate([one.windows.expected() for one in made]),
            {who: np.concatenate([one.predicted[who] for one in made]) for who in made[0].predicted},
            np.concatenate([one.scale for one in made]),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the series; of several targets with theirs."""
        if not self.layout.targets:
            return self.names
        return tuple(f"{name} {target}".strip() for name in self.names for target in self.layout.targets)

    @property
    def metric(self) -> str:
        """The error that decides."""
        return "mase" if self.layout.targets else metric(self.layout)

    @property
    def better_baseline(self) -> str:
        """The best baseline over all folds, if it is better than the network; empty: none is."""
        found = {who: figures[self.metric] for who, figures in self.errors().items()}
        own = found.pop(NETWORK)
        best = min(found, key=lambda who: found[who], default="")
        return best if best and not own <= found[best] else ""

    def errors(self, chosen: Any = slice(None), step: int | None = None) -> Errors:
        """The errors of all, of some windows, or of one step of the horizon."""
        steps = slice(None) if step is None else slice(step, step + 1)
        expected, classes = self.expected[chosen][:, steps], len(self.layout.classes)
        found: Errors = {}
        for who, predicted in self.predicted.items():
            if not classes:
                figures = accuracy(predicted[chosen][:, steps], expected, self.scale[chosen])
                found[who] = {name: figures[name] for name in SCALE_FREE} if self.layout.targets else figures
            elif who == NETWORK:
                found[who] = errors(np.asarray(predicted[chosen], np.float32), expected, classes)
            else:
                found[who] = baseline_errors(predicted[chosen], expected, classes)
        return found

    def by(self, what: str) -> dict[str, Errors]:
        """The errors by fold (its origin), by step of the horizon (from 1), or by series (its name)."""
        if what == "step":
            return {str(step + 1): self.errors(step=step) for step in range(self.expected.shape[1])}
        places, names = (self.folds, self.origins) if what == "fold" else (self.series, self.labels)
        return {text(names[i]): self.errors(places == i) for i in np.unique(places)}

    def as_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the errors as one long table, for MLflow, whose columns have room for six digits."""
        metrics = list(self.errors()[NETWORK])
        rows = [["all", "", who, *shortened(f, metrics)] for who, f in self.errors().items()]
        for what in BY:
            if what != "series" or len(self.labels) > 1:
                rows += [
                    [what, which, who, *shortened(f, metrics)]
                    for which, found in self.by(what).items()
                    for who, f in found.items()
                ]
        return ["by", "which", "forecast", *metrics], rows

    def as_table(self) -> Any:
        """An Arrow table with a row for each forecast value: series, cutoff, time, step, actual, and who said what."""
        import pyarrow as pa

        layout, targets, (count, outputs) = self.layout, len(self.layout.predicted), self.expected.shape
        columns: dict[str, Any] = {}
        if layout.group:
            columns[layout.group] = [self.names[i // targets] for i in np.repeat(self.series, outputs)]
        if layout.targets:
            columns["target"] = [layout.targets[i % targets] for i in np.repeat(self.series, outputs)]
        columns["fold"] = np.repeat(self.folds + 1, outputs)
        columns["cutoff"] = np.repeat(self.cutoffs, outputs)
        columns[layout.time or "row"] = self.times.reshape(-1)
        columns["step"] = np.tile(np.arange(1, outputs + 1), count)
        if layout.classes:
            columns["step"] = np.full(count, max(layout.horizon, 1))

        def named(values: Predicted) -> Any:
            flat = values.reshape(-1)
            if layout.classes:
                return [layout.classes[int(i)] if i >= 0 else None for i in flat]
            return flat.astype(np.float32)  # as the table was read: doubles would spell out what rounding added

        columns["actual"] = named(self.expected)
        for who, predicted in self.predicted.items():
            best = layout.classes and who == NETWORK
            columns[who.replace(" ", "_")] = named(predicted.argmax(axis=1) if best else predicted)
        return pa.table(columns)
