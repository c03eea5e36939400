"""AutoETS and AutoTheta of statsforecast, as baselines: a model of each series, fitted to its past alone.

They are the extra `baselines`. A model is fitted once and then carried forward over what was seen meanwhile, as
`refit=False` of statsforecast's own cross-validation does.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.windows import Windows

Numbers = npt.NDArray[np.float64]
NAMES = ("AutoETS", "AutoTheta")
MOST_SERIES = 1000  # for which models are fitted


class Statistical:
    """Both models for every series, fitted when they are first asked about it."""

    def __init__(self, season: int, note: Callable[[str], None] = lambda _: None) -> None:
        """`note` hears of series that a model cannot be fitted to."""
        self._season = season or 1
        self._note = note
        self._fitted: dict[tuple[str, int], Any] = {}

    def forecasts(self, windows: Windows, progress: Callable[[int, int], None]) -> dict[str, Numbers]:
        """What each model predicts for windows in order of time, (windows, outputs), by its name."""
        timeline = windows.timeline
        assert timeline is not None
        targets = np.asarray(windows.targets, np.float64)
        begins = np.searchsorted(timeline.series, np.arange(len(timeline.names)))
        made = {name: np.empty((len(windows), windows.outputs)) for name in NAMES}
        for i, start in enumerate(windows.target_starts):
            series = int(timeline.series[windows.starts[i]])
            past = _filled(targets[begins[series] : start - windows.lead + 1])
            for name in NAMES:
                steps = windows.lead + windows.outputs - 1
                made[name][i] = self._forecast(name, series, past, steps, timeline.names[series])[-windows.outputs :]
            progress(i + 1, len(windows))
        return made

    def _forecast(self, name: str, series: int, past: Numbers, steps: int, whose: str) -> Numbers:
        """The next values of a series. Where a model cannot be fitted, the last value."""
        from statsforecast import models

        key = name, series
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of seasons that are too long for ETS, and of its optimizer
                if key not in self._fitted:
                    self._fitted[key] = getattr(models, name)(season_length=self._season).fit(past)
                model = self._fitted[key]
                found = None if model is None else np.asarray(model.forward(y=past, h=steps)["mean"], np.float64)
        except Exception as error:  # whatever the models raise for series that are too short or do not change
            self._fitted[key] = found = None
            of = f" of {whose!r}" if whose else ""
            self._note(f"{name} cannot be fitted to the series{of}: {str(error).partition(chr(10))[0][:200]}")
        if found is None or not np.isfinite(found).all():
            return np.full(steps, past[-1] if len(past) else 0.0)
        return found


def _filled(values: Numbers) -> Numbers:
    """Without what is missing at the beginning; else the value before."""
    there = np.isfinite(values)
    last = np.maximum.accumulate(np.where(there, np.arange(len(values)), -1))
    return values[last[last >= 0]]
