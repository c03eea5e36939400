"""Bulk lookup of many models: aliases and versions, in few requests."""

import logging
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from registry.entries import VersionInfo
from registry.errors import RegistryNotFoundError

if TYPE_CHECKING:
    from registry.store import Store

FEW = 3  # models up to which each is asked for by itself
SPARSE = 20  # a registry with so many times more models than are asked for is not searched
SEARCH_AGAIN_SECONDS = 300.0  # after a search that was no use

logger = logging.getLogger(__name__)


class Search:
    """Asks a registry about many models. One thread uses it.

    One search finds all models with their aliases, where a request for each would cost the registry and us as much
    again for every model. Models are asked for one by one where that is cheaper, and where the registry leaves aliases
    out of what it finds, as MLflow servers did (mlflow#16734).
    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._search_again = 0.0  # monotonic seconds

    def aliases(self, names: Collection[str]) -> dict[str, Mapping[str, str] | None]:
        """Where the aliases of each model point; None: there is no such model. Raises RegistryError."""
        found: dict[str, Mapping[str, str]] = {}
        if len(names) > FEW and time.monotonic() >= self._search_again:
            searched = self._store.search_models(SPARSE * len(names))
            if searched is None or not any(searched.values()):
                logger.info("each model is requested separately: %s", (
                    "the registry has many more models than this server" if searched is None
                    else "a search in the registry gives no aliases"
                ))  # fmt: skip
                self._search_again = time.monotonic() + SEARCH_AGAIN_SECONDS
            else:
                found = searched
        # Also what a search did not find: a page is not taken at the same moment as the one before it.
        return {name: found[name] if name in found else self._alone(name) for name in names}

    def versions(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], VersionInfo | None]:
        """What is known of versions, by model and number; None: there is no such version. Raises RegistryError."""
        found: dict[tuple[str, str], VersionInfo] = {}
        if len(keys) > FEW:
            found = self._store.search_versions(SPARSE * len(keys))
        return {key: found[key] if key in found else self._version(*key) for key in keys}

    def _alone(self, name: str) -> Mapping[str, str] | None:
        try:
            return self._store.describe(name).aliases
        except RegistryNotFoundError:
            return None

    def _version(self, name: str, number: str) -> VersionInfo | None:
        try:
            return self._store.version(name, number)
        except RegistryNotFoundError:
            return None
