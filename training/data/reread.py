"""The held-out windows of a table, read once more as a version reads it that was trained on other columns."""

from dataclasses import replace

from training.data import sources, tables
from training.data.layout import Layout
from training.data.windows import Windows
from training.options import Source


def held_out(source: Source, layout: Layout) -> Windows:
    """The windows of another layout on the part that `source` holds out of its table, with the targets of `source`.

    Of a layout count the inputs, the window, the horizon, and what was done about gaps and missing values; all else is
    as for `source`, so that rows have the same parts and places.

    Raises InvalidArgumentError for columns that are not there or hold something else, OSError.
    """
    other = as_read_by(layout, source)
    _, parts = tables.read(sources.open_table(other.data, other), other, lambda *_: None, lambda _: None)
    return parts.test


def as_read_by(layout: Layout, source: Source) -> Source:
    """The options by which a table is read as a version of a layout serves it. Raises InvalidArgumentError.

    What stopped training with an error stops no service: no window spans a gap or a missing value.
    """
    return replace(
        source,
        features=layout.columns,
        categorical=tuple(name for name in layout.categories if name != source.group),
        group_embedding=int(source.group in layout.categories),
        future=layout.future,
        static=(),  # they are among the features and categories
        calendar=layout.calendar,
        window=layout.window,
        horizon=layout.horizon,
        missing=layout.missing if layout.missing in ("ffill", "interpolate") else "drop",
        gaps="split" if layout.gaps in ("error", "split") else "keep",
    )
