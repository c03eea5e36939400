"""Rolling origins: the folds of a backtest, and the cut of a table before the origin of each.

The words are those of Darts (`historical_forecasts`), NeuralForecast (`cross_validation`) and sktime
(`ExpandingWindowSplitter`): a fold begins at its origin, before which all is known and after which nothing is; origins
are a stride apart, and the training part grows from fold to fold. A fold is as long as a stride, and holds every
forecast whose targets lie in it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data.windows import Timeline, Windows, parts_by_share, parts_by_time
from training.options import Source

MOST_FOLDS = 200
LATER = 3  # the part of rows that no fold holds


def check_count(option: str, count: int) -> None:
    """Raises InvalidArgumentError for a number of folds that is out of range."""
    if not 1 <= count <= MOST_FOLDS:
        raise InvalidArgumentError(f"{option}: expected 1 to {MOST_FOLDS}, got {count}", field=option)


def stretches(windows: Windows, count: int) -> list[Windows]:
    """Windows in so many consecutive folds of equal length; those whose targets lie in two are left out.

    Raises InvalidArgumentError where a fold has none.
    """
    timeline = windows.timeline
    if timeline is None:
        parts = [windows.some(places) for places in np.array_split(np.arange(len(windows)), count)]
    else:
        first = timeline.clock[windows.target_starts]
        last = timeline.clock[windows.target_starts + windows.outputs - 1]
        moments = np.unique(np.concatenate([first, last]))
        fold = np.searchsorted(moments, first) * count // len(moments)
        chosen = fold == np.searchsorted(moments, last) * count // len(moments)
        parts = [windows.some(chosen & (fold == number)) for number in range(count)]
    if not all(map(len, parts)):
        raise InvalidArgumentError(
            f"gate_folds: the held-out part with its {len(windows)} windows is too short for {count} folds",
            field="gate_folds",
        )
    return parts


@dataclass(frozen=True)
class Folds:
    """Where folds lie on the clock of a table, oldest first."""

    origins: tuple[Any, ...]  # the first moment of each
    ends: tuple[Any, ...]  # the first moment after each; None: all that is left
    cut: Any  # the first moment that no fold holds; None: there is none
    stride: int  # steps
    shift: npt.NDArray[np.int64] | None = None  # (series,): of clocks that are no times, so that all are cut at 0

    def __len__(self) -> int:
        """How many."""
        return len(self.origins)

    def clock(self, timeline: Timeline) -> npt.NDArray[Any]:
        """The clock on which the folds lie, (rows,)."""
        return timeline.clock if self.shift is None else timeline.clock + self.shift[timeline.series]

    def windows(self, fold: int, windows: Windows) -> Windows:
        """The forecasts of a fold: windows with all that they read before it or in it, and their targets in it."""
        timeline = windows.timeline
        assert timeline is not None
        first = windows.target_starts - max(windows.lead, 1) + 1  # the step after the last one that is known
        last = windows.target_starts + windows.outputs - 1
        clock = self.clock(timeline)
        chosen = clock[first] >= self.origins[fold]
        if (end := self.ends[fold]) is not None:
            chosen &= clock[last] < end
        return windows.some(chosen)


@dataclass
class RollingOrigin:
    """Splits tables: the last `count` strides before the held-out part are the folds.

    Its methods are cuts (`training.data.tables.Cut`), called with the rows of a table while it is read; after the first
    call `folds` is known.
    """

    count: int
    stride: int  # steps; 0: such that all folds together are as long as the held-out part
    reach: int  # steps that a forecast reaches, from its origin to its last target
    folds: Folds | None = None

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for numbers out of range."""
        check_count("folds", self.count)
        if self.stride < 0:
            raise InvalidArgumentError(f"stride: expected 0 or more, got {self.stride}", field="stride")

    def before(self, fold: int) -> "_Before":
        """The cut at the origin of a fold: what lies before it is trained on, but for the last part of it."""
        return _Before(self, fold)

    def place(self, timeline: Timeline, source: Source) -> Folds:
        """Where the folds lie. Raises InvalidArgumentError where there are too few steps before the held-out part."""
        held = parts_by_share(timeline, source.validation, source.test) == 2
        if not source.test:
            held[:] = False
        # Where there are no times, a clock counts back from the cut of each series.
        shift = None if timeline.timed else np.bincount(timeline.series[held], minlength=len(timeline.names))
        clock = timeline.clock if shift is None else timeline.clock + shift[timeline.series]
        moments = np.unique(clock[~held])
        stride = self.stride or max(self.reach, len(np.unique(clock[held])) // self.count)
        length = max(stride, self.reach)
        needed = (self.count - 1) * stride + length
        if needed >= len(moments):
            raise InvalidArgumentError(
                f"folds: {self.count} folds with a stride of {stride} take {needed} steps; before the held-out part "
                f"there are {len(moments)}",
                field="folds",
            )
        places = [len(moments) - needed + i * stride for i in range(self.count)]
        cut = clock[held].min() if held.any() else None
        ends = tuple(moments[place + length] if place + length < len(moments) else cut for place in places)
        return Folds(tuple(moments[places]), ends, cut, stride, shift)


@dataclass(frozen=True)
class _Before:
    """The parts of a table, seen from the origin of a fold."""

    rolling: RollingOrigin
    fold: int

    def __call__(self, timeline: Timeline, source: Source) -> npt.NDArray[np.int8]:
        """0 and 1 before the origin, 2 in this fold and those after it, and LATER in the part that is held out."""
        folds = self.rolling.folds = self.rolling.place(timeline, source)
        clock = folds.clock(timeline)
        past = clock < folds.origins[self.fold]
        parts = np.full(len(clock), 2, np.int8)
        parts[past] = np.minimum(parts_by_time(clock[past], source.validation, 0), 1)
        if folds.cut is not None:
            parts[clock >= folds.cut] = LATER
        return parts
