"""Tables that are written batch by batch, and appear whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pyarrow as pa


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
