"""Calendar features: where a time stands in the year, the month, the week or the day, as sine and cosine.

Training, `unroll score`, `unroll forecast` and clients compute them with this code, in NumPy alone. Of each position p,
a share of its period, there are two columns, sin 2πp and cos 2πp, so that the end of a period lies next to its
beginning.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError

Times = npt.NDArray[np.datetime64]
Positions = npt.NDArray[np.float64]


def _begin(times: Times, unit: str) -> Any:
    """The beginning of the period that each time lies in."""
    return times.astype(f"datetime64[{unit}]")


def _share(times: Times, unit: str, since: str) -> Positions:
    """Whole units since the beginning of the period, as a share of the units that this period has."""
    first = _begin(times, since)
    done = (_begin(times, unit) - first.astype(f"datetime64[{unit}]")).astype(np.float64)
    length = ((first + 1).astype(f"datetime64[{unit}]") - first.astype(f"datetime64[{unit}]")).astype(np.float64)
    share: Positions = done / length
    return share


def _weekday(times: Times) -> Positions:
    """Monday is 0; 1970-01-01 was a Thursday."""
    share: Positions = (_begin(times, "D").astype(np.int64) + 3) % 7 / 7
    return share


PERIODS: dict[str, Callable[[Times], Positions]] = {
    "month": lambda times: _share(times, "M", "Y"),
    "dayofyear": lambda times: _share(times, "D", "Y"),
    "day": lambda times: _share(times, "D", "M"),
    "weekday": _weekday,
    "hour": lambda times: _share(times, "s", "D"),  # minutes and seconds count too
}


def calendar_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of `calendar_features`, in their order."""
    return tuple(f"{name}_{function}" for name in names for function in ("sin", "cos"))


def calendar_features(times: npt.ArrayLike, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Sine and cosine of the positions of times, (times, 2 · names), in the order of `calendar_columns`.

    times: datetime64, or what NumPy makes it of, such as ISO texts; local times, without a zone.
    names: `month`, `dayofyear`, `day` (of the month), `weekday` and `hour` (the time of the day), as a version's data
    layout lists them.

    Raises InvalidArgumentError for other names.
    """
    check(names)
    moments = np.asarray(times, "datetime64[us]")
    made = np.empty((len(moments), 2 * len(names)), np.float32)
    for i, name in enumerate(names):
        angle = 2 * np.pi * PERIODS[name](moments)
        made[:, 2 * i], made[:, 2 * i + 1] = np.sin(angle), np.cos(angle)
    return made


def check(names: Sequence[str]) -> None:
    """Raises InvalidArgumentError for a name that is no calendar feature."""
    unknown = next((name for name in names if name not in PERIODS), None)
    if unknown is not None:
        raise InvalidArgumentError(f"calendar: expected {', '.join(PERIODS)}; got {unknown!r}", field="calendar")
