"""What one server is to serve at a moment, as declared by the supervisor: immutable, replaced whole, plain JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class VersionEntry:
    """A registered version whose files lie in the cache."""

    number: str
    digest: str  # SHA-256 of the model file, hexadecimal; names the folder in the cache
    directory: str
    origin: str = "other"  # the `unroll.kind` tag: trained, override, registered; other where there is none
    base_version: str = ""
    changed_weights: tuple[str, ...] = ()
    actor: str = ""
    reason: str = ""
    created: float = 0.0  # seconds since the epoch
    engines: tuple[str, str] | None = None  # for a batch of one, and for larger ones; None: not chosen yet
    basis: str = ""  # of that choice; see `service.supervisor.trial.basis`
    on_demand: bool = False  # loaded because a client named it, not because a reference means it


@dataclass(frozen=True)
class ModelEntry:
    """A model, the versions of it to hold in memory, and the names they go by."""

    name: str
    references: tuple[str, ...]  # as the operator gave them; the first is the default
    default_version: str = ""  # empty until something was loaded
    default_alias: str = ""  # empty where the default reference is a number
    aliases: Mapping[str, str] = field(default_factory=dict)  # alias → number, as last confirmed
    versions: Mapping[str, VersionEntry] = field(default_factory=dict)  # number → entry
    stale_reason: str = ""  # why this may differ from what the registry says
    confirmed: float = 0.0  # seconds since the epoch; 0: never
    moved_by: str = ""  # who last moved an alias through this server
    moved_because: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All models of a server. A worker has either all of a generation or nothing of it."""

    generation: int = 0
    models: Mapping[str, ModelEntry] = field(default_factory=dict)

    def with_model(self, model: ModelEntry) -> "Snapshot":
        """The next generation, with one model replaced or added."""
        return replace(self, generation=self.generation + 1, models={**self.models, model.name: model})

    def without_model(self, name: str) -> "Snapshot":
        """The next generation, without a model."""
        others = {other: entry for other, entry in self.models.items() if other != name}
        return replace(self, generation=self.generation + 1, models=others)

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Snapshot":
        """The snapshot that `to_json` wrote.

        Raises ValueError, KeyError or TypeError where the text is something else.
        """
        data: dict[str, Any] = json.loads(text)
        return Snapshot(data["generation"], {name: _model(entry) for name, entry in data["models"].items()})


def _model(data: dict[str, Any]) -> ModelEntry:
    versions = {
        number: VersionEntry(
            **{
                **entry,
                "changed_weights": tuple(entry["changed_weights"]),
                "engines": tuple(entry["engines"]) if entry["engines"] else None,
            }
        )
        for number, entry in data["versions"].items()
    }
    return ModelEntry(**{**data, "references": tuple(data["references"]), "versions": versions})
