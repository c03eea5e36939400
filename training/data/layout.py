"""The layout of a network's inputs and outputs, stored with each version so that others can feed and read it."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from training.options import Format

LISTS = ("features", "classes", "targets", "calendar", "categories", "future", "static")
FOUND = Format()


@dataclass(frozen=True)
class Layout:
    """What a network's inputs and outputs mean; kept with the version, so that others can feed and read it.

    A version that was not trained here may name its classes alone: then there are no features.
    """

    features: tuple[str, ...]
    target: str
    """The column that is predicted; of several the first; empty: the next character."""
    window: int
    horizon: int
    classes: tuple[str, ...] = ()
    time: str = ""
    group: str = ""
    missing: str = ""
    """What training did about missing values: error, drop, ffill or interpolate; empty: the version does not say."""
    gaps: str = ""
    """What training did about uneven times: error, split or keep; empty: the version does not say."""
    step: float = 0.0
    """The usual distance of two times, in seconds where they are dates; 0: there are no times."""
    ranges: tuple[tuple[float, float], ...] = ()
    """Smallest and largest value of each feature in the part to train on; none: the version does not say."""
    targets: tuple[str, ...] = ()
    """The columns that are predicted, in the order of the output's last axis, where there are several."""
    calendar: tuple[str, ...] = ()
    """What the last features were computed from the times of, two for each: month, dayofyear, day, weekday, hour."""
    zone: str = ""
    """The time zone in which they were; empty: the times had none."""
    categories: tuple[str, ...] = ()
    """Columns of text, each of which is an input of its own, (batch, timesteps)."""
    future: tuple[str, ...] = ()
    """Those of the features that are known ahead: the input `future`, (batch, horizon, columns)."""
    static: tuple[str, ...] = ()
    """Those of the features and categories that are constant in each series."""
    text: str = ""
    """Column of texts; empty: there is none."""
    unit: str = ""
    """What the texts that the network reads are made of: word or char; empty: it reads numbers."""
    ids: int = 0
    """Of sequences of ids, (batch, timesteps), how many ids there are, from 0 on; 0: the features are numbers."""
    format: Format = FOUND
    """How the table was written, as far as training was told: a table to score or forecast is read the same way."""

    @property
    def predicted(self) -> tuple[str, ...]:
        """Every column that is predicted."""
        return self.targets or (self.target,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that are columns of a table; the others are computed from the times."""
        return self.features[: len(self.features) - 2 * len(self.calendar)]

    @property
    def known_ahead(self) -> tuple[int, ...]:
        """The places of what is known ahead among the features."""
        return tuple(self.features.index(name) for name in self.future)

    @property
    def has_columns(self) -> bool:
        """Whether it says which columns of a table the network reads."""
        return bool(self.features or self.unit)

    @property
    def next_character(self) -> bool:
        """Whether the network predicts the character that follows."""
        return bool(self.unit) and not self.text

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def of(message: Any) -> "Layout":
        """From the message of a server, `unroll.v1.DataLayout`."""
        known = {field.name for field in fields(Layout)}
        found = {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields if field.name in known}
        found |= {name: tuple(found[name]) for name in LISTS}
        if message.HasField("format"):
            found["format"] = Format(**{field.name: getattr(message.format, field.name) for field in fields(Format)})
        return Layout(**found)

    @staticmethod
    def loads(text: str) -> "Layout":
        """From JSON; what later versions added is left out."""
        known = {field.name for field in fields(Layout)}
        found = {name: value for name, value in json.loads(text).items() if name in known}
        for name in LISTS:
            found[name] = tuple(found.get(name, ()))
        found["ranges"] = tuple(map(tuple, found.get("ranges", ())))
        given = found.get("format", {})
        found["format"] = Format(**{field.name: given[field.name] for field in fields(Format) if field.name in given})
        return Layout(**found)
