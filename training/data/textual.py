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


def is_number(text: str) -> bool:
    """Whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def looked_at(field: "pa.Field", column: Any, how: Dialect) -> "pa.Field":
    """A column of text that holds numbers is one of numbers, or says which value spoils it.

    It holds numbers if more than half of its values are some.
    """
    import pyarrow as pa

    if not pa.types.is_string(field.type):
        return field
    texts = column.to_pylist()
    filled = {line: text for line, text in enumerate(texts, 2) if text is not None and text not in NOTHING}
    reads = _reader(how)
    wrong = [line for line, text in filled.items() if not reads(text)]
    why = "" if how.given else _doubt(filled, wrong, how)
    if filled and not wrong and not why:
        return pa.field(field.name, pa.float64(), metadata={THOUSANDS: how.thousands})
    if wrong and not why and 2 * len(wrong) < len(filled):
        why = f"{_quoted(filled, wrong[0])}; leave missing values empty"
    return field.with_metadata({SPOILER: why}) if why else field


def _doubt(filled: Mapping[int, str], wrong: Sequence[int], how: Dialect) -> str:
    """Why nobody can say which mark is the decimal one in a column of numbers; empty: there is no doubt.

    filled: the values by their lines; wrong: the lines of those that are no numbers in this dialect.
    """
    reads, other = _reader(how.other), how.other.decimal
    theirs = [line for line in wrong if reads(filled[line])]
    if 2 * (len(filled) - len(wrong) + len(theirs)) <= len(filled):
        return ""
    ours = [line for line in sorted(filled.keys() - wrong) if how.decimal in filled[line]]
    marks = [line for line, text in filled.items() if other in text]
    pattern = re.compile(rf"[-+]?[1-9]\d{{0,2}}{re.escape(other)}\d{{3}}")  # thousands, or three decimals
    either = [line for line in marks if pattern.fullmatch(filled[line])]
    if theirs:
        doubtful = theirs
    elif either and len(either) == len(marks) and (ours or (how.delimiter != "," and not how.proven)):
        doubtful = either
    else:
        return ""
    listed = " and ".join(_quoted(filled, line) for line in sorted([*ours[:1], doubtful[0]]))
    return f"the decimal mark of {listed} is in doubt; write all numbers alike, or choose --decimal '.' or ','"


def _reader(how: Dialect) -> Callable[[str], bool]:
    """Says whether a text is a number in a dialect, with or without marks between thousands."""
    pattern, decimal, other = how.number(), how.decimal, how.other.decimal

    def reads(text: str) -> bool:
        plain = other not in text and is_number(text.replace(decimal, "."))
        return plain or bool(pattern.fullmatch(text))

    return reads


def _quoted(filled: Mapping[int, str], line: int) -> str:
    return f"{filled[line][:40]!r} in line {line}"


def marked(found: "pa.Schema", name: str) -> bool:
    """Whether a column holds numbers with marks between thousands."""
    return THOUSANDS in (found.field(name).metadata or {})


def unmarked(batch: "pa.RecordBatch", marked: Collection[str], how: Dialect) -> "pa.RecordBatch":
    """Texts of numbers without the marks between thousands, and with a point.

    Raises InvalidArgumentError for other texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reads, columns = _reader(how), []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        made = column
        if name in marked:
            bad = next((text for text in column.to_pylist() if text is not None and not reads(text)), None)
            if bad is not None:
                raise InvalidArgumentError(
                    f"data: column {name!r} mixes types: expected numbers, got {bad[:40]!r}", field="data"
                )
            bare = pc.replace_substring_regex(column, f"[{how.thousands}]", "")
            made = pc.replace_substring(bare, how.decimal, ".")
        columns.append(made)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def spoiler(found: "pa.Schema", name: str) -> str:
    """The value that makes a column of numbers one of text; empty: there is none, or not a single one."""
    return str((found.field(name).metadata or {}).get(SPOILER, b"").decode())
