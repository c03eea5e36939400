"""Windows over rows: where each begins, which part it belongs to, and its target.

A window is two numbers; its rows are gathered from one array when they are needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


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

    def __len__(self) -> int:
        """How many windows."""
        return len(self.starts)

    def some(self, chosen: Any) -> "Windows":  # whatever indexes an array
        """A part of the windows."""
        return replace(self, starts=self.starts[chosen], target_starts=self.target_starts[chosen])

    def rows(self) -> npt.NDArray[np.bool_]:
        """Which rows the windows hold, without their targets."""
        change = np.zeros(len(self.values) + 1, np.int32)
        np.add.at(change, self.starts, 1)
        np.add.at(change, self.starts + self.window, -1)
        covered: npt.NDArray[np.bool_] = np.cumsum(change[:-1]) > 0
        return covered

    def inputs(self) -> Array:
        """All inputs, (windows, timesteps, features)."""
        gathered: Array = self.values[self.starts[:, None] + np.arange(self.window)]
        return gathered

    def expected(self) -> npt.NDArray[Any]:
        """All targets, (windows, outputs); of several (windows, outputs, targets)."""
        gathered: npt.NDArray[Any] = self.targets[self.target_starts[:, None] + np.arange(self.outputs)]
        return gathered

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


@dataclass(frozen=True)
class Parts:
    """Windows by what they are for. Everything that `train` holds is earlier than any target of the other two."""

    train: Windows
    validation: Windows
    test: Windows

    def named(self) -> dict[str, Windows]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def parts_by_time(clock: npt.NDArray[Any], validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each row, 0, 1 or 2: cut at two moments, so that equal times never part."""
    ordered = np.sort(clock)
    last = len(ordered) - 1
    cuts = [ordered[min(last, round(len(ordered) * share))] for share in (1 - validation - test, 1 - test)]
    parts: npt.NDArray[np.int8] = (clock >= cuts[0]).astype(np.int8) + (clock >= cuts[1]).astype(np.int8)
    return parts


def parts_by_place(segments_of: npt.NDArray[np.int32], validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each row where there is no time: each series is cut at the same shares of its rows."""
    _, first, counts = np.unique(segments_of, return_index=True, return_counts=True)
    place = (np.arange(len(segments_of)) - np.repeat(first, counts)) / np.repeat(counts, counts)
    return (place >= 1 - validation - test).astype(np.int8) + (place >= 1 - test).astype(np.int8)


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
) -> Parts:
    """All windows whose rows and targets lie in one segment, by the part in which their targets lie.

    `first` is the distance from a window's last row to its first target. Windows whose targets lie in two parts, or
    hold one that is not `usable`, are left out. The inputs of a part may reach back into the part before it, as they
    do when a network serves; its targets do not, and nothing reaches ahead.
    """
    span = window + first + outputs - 1
    starts = np.arange(max(0, len(values) - max(span, window) + 1), dtype=np.int64)
    target_starts = starts + window - 1 + first
    ends = np.maximum(starts + window - 1, target_starts + outputs - 1)
    fits = segments[starts] == segments[ends]
    fits &= parts[target_starts] == parts[target_starts + outputs - 1]
    unusable = np.concatenate([[0], np.cumsum(~usable)])
    fits &= unusable[target_starts] == unusable[target_starts + outputs]
    starts = starts[fits]
    target_starts = target_starts[fits]
    part = parts[target_starts]
    everything = Windows(values, targets, starts, target_starts, window, outputs, max(first, 1), segments)
    return Parts(*(everything.some(part == number) for number in range(3)))
