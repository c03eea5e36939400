"""Rows of one time in a series as one row, while a table is read batch by batch."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.data.files import Columns

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "row of the table"  # the name of a column for the time being


def merged(batches: Iterable["pa.RecordBatch"], columns: Columns, how: str) -> Iterator["pa.RecordBatch"]:
    """Batches in which each series has a time once, with the `mean` of its rows or the `last` of them.

    The rows of the last time of each series wait for the next batch, which may have more of them. Texts are those of
    the last row.
    """
    import pyarrow as pa

    held: pa.Table | None = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        table = table if held is None else pa.concat_tables([held, table])
        waits = _latest(table, columns)
        held = table.filter(pa.array(waits))
        yield from _grouped(table.filter(pa.array(~waits)), columns, how)
    if held is not None:
        yield from _grouped(held, columns, how)


def _latest(table: "pa.Table", columns: Columns) -> npt.NDArray[np.bool_]:
    """Which rows have the time that is the last one of their series."""
    times = _codes(table, columns.time)
    series = _codes(table, columns.group) if columns.group else np.zeros(len(times), np.int64)
    last = np.zeros(int(series.max(initial=0)) + 1, np.int64)
    last[series] = times  # of equal places the last one stays
    latest: npt.NDArray[np.bool_] = times == last[series]
    return latest


def _codes(table: "pa.Table", name: str) -> Any:
    """Equal values of a column as equal numbers."""
    column = table.column(name).combine_chunks()
    return column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _grouped(table: "pa.Table", columns: Columns, how: str) -> Iterator["pa.RecordBatch"]:
    """Rows of one time and series as one, in the order of the first of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = [name for name in (columns.group, columns.time) if name]
    others = [name for name in table.column_names if name not in keys]
    wanted = []
    for name in others:
        numbers = pa.types.is_floating(table.schema.field(name).type)
        if numbers:  # what is no number is no value
            column = table.column(name)
            known = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            table = table.set_column(table.column_names.index(name), name, known)
        if numbers and how == "mean":
            wanted.append((name, "mean", pc.ScalarAggregateOptions(skip_nulls=True)))
        else:
            wanted.append((name, "last", pc.ScalarAggregateOptions(skip_nulls=False)))
    names = table.column_names
    numbered = table.append_column(ROW, pa.array(np.arange(table.num_rows)))
    made = numbered.group_by(keys, use_threads=False).aggregate([*wanted, (ROW, "min", None)]).sort_by(f"{ROW}_min")
    made = made.select([*keys, *(f"{name}_{kind}" for name, kind, _ in wanted)]).rename_columns([*keys, *others])
    yield from made.select(names).combine_chunks().to_batches()
