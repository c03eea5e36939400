"""Numbers that a table holds as text: with marks between thousands, or spoiled by a value that is no number."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from service.errors import InvalidArgumentError
from training.data.dialect import Dialect

if TYPE_CHECKING:
    import pyarrow as pa

# What Arrow reads as no value, or as no number.
NOTHING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
    "NaN", "n/a", "nan", "null",
}  # fmt: skip
THOUSANDS, SPOILER = b"thousands", b"spoiler"  # what is noted of a column

Place = Callable[[int], str]  # where a row is in its file


def is_number(text: str) -> bool:
    """Whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def looked_at(field: "pa.Field", column: Any, how: Dialect, place: Place) -> "pa.Field":
    """A column of text that holds numbers is one of numbers, or says which value spoils it.

    It holds numbers if more than half of its values are some.
    """
    import pyarrow as pa

    if not pa.types.is_string(field.type):
        return field
    texts = column.to_pylist()
    filled = {row: text for row, text in enumerate(texts) if text is not None and text not in NOTHING}
    reads = _reader(how)
    wrong = [row for row, text in filled.items() if not reads(text)]
    why = "" if how.given else _doubt(filled, wrong, how, place)
    if filled and not wrong and not why:
        return pa.field(field.name, pa.float64(), metadata={THOUSANDS: how.thousands})
    if wrong and not why and 2 * len(wrong) < len(filled):
        why = f"{filled[wrong[0]][:40]!r} {place(wrong[0])}; leave missing values empty"
    return field.with_metadata({SPOILER: why}) if why else field


def _doubt(filled: Mapping[int, str], wrong: Sequence[int], how: Dialect, place: Place) -> str:
    """Why nobody can say which mark is the decimal one in a column of numbers; empty: there is no doubt.

    filled: the values by their rows; wrong: the rows of those that are no numbers in this dialect.
    """
    reads, other = _reader(how.other), how.other.decimal
    theirs = [row for row in wrong if reads(filled[row])]
    if 2 * (len(filled) - len(wrong) + len(theirs)) <= len(filled):
        return ""
    ours = [row for row in sorted(filled.keys() - wrong) if how.decimal in filled[row]]
    marks = [row for row, text in filled.items() if other in text]
    pattern = re.compile(rf"[-+]?[1-9]\d{{0,2}}{re.escape(other)}\d{{3}}")  # thousands, or three decimals
    either = [row for row in marks if pattern.fullmatch(filled[row])]
    if theirs:
        doubtful = theirs
    elif either and len(either) == len(marks) and (ours or (how.delimiter != "," and not how.proven)):
        doubtful = either
    else:
        return ""
    listed = " and ".join(f"{filled[row][:40]!r} {place(row)}" for row in sorted([*ours[:1], doubtful[0]]))
    return f"the decimal mark of {listed} is in doubt; write all numbers alike, or choose --decimal '.' or ','"


def _reader(how: Dialect) -> Callable[[str], bool]:
    """Says whether a text is a number in a dialect, with or without marks between thousands."""
    pattern, decimal, other = how.number(), how.decimal, how.other.decimal

    def reads(text: str) -> bool:
        plain = other not in text and is_number(text.replace(decimal, "."))
        return plain or bool(pattern.fullmatch(text))

    return reads


def marked(found: "pa.Schema", name: str) -> bool:
    """Whether a column holds numbers with marks between thousands."""
    return THOUSANDS in (found.field(name).metadata or {})


def unmarked(
    batch: "pa.RecordBatch", marked: Collection[str], how: Dialect, before: int, place: Place
) -> "pa.RecordBatch":
    """Texts of numbers without the marks between thousands, and with a point; `before` rows were read before these.

    Raises InvalidArgumentError for other texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reads, columns = _reader(how), []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        made = column
        if name in marked:
            for row, text in enumerate(column.to_pylist(), before):
                if text is not None and not reads(text):
                    raise InvalidArgumentError(
                        f"data: column {name!r} mixes types: expected numbers, got {text[:40]!r} {place(row)}",
                        field="data",
                    )
            bare = pc.replace_substring_regex(column, f"[{how.thousands}]", "")
            made = pc.replace_substring(bare, how.decimal, ".")
        columns.append(made)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def spoiler(found: "pa.Schema", name: str) -> str:
    """The value that makes a column of numbers one of text; empty: there is none, or not a single one."""
    return str((found.field(name).metadata or {}).get(SPOILER, b"").decode())
