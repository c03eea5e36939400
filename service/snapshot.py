"""A snapshot: what one server serves at a moment, as the supervisor declares it. Immutable values, plain JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from service import records

VersionKey = tuple[str, str]  # names a version: model, number


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
    data: str = ""  # what its inputs and outputs mean, as JSON: `training.data.layout`; empty: nobody said


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

    def with_versions(self, versions: Mapping[str, VersionEntry]) -> "ModelEntry":
        """The same model with other versions."""
        return replace(self, versions=versions)


@dataclass(frozen=True)
class Snapshot:
    """All models of a server. A worker has either all of a generation or nothing of it."""

    generation: int = 0
    models: Mapping[str, ModelEntry] = field(default_factory=dict)

    def with_models(self, models: Iterable[ModelEntry]) -> "Snapshot":
        """The next generation, with some models replaced or added."""
        changed = {model.name: model for model in models}
        return replace(self, generation=self.generation + 1, models={**self.models, **changed})

    def without_model(self, name: str) -> "Snapshot":
        """The next generation, without a model."""
        others = {other: entry for other, entry in self.models.items() if other != name}
        return replace(self, generation=self.generation + 1, models=others)

    def changes(self, before: "Snapshot") -> str:
        """What makes this snapshot of another one, as text for `changed`: models that are not the same, and names."""
        models = [model for name, model in self.models.items() if before.models.get(name) is not model]
        dropped = [name for name in before.models if name not in self.models]
        return records.to_json(_Changes(self.generation, models, dropped))

    def changed(self, text: str) -> "Snapshot":
        """The snapshot that `changes` was asked for, of this one, which was `before`."""
        changes = records.from_json(text, _Changes)
        models = {name: entry for name, entry in self.models.items() if name not in changes.dropped}
        return Snapshot(changes.generation, models | {model.name: model for model in changes.models})


@dataclass(frozen=True)
class _Changes:
    """What makes the next snapshot of another one."""

    generation: int
    models: list[ModelEntry]
    dropped: list[str]
