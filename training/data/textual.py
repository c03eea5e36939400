"""Numbers that a table holds as text: with marks between thousands, or spoiled by a value that is no number."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from service.errors import InvalidArgumentError
from training.data.dialect import Dialect

if TYPE_CHECKING:
    import pyarrow as pa

NOTHING = ("", "nan", "NaN", "NA", "N/A", "null", "NULL")  # what Arrow reads as no value, or as no number
SPOILED = 0.05  # of a column: so many values that are no numbers are a mistake, not text
THOUSANDS, SPOILER = b"thousands", b"spoiler"  # what is noted of a column


def is_number(text: str) -> bool:
    """Whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def looked_at(field: "pa.Field", column: Any, how: Dialect) -> "pa.Field":
    """A column of text that holds numbers is one of numbers, or says which value spoils it."""
    import pyarrow as pa

    if not pa.types.is_string(field.type):
        return field
    texts = column.to_pylist()
    numbers = [text is None or text in NOTHING or is_number(text.replace(how.decimal, ".")) for text in texts]
    marked = [fine or bool(how.number().fullmatch(text)) for fine, text in zip(numbers, texts, strict=True)]
    if any(text not in NOTHING for text in texts if text is not None) and all(marked) and not all(numbers):
        return pa.field(field.name, pa.float64(), metadata={THOUSANDS: how.thousands})
    if marked.count(False) <= len(marked) * SPOILED:
        at = marked.index(False)
        return field.with_metadata({SPOILER: f"{texts[at][:40]!r} in line {at + 2}"})
    return field


def marked(found: "pa.Schema", name: str) -> bool:
    """Whether a column holds numbers with marks between thousands."""
    return THOUSANDS in (found.field(name).metadata or {})


def unmarked(batch: "pa.RecordBatch", marked: Collection[str], how: Dialect) -> "pa.RecordBatch":
    """Texts of numbers without the marks between thousands, and with a point.

    Raises InvalidArgumentError for other texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        made = column
        if name in marked:
            bare = pc.replace_substring_regex(column, f"[{how.thousands}]", "")
            made = pc.replace_substring(bare, how.decimal, ".")
            bad = next((text for text in made.to_pylist() if text is not None and not is_number(text)), None)
            if bad is not None:
                raise InvalidArgumentError(
                    f"data: column {name!r} mixes types: expected numbers, got {bad[:40]!r}", field="data"
                )
        columns.append(made)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def spoiler(found: "pa.Schema", name: str) -> str:
    """The value that makes a column of numbers one of text; empty: there is none, or not a single one."""
    return str((found.field(name).metadata or {}).get(SPOILER, b"").decode())
