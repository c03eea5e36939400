"""Labelled texts from a CSV or Parquet table with a text in each row.

Without a column of times, a digest of each text decides which part it belongs to. So the same text never lies in two
parts, and what was held out once is held out from a longer file, too.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data import files, sources
from training.data.layout import Layout
from training.data.strings import Strings
from training.data.times import times as times_of
from training.data.windows import Parts, parts_by_time
from training.options import Source

MOST_CLASSES = 1_000
LONGEST = {"word": 256, "char": 512}  # words or characters that are read of a text, unless more are asked for
MOST_READ = 4_096
USUAL = 95  # percent of the texts that are read to their end, unless they are longer than that


def read(
    opened: sources.Opened, source: Source, progress: sources.Progress, note: Callable[[str], None]
) -> tuple[Layout, Parts]:
    """Texts with their labels. Raises InvalidArgumentError, in one line that names the column; OSError."""
    if len(source.target) != 1:
        raise InvalidArgumentError("target: name the one column of the labels", field="target")
    (target,) = source.target
    if source.task == "regression":
        raise InvalidArgumentError("task: texts can only be classified", field="task")
    if source.missing not in ("error", "drop"):
        raise InvalidArgumentError(f"missing: for texts, error or drop; got {source.missing}", field="missing")
    texts, labels, classes, times = _columns(opened, source, progress)
    _check_classes(target, classes)
    there = np.array([text is not None for text in texts]) & (labels >= 0)
    if not there.all():
        missing = f"{np.count_nonzero(~there)} of {len(there)} rows have no text or no label"
        if source.missing == "error":
            raise InvalidArgumentError(f"missing: {missing}; choose --missing drop", field="missing")
        note(f"{missing}: left out")
        texts, labels = texts[there], labels[there]
        times = None if times is None else times[there]
    if not len(texts):
        raise InvalidArgumentError(f"data: {opened.name} has no rows with a text and a label", field="data")
    part = (
        parts_by_digest(texts, source.validation, source.test)
        if times is None
        else parts_by_time(times, source.validation, source.test)
    )
    window = _window(texts[part == 0], source, note)
    places = np.arange(len(texts))
    everything = Strings(texts[:, None], labels, places, places, 1, 1)
    parts = Parts(*(everything.some(part == number) for number in range(3)))
    known = np.unique(parts.train.expected())
    if len(known) == 1:
        raise InvalidArgumentError(
            f"target: column {target!r} is always {classes[int(known[0])]!r} in the part to train on",
            field="target",
        )
    layout = Layout(
        (),
        target,
        window,
        0,
        classes,
        source.time,
        missing=source.missing,
        text=source.text,
        unit=source.unit,
        format=source.format,
    )
    return layout, parts


def parts_by_digest(texts: npt.NDArray[Any], validation: float, test: float) -> npt.NDArray[np.int8]:
    """The part of each text, 0, 1 or 2, by a number from 0 to 1 that its digest gives."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    share = np.array([int.from_bytes(digest) / 2**64 for digest in digests])
    parts: npt.NDArray[np.int8] = (share >= 1 - validation - test).astype(np.int8) + (share >= 1 - test).astype(np.int8)
    return parts


def column_of(batch: Any, name: str) -> npt.NDArray[Any]:
    """A column of texts, (rows,), None where there is none."""
    texts = np.empty(batch.num_rows, object)
    texts[:] = batch.column(name).to_pylist()
    return texts


def columns(text: str, target: tuple[str, ...] = (), time: str = "") -> files.Columns:
    """The columns of a table of texts, as `files.batches` reads them."""
    return files.Columns((), target, time, group=text, labels=True)


def check(schema: Any, text: str, *, target: tuple[str, ...] = (), time: str = "") -> None:
    """Raises InvalidArgumentError for columns that are not there, and for texts that are no text."""
    from pyarrow import types

    if text not in schema.names:
        near = f"; there are: {files.listed(schema.names)}"
        raise InvalidArgumentError(f"text: there is no column {text!r}{near}", field="text")
    files.check(schema, time=time, group="", targets=target, features=())
    kind = schema.field(text).type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)):
        raise InvalidArgumentError(f"text: column {text!r} holds {kind}, not text", field="text")


def _columns(
    opened: sources.Opened, source: Source, progress: sources.Progress
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32], tuple[str, ...], npt.NDArray[Any] | None]:
    """Texts, places of their labels among the classes or -1, the classes, and times if there are any."""
    check(opened.schema, source.text, target=source.target, time=source.time)
    (target,) = source.target
    if source.text in (target, source.time):
        raise InvalidArgumentError(f"text: column {source.text!r} has another meaning, too", field="text")
    texts: list[npt.NDArray[Any]] = []
    labels: list[npt.NDArray[np.int32]] = []
    times: list[npt.NDArray[Any]] = []
    codes = files.Codes()
    wanted = replace(columns(source.text, source.target, source.time), time_format=source.time_format)
    for batch in files.batches(opened, wanted, progress):
        texts.append(column_of(batch, source.text))
        labels.append(codes.of(batch.column(target)))
        if source.time:
            before = sum(map(len, times))
            column = batch.column(source.time)
            times.append(times_of(column, source.time, before, opened.place, source.time_format))
    if not sum(map(len, texts)):
        raise InvalidArgumentError(f"data: {opened.name} has no rows", field="data")
    classes, places = codes.ordered(target)
    found = np.append(places, np.int32(-1))[np.concatenate(labels)]
    return np.concatenate(texts), found, classes, np.concatenate(times) if times else None


def _check_classes(target: str, classes: Sequence[str]) -> None:
    if len(classes) > MOST_CLASSES:
        raise InvalidArgumentError(
            f"target: column {target!r} has {len(classes)} different values, which are the classes; the limit is "
            f"{MOST_CLASSES}",
            field="target",
        )


def _window(texts: npt.NDArray[Any], source: Source, note: Callable[[str], None]) -> int:
    """How many words or characters of a text the network reads: as many as asked for, or as most texts have."""
    if source.window > MOST_READ:
        raise InvalidArgumentError(f"window: of a text at most {MOST_READ}, got {source.window}", field="window")
    if source.window or not len(texts):
        return source.window or 1
    lengths = [len(text.split()) if source.unit == "word" else len(text) for text in texts]
    usual = int(np.ceil(np.percentile(lengths, USUAL)))
    window = min(max(usual, 1), LONGEST[source.unit])
    what = "words" if source.unit == "word" else "characters"
    note(f"window: the first {window} {what} of each text; {USUAL} % of the texts have at most {usual}")
    return window
