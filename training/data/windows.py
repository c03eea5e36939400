"""Windows over rows: where each begins, which part it belongs to, and its target.

A window is two numbers; its rows are gathered from one array when they are needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.categories import Category
from training.data.growing import Growing, blocks, release, taken

SEQUENCE, FUTURE = "sequence", "future"  # the inputs of the features, and of those that are known ahead

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
NONE: Places = np.empty(0, np.int64)
GATHERED = 256  # windows whose pages are held at once


@dataclass(frozen=True)
class Ahead:
    """What is known of the rows behind a window: an input of its own, (windows, steps, features)."""

    features: tuple[int, ...]  # which of them
    steps: int


@dataclass(frozen=True)
class Timeline:
    """Whose each row is, and when: what rows of several series are put in order by."""

    clock: npt.NDArray[Any]  # (rows,): numbers or datetime64; where there are no times, steps before the series' end
    places: Places  # (rows,): steps since the series began; gaps count as many as they are long
    series: Ints  # (rows,): places in `names`
    names: tuple[str, ...] = ("",)
    timed: bool = True  # whether the clock is one of times, which all series share

    @staticmethod
    def of(times: npt.NDArray[Any] | None, series: Ints, names: tuple[str, ...], step: float = 0.0) -> "Timeline":
        """The timeline of rows that are in order of series and time.

        step: the usual distance of two times, in seconds where they are dates.
        """
        begins = np.searchsorted(series, np.arange(len(names) + 1, dtype=series.dtype))  # of each series
        clock, places, last = Growing(), Growing(), -1
        for block in blocks(len(series)):
            whose = series[block]
            if times is None:
                rows = np.arange(block.start, block.stop)
                places.append(rows - begins[whose])
                clock.append(rows - begins[whose + 1])
            else:
                before = max(0, block.start - 1)
                apart = np.diff(times[before : block.stop])
                apart = apart / np.timedelta64(1, "s") if apart.dtype.kind == "m" else apart.astype(np.float64)
                counted = np.maximum(1, np.rint(apart / (step or 1.0))).astype(np.int64)
                counted = np.concatenate([[0], counted]) if block.start == 0 else counted
                total = last + np.cumsum(counted)
                last = int(total[-1])
                places.append(total)
            release(times, series)
        found = places.array()
        if times is None:
            return Timeline(clock.array(), found, series, names, timed=False)
        first = found[np.minimum(begins, len(series) - 1)]
        for block in blocks(len(series)):
            found[block] -= first[series[block]]
        release(found, series)
        return Timeline(times, found, series, names)

    def keep(self, rows: npt.NDArray[np.bool_]) -> "Timeline":
        """Some rows only."""
        clock, places, series = (taken(array, rows) for array in (self.clock, self.places, self.series))
        return replace(self, clock=clock, places=places, series=series)

    def keys(self, rows: Places, span: int) -> Places:
        """A number for each of some rows, in order of series and time: the same for all rows that are kept of a table.

        span: steps of a series that are told apart; rows beyond have -1.
        """
        places = self.places[rows]
        return np.where(places < span, self.series[rows] * np.int64(span) + places, -1)

    def release(self) -> None:
        """Lets go of the memory of what lies in files."""
        release(self.clock, self.places, self.series)


@dataclass(frozen=True)
class Windows:
    """Windows of equal length with their targets."""

    values: Array  # (rows, features), shared by all parts
    targets: npt.NDArray[Any]  # (any,): float32 numbers, or int32 places of classes; of several targets (any, targets)
    starts: Places  # (windows,): first row of each
    target_starts: Places  # (windows,): place of its first target
    window: int  # timesteps
    outputs: int  # targets of each window, one after the other; 1 for classes
    lead: int = 0  # targets between the last known one and the first; 0: none is known
    segments: npt.NDArray[np.int32] | None = None  # (rows,): rows of one number follow each other without a gap
    categories: Mapping[str, Category] = field(default_factory=dict)  # of the rows, by the name of the input
    ahead: Ahead | None = None
    timeline: Timeline | None = None  # of the rows; None: the windows are sequences, whose targets are no rows

    def __len__(self) -> int:
        """How many windows."""
        return len(self.starts)

    def some(self, chosen: Any) -> "Windows":  # whatever indexes an array
        """A part of the windows."""
        return replace(self, starts=self.starts[chosen], target_starts=self.target_starts[chosen])

    def rows(self) -> npt.NDArray[np.bool_]:
        """Which rows the windows hold, without their targets."""
        covered = np.zeros(len(self.values), bool)
        for block in blocks(len(self)):
            starts = self.starts[block]
            begin, end = int(starts.min()), int(starts.max()) + self.window
            change = np.zeros(end - begin + 1, np.int32)
            np.add.at(change, starts - begin, 1)
            np.add.at(change, starts - begin + self.window, -1)
            covered[begin:end] |= np.cumsum(change[:-1]) > 0
        release(self.starts)
        return covered

    def seen(self) -> Iterator[Array]:
        """The rows that the windows hold, without their targets, piece by piece, (rows, features)."""
        covered = self.rows()
        for block in blocks(len(covered)):
            chosen = self.values[block][covered[block]]
            release(self.values)
            if len(chosen):
                yield chosen

    def wanted(self) -> Iterator[npt.NDArray[Any]]:
        """All targets, piece by piece, (windows, outputs)."""
        for block in blocks(len(self), self.outputs):
            yield self.some(block).expected()
            self.release()

    def release(self) -> None:
        """Lets go of the memory of what lies in files."""
        release(self.values, self.targets, self.starts, self.target_starts, self.segments)

    def thinned(self, most: int) -> "Windows":
        """So many windows at most, evenly spread, as arrays of their own."""
        chosen = np.arange(0, len(self), max(1, -(-len(self) // most)))
        return replace(self, starts=self.starts[chosen], target_starts=self.target_starts[chosen])

    def known(self) -> npt.NDArray[np.bool_]:
        """Which rows the windows hold, with their targets."""
        covered = self.rows()
        for block in blocks(len(self), self.outputs):
            covered[self.target_starts[block][:, None] + np.arange(self.outputs)] = True
        return covered

    def inputs(self) -> Array:
        """All inputs, (windows, timesteps, features)."""
        gathered: Array = self.values[self.starts[:, None] + np.arange(self.window)]
        return gathered

    def feeds(self) -> dict[str, npt.NDArray[Any]]:
        """What the inputs of a network get, by name: the features, texts (windows, timesteps), what is known ahead."""
        rows = self.starts[:, None] + np.arange(self.window)
        found = {SEQUENCE: self.values[rows], **{name: one.texts(rows) for name, one in self.categories.items()}}
        if self.ahead is not None:
            after = self.starts[:, None] + self.window + np.arange(self.ahead.steps)
            found[FUTURE] = self.values[after][..., self.ahead.features]
        return found

    def expected(self) -> npt.NDArray[Any]:
        """All targets, (windows, outputs); of several (windows, outputs, targets)."""
        gathered: npt.NDArray[Any] = self.targets[self.target_starts[:, None] + np.arange(self.outputs)]
        return gathered

    def gathered(self, places: Places) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any]]:
        """Inputs and targets of some windows, in any order. From files few are gathered at once: each costs pages."""
        feeds: dict[str, npt.NDArray[Any]] = {}
        y = np.empty((len(places), self.outputs, *self.targets.shape[1:]), self.targets.dtype)
        for begin in range(0, len(places), GATHERED):
            block = slice(begin, begin + GATHERED)
            some = self.some(places[block])
            y[block] = some.expected()
            for name, piece in some.feeds().items():
                if name not in feeds:
                    feeds[name] = np.empty((len(places), *piece.shape[1:]), piece.dtype)
                feeds[name][block] = piece
            self.release()
        return feeds, y

    @property
    def several(self) -> int:
        """How many targets there are, where there are several; else 0."""
        return self.targets.shape[1] if self.targets.ndim > 1 else 0

    def of_target(self, place: int) -> "Windows":
        """The windows with one of several targets."""
        return replace(self, targets=np.ascontiguousarray(self.targets[:, place]))

    def batches(self, size: int) -> Iterator["Windows"]:
        """The windows in batches, in order."""
        for at in range(0, len(self), size):
            yield self.some(slice(at, at + size))

    def reaching_back(self, window: int) -> tuple["Windows", Any]:
        """The same targets with windows of another length, and which of them have that many rows before them."""
        starts = self.starts + self.window - window
        fits = starts >= 0
        if self.segments is not None:
            fits[fits] = self.segments[starts[fits]] == self.segments[self.starts[fits]]
        elif window != self.window:
            fits[:] = False
        return replace(self, starts=starts, window=window).some(fits), fits

    def with_targets_of(self, other: "Windows", steps: int) -> tuple["Windows", npt.NDArray[np.bool_]]:
        """Those whose first `steps` targets are those of another's windows, and which of the other's these are.

        Both are windows of one table, in order, with timelines; each may have left out other rows.
        """
        ahead, both = np.arange(steps), np.zeros(len(other), bool)
        if not len(other) or self.timeline is None or other.timeline is None:
            return self.some(slice(0)), both
        rows = other.target_starts[:, None] + ahead
        span = int(other.timeline.places[rows].max()) + 1
        wanted = other.timeline.keys(rows, span)
        other.timeline.release()
        chosen = [NONE]
        for block in blocks(len(self), steps):
            keys = self.timeline.keys(self.target_starts[block][:, None] + ahead, span)
            at = np.minimum(np.searchsorted(wanted[:, 0], keys[:, 0]), len(wanted) - 1)
            same = (wanted[at] == keys).all(axis=1)
            both[at[same]] = True
            chosen.append(block.start + np.flatnonzero(same))
            self.timeline.release()
        return self.some(np.concatenate(chosen)), both


@dataclass(frozen=True)
class Parts:
    """Windows by what they are for. Everything that `train` holds is earlier than any target of the other two."""

    train: Windows
    validation: Windows
    test: Windows

    def named(self) -> dict[str, Windows]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def parts_by_share(timeline: Timeline, validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each row, 0, 1 or 2: by time where there is one."""
    if timeline.timed:
        return parts_by_time(timeline.clock, validation, test)
    return parts_by_place(timeline.series, validation, test)


def parts_by_time(clock: npt.NDArray[Any], validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each row, 0, 1 or 2: cut at two moments, so that equal times never part."""
    last = len(clock) - 1
    places = [min(last, round(len(clock) * share)) for share in (1 - validation - test, 1 - test)]
    cuts = np.partition(clock, places)[places]
    parts = np.empty(len(clock), np.int8)
    for block in blocks(len(clock)):
        parts[block] = (clock[block] >= cuts[0]).astype(np.int8) + (clock[block] >= cuts[1]).astype(np.int8)
    release(clock)
    return parts


def parts_by_place(segments_of: npt.NDArray[np.int32], validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each row where there is no time: each series is cut at the same shares of its rows.

    The rows of a series follow each other.
    """
    count = len(segments_of)
    first = np.flatnonzero(np.concatenate([[True], segments_of[1:] != segments_of[:-1]]))
    counts = np.diff(np.append(first, count))
    parts = np.empty(count, np.int8)
    for block in blocks(count):
        rows = np.arange(block.start, block.stop)
        whose = np.searchsorted(first, rows, "right") - 1
        place = (rows - first[whose]) / counts[whose]
        parts[block] = (place >= 1 - validation - test).astype(np.int8) + (place >= 1 - test).astype(np.int8)
    return parts


def slide(
    values: Array,
    targets: npt.NDArray[Any],
    segments: npt.NDArray[np.int32],
    parts: npt.NDArray[np.int8],
    usable: npt.NDArray[np.bool_],
    *,
    window: int,
    first: int,
    outputs: int,
    timeline: Timeline | None = None,
) -> Parts:
    """All windows whose rows and targets lie in one segment, by the part in which their targets lie.

    `first` is the distance from a window's last row to its first target. Windows whose targets lie in two parts, or
    hold one that is not `usable`, are left out. The inputs of a part may reach back into the part before it, as they
    do when a network serves; its targets do not, and nothing reaches ahead.
    """
    span = window + first + outputs - 1
    made = [(Growing(), Growing()) for _ in range(3)]
    for block in blocks(max(0, len(values) - max(span, window) + 1)):
        starts = np.arange(block.start, block.stop, dtype=np.int64)
        target_starts = starts + window - 1 + first
        ends = np.maximum(starts + window - 1, target_starts + outputs - 1)
        fits = segments[starts] == segments[ends]
        fits &= parts[target_starts] == parts[target_starts + outputs - 1]
        begin = int(target_starts[0])
        unusable = np.concatenate([[0], np.cumsum(~usable[begin : int(target_starts[-1]) + outputs])])
        fits &= unusable[target_starts - begin] == unusable[target_starts - begin + outputs]
        starts, target_starts = starts[fits], target_starts[fits]
        part = parts[target_starts]
        for number, (own, own_targets) in enumerate(made):
            own.append(starts[part == number])
            own_targets.append(target_starts[part == number])
        release(segments)
    everything = Windows(values, targets, NONE, NONE, window, outputs, max(first, 1), segments, timeline=timeline)
    return Parts(
        *(
            replace(everything, starts=own.array(), target_starts=own_targets.array()) if len(own) else everything
            for own, own_targets in made
        )
    )
