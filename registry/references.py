"""References to registered models, in MLflow's own syntax: `models:/NAME/VERSION` and `models:/NAME@ALIAS`."""

import re
from dataclasses import dataclass

from registry.errors import InvalidReferenceError

LONGEST_SHOWN = 300  # characters of a text, in an error
# MLflow allows more in names. A name that is part of URLs, file names and log lines is kept to what is safe in all.
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_REFERENCE = re.compile(
    rf"models:/(?P<name>[A-Za-z0-9_.\- ]+)(/(?P<version>{_VERSION.pattern})|@(?P<alias>[A-Za-z0-9_-]{{1,255}}))"
)
# What MLflow also takes in place of a version. Neither says which version it will mean tomorrow.
_LATEST = re.compile(r"models:/(?P<name>[^/@]+)/latest")
_STAGE = re.compile(r"models:/(?P<name>[^/@]+)/(?P<stage>None|Staging|Production|Archived)", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """A model with either a version number or an alias."""

    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def parse(text: str) -> Reference:
    """The reference that a text is. Raises InvalidReferenceError, which names what to write instead."""
    match = _REFERENCE.fullmatch(text)
    if match is None or set(match["name"]) <= {".", " "}:
        raise InvalidReferenceError(f"{_shown(text)} is not a reference; {_instead(text)}")
    return Reference(match["name"], match["version"] or "", match["alias"] or "")


def is_number(text: str) -> bool:
    """Whether a text is a version number as MLflow writes it: digits, no leading zero, at most nine."""
    return _VERSION.fullmatch(text) is not None


def _instead(text: str) -> str:
    """What to write in place of a text that is no reference."""
    if match := _LATEST.fullmatch(text):
        return (
            f"`latest` is whatever was registered last, tested or not: give an alias, models:/{match['name']}@ALIAS, "
            f"or a version, models:/{match['name']}/VERSION"
        )
    if match := _STAGE.fullmatch(text):
        alias = match["stage"].lower()
        return (
            f"MLflow's stages are deprecated and not supported: set an alias on the version and write "
            f"models:/{match['name']}@{alias if alias != 'none' else 'ALIAS'}"
        )
    return "expected models:/NAME@ALIAS or models:/NAME/VERSION"


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")
