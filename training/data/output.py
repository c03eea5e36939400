"""Tables of predictions that are written batch by batch, and appear whole or not at all."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pyarrow as pa


def predictions(
    predicted: Any, whole: Any, shape: Sequence[int | None], classes: Sequence[str] = (), targets: Sequence[str] = ()
) -> dict[str, Any]:
    """The columns of predictions: a class and its probability, or a number for each target and step.

    predicted: (predictions, …), or None for no predictions; `shape` is that of the network's output.
    whole: (rows,), which rows have a prediction; the others are null.
    """
    import numpy as np
    import pyarrow as pa

    def spread(values: Any) -> Any:
        filled = np.zeros(len(whole), np.float32 if values is None else values.dtype)
        if values is not None:
            filled[whole] = values
        return pa.array(filled, mask=~whole)

    if classes:
        places = spread(np.zeros(0, np.int32) if predicted is None else predicted.argmax(axis=1).astype(np.int32))
        names = pa.DictionaryArray.from_arrays(places, pa.array(classes)).cast(pa.string())
        return {"prediction": names, "probability": spread(None if predicted is None else predicted.max(axis=1))}
    found = None if predicted is None else predicted.reshape(len(predicted), -1, max(1, len(targets)))
    ahead = math.prod(size or 1 for size in shape[1:]) // max(1, len(targets)) if found is None else found.shape[1]
    columns = {}
    for place, target in enumerate(targets or [""]):
        base = f"prediction_{target}" if target else "prediction"
        for i in range(ahead):
            name = base if ahead == 1 else f"{base}_{i + 1}"
            columns[name] = spread(None if found is None else found[:, i, place])
    return columns


@contextmanager
def writer(out: Path) -> Iterator[Callable[["pa.RecordBatch"], None]]:
    """Writes batches to a CSV or Parquet file, which appears under its name when all are written."""
    from pyarrow import csv, parquet

    kinds: dict[str, Any] = {".csv": csv.CSVWriter, ".parquet": parquet.ParquetWriter}
    make = kinds.get(out.suffix.lower())
    if make is None:
        raise InvalidArgumentError(f"out: expected a name that ends in .csv or .parquet, got {out.name}", field="out")
    unfinished = out.with_name(out.name + ".part")
    writer: Any = None

    def write(batch: "pa.RecordBatch") -> None:
        nonlocal writer
        writer = writer or make(str(unfinished), batch.schema)
        writer.write_batch(batch)

    try:
        yield write
        if writer is not None:
            writer.close()
            unfinished.replace(out)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)


def write_table(table: Any, out: Path) -> None:
    """Writes an Arrow table to a CSV or Parquet file, which appears whole or not at all.

    In CSV a column of times has dates alone where all are at midnight, and no fractions of seconds where none has any.
    """
    with writer(out) as write:
        for batch in (_short_times(table) if out.suffix.lower() == ".csv" else table).to_batches():
            write(batch)


def _short_times(table: Any) -> Any:
    """A table whose times are in the shortest type that holds them; times of a zone keep it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, column in enumerate(table.columns):
        if not pa.types.is_timestamp(column.type):
            continue
        shorter = [pa.timestamp("s", column.type.tz)] if column.type.tz else [pa.date32(), pa.timestamp("s")]
        for kind in shorter:
            made = pc.cast(column, kind, safe=False)
            if pc.all(pc.equal(pc.cast(made, column.type), column)).as_py():
                table = table.set_column(place, table.schema.names[place], made)
                break
    return table
