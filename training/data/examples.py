"""Examples for training and evaluation, from a file or from the reference sequences."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.errors import InvalidArgumentError
from training.data import files, sequences, tables
from training.data.layout import Layout
from training.data.reference import reference
from training.data.windows import Parts, Windows
from training.options import Source

SAME = 1e-6  # a sine or cosine that varies by less does so by rounding alone


@dataclass(frozen=True)
class Examples:
    """What a network learns from and is measured on."""

    name: str
    layout: Layout
    parts: Parts
    path: Path | None = None  # None: the reference sequences
    digest: str = ""  # SHA-256 of the file
    findings: tuple[str, ...] = ()  # what a reader of the file should know

    @property
    def held_out(self) -> bool:
        """Whether windows are set apart to stop the fit by and to measure it on; the reference has none."""
        return len(self.parts.test) > 0

    @property
    def shown(self) -> Windows:
        """Windows of which the first stand in the proof and the input example."""
        return self.parts.validation if self.held_out else self.parts.train

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs; none: the targets are numbers."""
        return self.layout.classes

    def of_target(self, place: int) -> "Examples":
        """The examples with one of several targets."""
        parts = Parts(*(part.of_target(place) for part in self.parts.named().values()))
        return replace(self, layout=replace(self.layout, target=self.layout.targets[place], targets=()), parts=parts)

    @property
    def timesteps(self) -> int:
        """Timesteps of all series."""
        return len(self.parts.train.values)


def load(source: Source, progress: files.Progress, found: Callable[[str], None]) -> Examples:
    """The examples of a source: a file, or the reference sequences where it names none.

    `found` hears at once what a reader should know, `progress` how far reading is.

    Raises InvalidArgumentError, in one line that names the column, for what cannot be learned from; OSError.
    """
    if not source.data:
        return Examples("reference", *reference())
    path = Path(source.data)
    findings: list[str] = []

    def note(text: str) -> None:
        findings.append(text)
        found(text)

    if not path.is_file():
        raise InvalidArgumentError(f"data: there is no file {source.data}", field="data")
    if path.suffix.lower() == ".npz":
        if source.calendar:
            raise InvalidArgumentError("calendar: sequences in an .npz file have no times", field="calendar")
        layout, parts = sequences.read(path, source, note)
    else:
        layout, parts = tables.read(path, source, progress, note)
    for name, part in parts.named().items():
        if not len(part):
            raise InvalidArgumentError(
                f"window: no window of {layout.window} timesteps with horizon {layout.horizon} is left for {name}; "
                f"the file has {len(part.values)} timesteps, and the shares of validation and test are "
                f"{source.validation:g} and {source.test:g}",
                field="window",
            )
    _check_varied(path, layout, parts.train)
    layout = replace(layout, ranges=_ranges(parts.train))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Examples(path.stem, layout, parts, path, digest, tuple(findings))


def _ranges(train: Windows) -> tuple[tuple[float, float], ...]:
    """The smallest and the largest value of each feature, in the shortest digits that single precision needs."""
    columns = train.values[train.rows()].T
    return tuple((float(str(column.min())), float(str(column.max()))) for column in columns)


def _check_varied(path: Path, layout: Layout, train: Windows) -> None:
    """Raises InvalidArgumentError for a feature or target that says nothing in the part to train on."""
    rows = train.rows()
    for i, name in enumerate(layout.columns):
        column = train.values[rows, i]
        if (column == column[0]).all():
            raise InvalidArgumentError(
                f"features: column {name!r} {_sameness(path, name, float(column[0]), '; leave it out')}",
                field="features",
            )
    for i, name in enumerate(layout.calendar):
        at = len(layout.columns) + 2 * i
        both = train.values[rows][:, at : at + 2]
        if np.ptp(both, axis=0).max() < SAME:
            raise InvalidArgumentError(
                f"calendar: {name} is the same at all times in the part to train on; leave it out", field="calendar"
            )
    if layout.classes:
        return
    targets = train.targets[train.target_starts].reshape(len(train), -1)
    for name, column in zip(layout.predicted, targets.T, strict=True):
        if (column == column[0]).all():
            raise InvalidArgumentError(
                f"target: column {name!r} {_sameness(path, name, float(column[0]))}", field="target"
            )


def _sameness(path: Path, name: str, value: float, hint: str = "") -> str:
    """Why a column that has one value in single precision says nothing: it is constant, or differs by too little."""
    least, greatest = (value, value) if path.suffix.lower() == ".npz" else files.distinct(path, name, value)
    if least < greatest:
        return (
            f"has numbers from {least:.17g} to {greatest:.17g} in the part to train on, which are one and the same in "
            f"float32, in which networks compute: subtract {least:.17g} from them"
        )
    return f"is constant ({value:g}) in the part to train on{hint}"
