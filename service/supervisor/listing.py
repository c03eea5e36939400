"""Pages of the versions of a model that the registry has, each one search, with few searches at a time."""

from typing import Any

from registry import tag
from registry.entries import VersionInfo
from service.serving.quota import Quota
from service.supervisor.declared import Declared
from service.supervisor.fetching import Versions
from service.supervisor.registry_errors import public, registry_errors
from service.supervisor.requests import Answer

MOST_SEARCHES = 4  # at a time; others of this server's requests wait for the registry too
MOST_MOVES = 32  # aliases that once pointed at one version
LONGEST_TEXT = 4_096  # characters of a tag
# The tags that clients may read, by the names of the fields that they become.
TAGS = {
    "digest": tag.DIGEST,
    "proof": tag.PROOF,
    "origin": tag.KIND,
    "base_version": tag.BASE_VERSION,
    "changed_weights": tag.CHANGED_WEIGHTS,
    "actor": tag.ACTOR,
    "reason": tag.REASON,
    "decision": tag.DECISION,
    "decision_reason": tag.DECISION_REASON,
    "metric": tag.METRIC,
    "error": tag.ERROR,
    "baseline": tag.BASELINE,
    "baseline_error": tag.BASELINE_ERROR,
    "champion_version": tag.CHAMPION_VERSION,
    "champion_error": tag.CHAMPION_ERROR,
}


class Listing:
    """Asks the registry for versions."""

    def __init__(self, declared: Declared, versions: Versions) -> None:
        self._declared = declared
        self._versions = versions
        self._searches = Quota(MOST_SEARCHES, MOST_SEARCHES, "searches in the registry")

    def page(self, arguments: dict[str, Any], _body: bytes) -> Answer:
        """So many versions of a served model, newest first, below a number if one is given; and if there are more."""
        name, before, size = arguments["model"], arguments["before"], arguments["size"]
        self._declared.served(name)
        with registry_errors(), self._searches.take(""):
            found = self._versions.registry.versions_of(name, most=size + 1, before=before)
        return {"versions": [self._described(info) for info in found[:size]], "more": len(found) > size}, b""

    def _described(self, info: VersionInfo) -> dict[str, Any]:
        """A version as JSON: what its tags say, and why this server refused it, if it did."""
        refusal = self._versions.refusal(info.name, info.number)
        moved = f"{tag.MOVED}."
        moves = {key.removeprefix(moved): text for key, text in info.tags.items() if key.startswith(moved)}
        return {
            "version": info.number,
            "created": info.created,
            "moves": {alias: text[:LONGEST_TEXT] for alias, text in sorted(moves.items())[:MOST_MOVES]},
            "refusal": public(refusal)[:LONGEST_TEXT] if refusal else "",
            **{field: info.tags.get(name, "")[:LONGEST_TEXT] for field, name in TAGS.items()},
        }
