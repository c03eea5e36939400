"""What the registry says of a model, and of a version."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RegisteredModel:
    """A model and where its aliases point."""

    name: str
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class VersionInfo:
    """A registered version."""

    name: str
    number: str
    tags: Mapping[str, str]
    run_id: str
    created: float  # seconds since the epoch
