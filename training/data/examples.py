"""Examples for training and evaluation, from a file or from the reference sequences."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.errors import InvalidArgumentError
from training.data import characters, files, sequences, sources, tables, texts
from training.data.layout import Layout
from training.data.reference import reference
from training.data.windows import Array, Parts, Windows
from training.options import Source

SAME = 1e-6  # a sine or cosine that varies by less does so by rounding alone


@dataclass(frozen=True)
class Examples:
    """What a network learns from and is measured on."""

    name: str
    layout: Layout
    parts: Parts
    data: str = ""  # the file, folder or URI; empty: the reference sequences
    digest: str = ""  # SHA-256 of the data
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


def load(
    source: Source,
    progress: sources.Progress,
    found: Callable[[str], None],
    cut: tables.Cut = tables.by_shares,
) -> Examples:
    """The examples of a source: of its data, or the reference sequences where it names none. `cut` is for tables.

    `found` hears at once what a reader should know, `progress` how far reading is.

    Raises InvalidArgumentError, in one line that names the column, for what cannot be learned from; OSError.
    """
    if not source.data:
        return Examples("reference", *reference())
    findings: list[str] = []

    def note(text: str) -> None:
        findings.append(text)
        found(text)

    table: sources.Opened | None = None
    if source.is_book:
        layout, parts = characters.read(Path(source.data), source, note)
    elif sources.suffix(source.data) == ".npz":
        for name in ("calendar", "categorical", "future", "static", "group_embedding"):
            if getattr(source, name):
                raise InvalidArgumentError(f"{name}: sequences in an .npz file have no columns", field=name)
        layout, parts = sequences.read(Path(source.data), source, note)
    else:
        table = sources.open_table(source.data, source)
        if source.text:
            layout, parts = texts.read(table, source, progress, note)
        else:
            layout, parts = tables.read(table, source, progress, note, cut)
            parts = tables.thinned(parts, source, note)
    for name, part in parts.named().items():
        if not len(part):
            raise InvalidArgumentError(_nothing_left(name, layout, part, source), field="window")
    if not layout.unit:
        layout = replace(layout, ranges=_ranges(table, layout, parts.train))
    digest = table.digest() if table else sources.digest(Path(source.data))
    return Examples(sources.stem(source.data), layout, parts, source.data, digest, tuple(findings))


def _nothing_left(name: str, layout: Layout, part: Windows, source: Source) -> str:
    """Why a part is empty."""
    shares = f"and the shares of validation and test are {source.validation:g} and {source.test:g}"
    if layout.text:
        return f"test: no text is left for {name}; there are {len(part.values)}, {shares}"
    windows = f"no window of {layout.window} timesteps with horizon {layout.horizon} is left for {name}"
    return f"window: {windows}; the data has {len(part.values)} timesteps, {shares}"


def _ranges(table: sources.Opened | None, layout: Layout, train: Windows) -> tuple[tuple[float, float], ...]:
    """The smallest and the largest value of each feature, in the shortest digits that single precision needs.

    Raises InvalidArgumentError for a feature or target that says nothing in the part to train on.
    """
    least, greatest = _ends(train.seen())
    for name, low, high in zip(layout.columns, least, greatest, strict=False):
        if low == high:
            raise InvalidArgumentError(
                f"features: column {name!r} {_sameness(table, name, float(low), '; leave it out')}", field="features"
            )
    for i, name in enumerate(layout.calendar):
        at = len(layout.columns) + 2 * i
        if (greatest - least)[at : at + 2].max() < SAME:
            raise InvalidArgumentError(
                f"calendar: {name} is the same at all times in the part to train on; leave it out", field="calendar"
            )
    for name, one in zip(layout.categories, train.categories.values(), strict=True):
        if len(found := one.places(train.rows())) == 1:
            option = "group_embedding" if name == layout.group else "categorical"
            raise InvalidArgumentError(
                f"{option}: column {name!r} is always {one.words[found[0]]!r} in the part to train on; leave it out",
                field=option,
            )
    if not layout.classes:
        ends = _ends(piece[:, 0].reshape(len(piece), -1) for piece in train.wanted())
        if same := [(name, low) for name, low, high in zip(layout.predicted, *ends, strict=True) if low == high]:
            name, low = same[0]
            raise InvalidArgumentError(f"target: column {name!r} {_sameness(table, name, float(low))}", field="target")
    return tuple((float(str(low)), float(str(high))) for low, high in zip(least, greatest, strict=True))


def _ends(pieces: Iterable[Array]) -> tuple[Array, Array]:
    """The smallest and the largest value of each column."""
    least, greatest = zip(*((piece.min(axis=0), piece.max(axis=0)) for piece in pieces), strict=True)
    return np.atleast_1d(np.min(least, axis=0)), np.atleast_1d(np.max(greatest, axis=0))  # ids are one column


def _sameness(table: sources.Opened | None, name: str, value: float, hint: str = "") -> str:
    """Why a column that has one value in single precision says nothing: it is constant, or differs by too little."""
    least, greatest = files.distinct(table, name, value) if table else (value, value)
    if least < greatest:
        return (
            f"has numbers from {least:.17g} to {greatest:.17g} in the part to train on, which are one and the same in "
            f"float32, in which networks compute: subtract {least:.17g} from them"
        )
    return f"is constant ({value:g}) in the part to train on{hint}"
