"""The on-disk cache of downloaded versions, keyed by the SHA-256 of the model file."""

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from registry import artifact, tag
from registry.entries import VersionInfo
from registry.errors import ArtifactCorruptError, CacheError

if TYPE_CHECKING:
    from registry.store import Store

MODEL_FILE = "model.keras"
PROOF_FILE = artifact.PROOF_FILE
INTERVALS_FILE = artifact.INTERVALS_FILE
KEPT = 64  # versions kept that nobody needs now


class Cache:
    """A folder of versions, each a folder with `model.keras` and, where they exist, `proof.npz`, `intervals.json`."""

    def __init__(self, root: Path) -> None:
        self._root = root / "versions"

    def path(self, digest: str) -> Path:
        """Where the version of that digest lies, if it is there."""
        return self._root / digest

    def holds(self, digest: str) -> bool:
        """Whether a version is there and intact, as far as its model file goes."""
        model = self.path(digest) / MODEL_FILE
        return model.is_file() and artifact.digest(model) == digest

    def fetch(self, store: "Store", version: VersionInfo) -> tuple[Path, str]:
        """The folder of a version and its digest; downloads it unless it is there and intact.

        Raises ArtifactCorruptError where the registry holds other bytes than were registered, ArtifactRefusedError
        for what is never read, CacheError where the disk is full, RegistryError from the store.
        """
        expected = version.tags.get(tag.DIGEST, "")
        try:
            if expected and self.holds(expected):
                return self.path(expected), expected
            return self._download(store, version, expected)
        except OSError as error:
            raise CacheError(f"cannot keep version {version.number} of {version.name} on disk: {error}") from error

    def _download(self, store: "Store", version: VersionInfo, expected: str) -> tuple[Path, str]:
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".part-") as folder:
            downloaded = store.download(version.name, version.number, Path(folder) / "download")
            model = artifact.keras_file(downloaded)
            actual = artifact.digest(model)
            if expected and actual != expected:
                raise ArtifactCorruptError(
                    f"the model file of version {version.number} of {version.name} has SHA-256 {actual[:12]}…, "
                    f"but {expected[:12]}… was registered"
                )
            entry = Path(folder) / "entry"
            entry.mkdir()
            model.rename(entry / MODEL_FILE)
            for name in (PROOF_FILE, INTERVALS_FILE):
                if (downloaded / name).is_file():
                    (downloaded / name).rename(entry / name)
            try:
                entry.rename(self.path(actual))
            except OSError:  # it is there: of a version without a digest, just put by another server, or damaged
                if not self.holds(actual):
                    shutil.rmtree(self.path(actual), ignore_errors=True)
                    entry.rename(self.path(actual))
        return self.path(actual), actual

    def prune(self, needed: Collection[str]) -> None:
        """Removes the oldest versions beyond KEPT, never those that are needed."""
        spare = [path for path in self._root.glob("[0-9a-f]*") if path.name not in needed]
        for path in sorted(spare, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(path, ignore_errors=True)
