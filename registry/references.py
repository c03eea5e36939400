"""References to registered models, in MLflow's own syntax: `models:/NAME/VERSION` and `models:/NAME@ALIAS`."""

import re
from dataclasses import dataclass

from registry.errors import InvalidReferenceError

# MLflow allows more in names. A name that is part of URLs, file names and log lines is kept to what is safe in all.
_REFERENCE = re.compile(
    r"models:/(?P<name>[A-Za-z0-9_.\- ]+)(/(?P<version>[1-9][0-9]{0,8})|@(?P<alias>[A-Za-z0-9_-]{1,255}))"
)


@dataclass(frozen=True)
class Reference:
    """A model with either a version number or an alias."""

    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def parse(text: str) -> Reference:
    """The reference that a text is. Raises InvalidReferenceError."""
    match = _REFERENCE.fullmatch(text)
    if match is None or set(match["name"]) <= {".", " "}:
        raise InvalidReferenceError(f"{text!r} is no reference; expected models:/NAME@ALIAS or models:/NAME/VERSION")
    return Reference(match["name"], match["version"] or "", match["alias"] or "")
