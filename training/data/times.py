"""The times of a table, as numbers or datetime64, and as text."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError


def times(column: Any, name: str, before: int, place: Callable[[int], str], written: str = "") -> npt.NDArray[Any]:
    """Times as numbers or datetime64; `before` rows were read before these.

    `place`: says where a row is, counted from 0.
    `written`: how texts are written, in the directives of strptime; empty: as people and ISO 8601 write them.
    """
    from pyarrow import types

    if column.null_count:
        at = before + column.is_null().to_pylist().index(True)
        raise InvalidArgumentError(f"time: column {name!r} has no value {place(at)}", field="time")
    if types.is_temporal(column.type) or types.is_integer(column.type) or types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    encoded = column.dictionary_encode()  # series that begin together have the same times
    places = encoded.indices.to_numpy(zero_copy_only=False)
    texts = [str(value) for value in encoded.dictionary.to_pylist()]
    made = np.empty(len(texts), "datetime64[us]")
    for i, text in enumerate(texts):
        time = _parsed(text, written) if written else _time(text)
        if time is None:
            at = before + int(np.argmax(places == i))
            expected = (
                f"the format {written}"
                if written
                else "numbers, or dates and times such as 2024-03-01, 2024-03, 2024Q1, 2024-03-01T12:30, or "
                "--time-format"
            )
            raise InvalidArgumentError(
                f"time: column {name!r} holds {text[:40]!r} {place(at)}; expected {expected}", field="time"
            )
        made[i] = time
    found: npt.NDArray[Any] = made[places]
    return found


def _parsed(text: str, written: str) -> "np.datetime64 | None":
    """A time that is written in a known way, in UTC where it names an offset; None for other texts."""
    try:
        return _utc(datetime.strptime(text, written))
    except ValueError:
        return None


def _time(text: str) -> "np.datetime64 | None":
    """A month, a quarter, or what ISO 8601 calls a date or time, by its beginning and in UTC; None for other texts."""
    if match := re.fullmatch(r"(\d{4})[- ]?[Qq]([1-4])", text):
        return np.datetime64(f"{match[1]}-{3 * int(match[2]) - 2:02d}", "us")
    if re.fullmatch(r"\d{4}-\d{2}", text):
        text += "-01"
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _utc(found: datetime) -> np.datetime64:
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(found, "us")


def text(moment: Any) -> str:
    """A time for people, without what is zero at its end: a date alone at midnight; any other value as it is."""
    if isinstance(moment, np.datetime64):
        return str(np.datetime_as_string(moment, unit="auto"))
    if isinstance(moment, float | np.floating):
        return np.format_float_positional(moment, trim="-")
    return str(moment)
