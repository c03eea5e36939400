"""The times that follow a series, in its own calendar: months, quarters, weeks, business days, local days, or numbers.

And what a network sees of the calendar. A series' calendar is the step of which the most neighbours are apart, so that
a holiday or a missing row does not hide it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.calendar_features import calendar_features
from service.errors import InvalidArgumentError
from training.data.growing import Growing, blocks, release
from training.data.layout import Layout

Array = npt.NDArray[np.float32]
LOOKED_AT = 1_000  # of the last times
DAY = 86_400.0  # seconds
AGREEING = 0.6  # share of neighbours that a calendar step must explain; a single gap in a short series is tolerated


def following(times: npt.NDArray[Any], count: int, zone: str = "") -> Any:
    """The `count` times after the last one.

    times: ascending, of one series, numbers or datetime64; the latter in UTC if there is a time `zone`.

    Gives numbers of the same type for numbers (floats if the step is not whole), else pandas' DatetimeIndex, in the
    zone if there is one. Raises ValueError for fewer than two times, which have no step.
    """
    times = times[-LOOKED_AT:]
    if len(times) < 2:
        raise ValueError("a single time has no step")
    if times.dtype.kind != "M":
        step = np.median(np.diff(times))
        if times.dtype.kind in "iu" and step == int(step):
            return times[-1] + int(step) * np.arange(1, count + 1)
        return times[-1] + step * np.arange(1.0, count + 1)
    import pandas as pd

    index = in_zone(times, zone)
    step = _step(index)
    # From the last time, not each from the one before: two months after 31 January is 31 March.
    return pd.DatetimeIndex([index[-1] + step * number for number in range(1, count + 1)])


def in_zone(times: npt.NDArray[Any], zone: str) -> Any:
    """Times in UTC as local times of a zone; others, and numbers, as they are."""
    if times.dtype.kind != "M":
        return times
    import pandas as pd

    index = pd.DatetimeIndex(times)
    return index.tz_localize("UTC").tz_convert(zone) if zone else index


def with_features(rows: Array, times: Any, names: Sequence[str], zone: str) -> Array:
    """Rows with calendar features of their times behind the others, (rows, features + 2 · names).

    times: datetime64, in UTC if there is a time `zone`; the features are those of local time.

    Raises InvalidArgumentError for times that are not dates.
    """
    if not names:
        return rows
    if times.dtype.kind != "M":
        raise InvalidArgumentError("calendar: the times are numbers; expected dates and times", field="calendar")
    made = Growing()
    for block in blocks(len(rows)):
        local = in_zone(times[block], zone).tz_localize(None).to_numpy() if zone else times[block]
        made.append(np.concatenate([rows[block], calendar_features(local, names)], axis=1))
        release(rows, times)
    return made.array() if len(made) else rows


def zone_of(schema: Any, time: str) -> str:
    """The time zone of a table's column of times; empty: it has none, or there is no such column."""
    return str(getattr(schema.field(time).type, "tz", "") or "") if time else ""


def local_zone(schema: Any, layout: Layout) -> str:
    """The zone in which calendar features of a table are computed: that of training, if the table's times have one."""
    zone = zone_of(schema, layout.time)
    return layout.zone or zone if zone else ""


def _step(index: Any) -> Any:
    """The step that explains the most neighbours; of equals the coarser one, which keeps dates and local times."""
    import pandas as pd

    usual = pd.Timedelta(np.median(np.diff(index.asi8)), unit=index.unit)
    days = usual.total_seconds() / DAY
    if days < 1:
        return usual
    whole = round(days)
    candidates: list[Any] = []
    if days > 27:  # of months or longer
        months = max(1, round(days / 30.44))
        ends = (index == index + pd.offsets.MonthEnd(0)).all()
        business = (index == index + pd.offsets.BMonthEnd(0)).all()
        if ends:
            candidates.append(pd.offsets.MonthEnd(months))
        elif business:
            candidates.append(pd.offsets.BMonthEnd(months))
        candidates.append(pd.DateOffset(months=months))
    if whole == 1 and not (index.day_of_week > 4).any() and (len(index) > 5 or index[-1].day_of_week == 4):
        candidates.append(pd.offsets.BusinessDay())
    candidates.append(pd.DateOffset(days=whole))
    best = max(candidates, key=lambda step: _explained(index, step))
    return best if _explained(index, best) >= AGREEING else usual


def _explained(index: Any, step: Any) -> float:
    """The share of neighbours that are exactly this step apart."""
    import warnings

    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # some steps are added one by one
        return float(np.mean((index[:-1] + step) == index[1:]))
