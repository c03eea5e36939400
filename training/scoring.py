"""Scores a table of any length, or sequences, through a registered version, without TensorFlow."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from registry import tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.references import parse
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model import proof as proofs
from service.model.intervals import Intervals, intervals_of
from service.model.network import Network
from training.data import calendar, files, sequences, sources, texts
from training.data.categories import Category, input_name
from training.data.cleaning import forward_fill, is_uneven
from training.data.layout import Layout
from training.data.merging import merged
from training.data.output import predictions, writer
from training.data.times import times as times_of
from training.data.windows import Ahead, Array, Windows
from training.evaluation.errors import BATCH, predict
from training.options import Format
from training.text_scoring import TextStream

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[int, int, int], None]  # read, of so much, and how many rows are done


@dataclass(frozen=True)
class Model:
    """A registered network, with what its inputs and outputs mean."""

    network: Network
    data: Layout | None  # None: the version does not say
    name: str
    version: str
    intervals: Intervals | None = None

    @property
    def layout(self) -> Layout:
        """What inputs and outputs mean. Raises InvalidArgumentError where the version does not say."""
        if self.data is None or not self.data.has_columns:
            raise InvalidArgumentError(
                f"model: version {self.version} of {self.name} was not trained with unroll train --data, "
                "so nobody knows which columns it takes",
                field="model",
            )
        return self.data


@dataclass(frozen=True)
class Score:
    """What was scored."""

    rows: int
    predicted: int  # rows with a whole window behind them, and no missing value in it
    gaps: int = 0  # uneven steps that no window spans
    filled: int = 0  # missing values for which the value before stands, as in training


def load(reference: str, cache: Path) -> Model:
    """The version that a reference means, once its proof is replayed.

    Raises RegistryError, ModelError.
    """
    store = Store()
    version = store.resolve(parse(reference))
    path, _ = Cache(cache).fetch(store, version)
    network = keras_file.read(path / MODEL_FILE)
    if (path / PROOF_FILE).is_file():
        proofs.replay(network, proofs.load(path / PROOF_FILE))
    text = version.tags.get(tag.DATA)
    layout = Layout.loads(text) if text else None
    return Model(network, layout, version.name, version.number, intervals_of(path, network))


def score(model: Model, data: str | Path, out: Path, progress: Progress, how: Format | None = None) -> Score:
    """Writes one row for each row of a table, in its order: time, group, and what is predicted from the rows up to it.

    Of a table of texts: time, text, the most probable label, and its probability.

    Gaps and missing values are treated as training treated what it held out: no window spans a gap, unless gaps were
    kept, and a missing value becomes the one before it, where values were filled. Rows without a whole window behind
    them have no prediction. Of a network that takes what is known ahead, the whole table is read at once, and the last
    rows have none either. Rows of one time in a series become one row where `how` asks for it; the last one of each
    series then comes at the end. `out` appears whole or not at all.

    `how`: how the table is written; None: as the one that the version was trained on.

    Raises InvalidArgumentError for columns that are missing or of other types, for times that go back, and where no row
    has a prediction; OSError.
    """
    layout = model.layout
    if layout.next_character:
        raise InvalidArgumentError(
            f"model: version {model.version} of {model.name} predicts the next character of a text: unroll generate "
            "continues one",
            field="model",
        )
    how = how or layout.format
    opened = sources.open_table(data, how)
    stream: Stream | TextStream
    if layout.unit:
        texts.check(opened.schema, layout.text, time=layout.time)
        columns, stream = texts.columns(layout.text, time=layout.time), TextStream(model.network, layout)
    else:
        files.check(
            opened.schema, time=layout.time, group=layout.group, features=layout.columns, categorical=layout.categories
        )
        columns = files.Columns(
            layout.columns, (), layout.time, layout.group, time_format=how.time_format, categories=layout.categories
        )
        place = _merged_place if how.duplicates != "error" else opened.place
        stream = Stream(model.network, layout, how, place, calendar.local_zone(opened.schema, layout))
    rows = predicted = 0
    read = (0, 0)

    def reading(done: int, total: int) -> None:
        nonlocal read
        read = done, total

    with writer(out) as write:
        batches = files.batches(opened, columns, reading)
        if layout.time and how.duplicates != "error":
            batches = merged(batches, columns, how.duplicates)
        for batch in _whole(batches) if layout.future else batches:
            made, count = stream.predict(batch)
            write(made)
            rows, predicted = rows + batch.num_rows, predicted + count
            progress(*read, rows)
        if not rows:
            raise InvalidArgumentError(f"data: {opened.name} has no rows", field="data")
        if not predicted:
            raise InvalidArgumentError(
                f"data: none of the {rows} rows of {opened.name} can be predicted: {stream.why_nothing()}", field="data"
            )
    return Score(rows, predicted, stream.gaps, stream.filled)


def _merged_place(row: int) -> str:
    return f"in row {row + 1}, with the rows of one time counted once"


def _whole(batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """All batches as one."""
    import pyarrow as pa

    if found := list(batches):
        yield from pa.Table.from_batches(found).combine_chunks().to_batches()


@dataclass
class _Series:
    """The end of a series, as far as it is needed for what follows."""

    rows: Array  # since the last gap, no more than a window has; features, then the places of texts
    known: Array  # (1, features): the last values that were there since the last gap
    time: Any = None


@dataclass
class Stream:
    """Predicts batch after batch of a table; between batches it keeps the last rows of each series."""

    network: Network
    layout: Layout
    how: Format
    place: Callable[[int], str]  # where a row is in the table
    zone: str = ""  # of the times, for calendar features
    gaps: int = 0
    filled: int = 0
    _read: int = 0  # rows
    _series: dict[int, _Series] = field(default_factory=dict)
    _codes: files.Codes = field(default_factory=files.Codes)
    _texts: dict[str, files.Codes] = field(default_factory=lambda: defaultdict(files.Codes))

    def predict(self, batch: "pa.RecordBatch") -> tuple["pa.RecordBatch", int]:
        """Predictions for the rows of a batch, and how many there are."""
        layout, count = self.layout, batch.num_rows
        codes = self._codes.of(batch.column(layout.group)) if layout.group else np.zeros(count, np.int32)
        times = None
        if layout.time:
            column = batch.column(layout.time)
            times = times_of(column, layout.time, self._read, self.place, self.how.time_format)
        self._read += count
        rows = calendar.with_features(files.matrix(batch, layout.columns), times, layout.calendar, self.zone)
        places = [self._texts[name].of(batch.column(name)) for name in layout.categories]
        rows = np.column_stack([rows, *places]).astype(np.float32, copy=False)
        order = np.argsort(codes, kind="stable")
        firsts = np.flatnonzero(np.diff(codes[order], prepend=-2))
        pieces: list[Array] = []
        starts = np.full(count, -1, np.int64)  # of the window that ends with each row
        needed = layout.window + (layout.horizon if layout.future else 0)  # rows from there on
        at = 0
        for first, end in zip(firsts, [*firsts[1:], count], strict=True):
            chosen = order[first:end]
            series = self._series.setdefault(int(codes[chosen[0]]), self._begin())
            breaks = np.zeros(len(chosen), bool) if times is None else self._breaks(times[chosen], series)
            cuts = np.flatnonzero(breaks)
            for number, run in enumerate(np.split(chosen, cuts)):
                if number:  # each but the first begins after a gap
                    series.rows, series.known = rows[:0], self._begin().known
                piece = np.concatenate([series.rows, self._fill(rows[run], series)])
                begin = np.arange(len(series.rows), len(piece)) - layout.window + 1
                fits = (begin >= 0) & (begin + needed <= len(piece))
                starts[run] = np.where(fits, begin + at, -1)
                series.rows = piece[max(0, len(piece) - layout.window + 1) :].copy()
                pieces.append(piece)
                at += len(piece)
        values = np.concatenate(pieces) if pieces else rows
        whole = starts >= 0
        whole[whole] = self._complete(values, starts[whole])
        found = starts[whole]
        width = len(layout.features)
        categories = {
            input_name(name): Category.of(values[:, width + i].astype(np.int32), tuple(self._texts[name].places))
            for i, name in enumerate(layout.categories)
        }
        ahead = Ahead(layout.known_ahead, layout.horizon) if layout.future else None
        windows = Windows(
            values[:, :width], values[:, 0], found, found, layout.window, 1, categories=categories, ahead=ahead
        )
        predicted = predict(self.network, windows) if len(found) else None
        return self._batch(batch, predicted, whole), len(found)

    def why_nothing(self) -> str:
        """Why no row has a prediction."""
        needed = f"the network reads {self.layout.window} rows of a series without a gap or a missing value"
        if not self.gaps:
            return needed
        dates = any(np.asarray(series.time).dtype.kind == "M" for series in self._series.values())
        step = f"{self.layout.step:g}{' s' if dates else ''}"
        return f"{needed}, and {self.gaps} steps are gaps; expected steps of {step}, as in training"

    def _complete(self, values: Array, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which windows have no missing value, nor have what is known behind them."""
        layout = self.layout
        missing = np.isnan(values)
        gone = np.concatenate([[0], np.cumsum(missing.any(axis=1))])
        complete: npt.NDArray[np.bool_] = gone[starts] == gone[starts + layout.window]
        if layout.future:
            gone = np.concatenate([[0], np.cumsum(missing[:, layout.known_ahead].any(axis=1))])
            ends = starts + layout.window
            complete &= gone[ends] == gone[ends + layout.horizon]
        return complete

    def _begin(self) -> _Series:
        width = len(self.layout.features) + len(self.layout.categories)
        return _Series(np.empty((0, width), np.float32), np.full((1, width), np.nan, np.float32))

    def _breaks(self, times: Any, series: _Series) -> npt.NDArray[np.bool_]:
        """Before which rows a gap lies, as training found them. Raises InvalidArgumentError for times that go back."""
        known = times if series.time is None else np.concatenate([[series.time], times])
        self._check_order(known)
        series.time = times[-1]
        breaks = np.zeros(len(times), bool)
        if self.layout.step and self.layout.gaps in ("error", "split") and len(known) > 1:
            breaks[len(times) - len(known) + 1 :] = is_uneven(known, self.layout.step)
        self.gaps += int(np.count_nonzero(breaks))
        return breaks

    def _fill(self, rows: Array, series: _Series) -> Array:
        """Rows with the last value before for each missing one, where training filled them."""
        if self.layout.missing not in ("ffill", "interpolate"):
            return rows
        missing = int(np.count_nonzero(np.isnan(rows)))
        filled = np.concatenate([series.known, rows])
        for i in range(filled.shape[1]):
            forward_fill(filled[:, i], np.zeros(1, np.int64))
        series.known = filled[-1:]
        self.filled += missing - int(np.count_nonzero(np.isnan(filled[1:])))
        return filled[1:]

    def _check_order(self, known: Any) -> None:
        back = known[1:] <= known[:-1]
        if back.any():
            at = int(np.argmax(back))
            what = f"goes from {known[at]} to {known[at + 1]}; sort the file"
            if known[at] == known[at + 1]:
                what = f"has {known[at]} more than once in a series"
            raise InvalidArgumentError(f"time: column {self.layout.time!r} {what}", field="time")

    def _batch(self, batch: "pa.RecordBatch", predicted: Array | None, whole: Any) -> "pa.RecordBatch":
        import pyarrow as pa

        layout = self.layout
        columns = {name: batch.column(name) for name in (layout.time, layout.group) if name}

        (output,) = self.network.outputs
        columns |= predictions(predicted, whole, output.shape, layout.classes, layout.targets)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def score_arrays(model: Model, data: Path, out: Path, progress: Progress) -> Score:
    """Writes one row for each sequence of an `.npz` file, whose arrays have the names of the network's inputs.

    For a network with one input the array may be called `x`, as in training. `out` appears whole or not at all.

    Raises InvalidArgumentError for arrays that are not there or do not fit, OSError.
    """
    import pyarrow as pa

    arrays = sequences.arrays(data, model.network.inputs)
    count = len(next(iter(arrays.values())))
    layout, (output, *others) = model.data, model.network.outputs
    if others:
        raise InvalidArgumentError(f"model: the network gives {len(others) + 1} outputs; expected one", field="model")
    with writer(out) as write:
        for at in range(0, count, BATCH):
            batch = {name: array[at : at + BATCH] for name, array in arrays.items()}
            predicted = model.network.forward(batch).outputs[output.name]
            whole = np.ones(len(predicted), bool)
            columns = predictions(predicted, whole, output.shape, *((layout.classes, layout.targets) if layout else ()))
            write(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)))
            progress(at + len(predicted), count, at + len(predicted))
    return Score(count, count)
