"""The last good snapshot on disk: one file for each model, so that a change writes only what it changes."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from registry.references import is_number
from service import records
from service.snapshot import ModelEntry, Snapshot

logger = logging.getLogger(__name__)


class LastGood:
    """A folder of models by the digest of their name. One thread at a time writes."""

    def __init__(self, cache: Path, references: Collection[str]) -> None:
        digest = hashlib.sha256("\n".join(sorted(references)).encode()).hexdigest()[:12]
        self._folder = cache / f"snapshot-{digest}"
        self._single = cache / f"snapshot-{digest}.json"  # all models, as servers of version 0.1 wrote it

    def read(self) -> list[ModelEntry]:
        """The models that were served last, as far as they can be read."""
        try:
            if self._folder.is_dir():
                return [model for file in sorted(self._folder.glob("*.json")) if (model := _read(file))]
            models = records.from_json(self._single.read_bytes(), Snapshot).models
            return [_cleaned(model) for model in models.values()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            logger.warning("the last good snapshot cannot be read: %s", error)
            return []

    def write(self, models: Collection[ModelEntry], *, dropped: Collection[str] = ()) -> None:
        """Keeps models that changed, and forgets some; a full disk costs the next start, not this server."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for model in models:
                with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as file:
                    file.write(records.to_json(model))
                Path(file.name).replace(self._file(model.name))
            for name in dropped:
                self._file(name).unlink(missing_ok=True)
            self._single.unlink(missing_ok=True)
        except OSError as error:
            with suppress(OSError, UnboundLocalError):
                os.unlink(file.name)
            logger.warning("cannot save the last good snapshot: %s", error)

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read(file: Path) -> ModelEntry | None:
    try:
        return _cleaned(records.from_json(file.read_bytes(), ModelEntry))
    except (OSError, ValueError) as error:
        logger.warning("a model of the last good snapshot cannot be read: %s", error)
        return None


def _cleaned(model: ModelEntry) -> ModelEntry:
    """A model without versions under texts that are no numbers of versions, which older servers let in (`01`)."""
    versions = {n: v for n, v in model.versions.items() if is_number(n) and v.number == n}
    return model if len(versions) == len(model.versions) else model.with_versions(versions)
