"""What a network's inputs and outputs mean; kept with each version, so that others can feed and read it."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Layout:
    """What a network's inputs and outputs mean; kept with the version, so that others can feed and read it."""

    features: tuple[str, ...]
    target: str
    window: int
    horizon: int
    classes: tuple[str, ...] = ()
    time: str = ""
    group: str = ""

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> "Layout":
        """From JSON."""
        found = json.loads(text)
        return Layout(**{**found, "features": tuple(found["features"]), "classes": tuple(found["classes"])})
