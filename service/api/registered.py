"""ListVersions: the versions of a model that the registry has, as messages."""

from collections.abc import Mapping
from typing import Any, Protocol

from registry.references import is_number
from service.api.encoding import ORIGINS, PROOFS, timestamp
from service.edge.methods import Call
from service.errors import InvalidArgumentError
from service.pb import unroll_pb2 as pb
from service.serving.loaded import LoadedModel
from service.serving.quota import Quota

PAGE_SIZE = 20
LARGEST_PAGE = 100
MOST_LISTING = 4  # calls that wait for the registry, in a worker
MOST_LISTING_OF_ONE = 2  # of one caller
LIST_SECONDS = 30.0  # longest wait for the registry
RECORDED_PROOFS = {"none": pb.PROOF_NONE, "keras": pb.PROOF_KERAS, "unroll": pb.PROOF_DERIVED}


class Listing(Protocol):
    """What lists versions: the supervisor, at the other end of the link."""

    def versions(self, model: str, *, before: str, size: int, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """So many versions, newest first, with numbers below `before` if it is given; and whether there are more."""


class RegisteredVersions:
    """Asks for pages, for a few callers at a time."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._quota = Quota(MOST_LISTING, MOST_LISTING_OF_ONE, "searches in the registry")

    def page(self, model: LoadedModel, request: pb.ListVersionsRequest, call: Call) -> pb.ListVersionsResponse:
        """The response to a request for a model; the token is the last number of the page before.

        Raises InvalidArgumentError, LimitExceededError, and what the registry answers.
        """
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size: expected 0 or more, got {request.page_size}", field="page_size")
        if request.page_token and not is_number(request.page_token):
            raise InvalidArgumentError("page_token: not a token of ListVersions", field="page_token")
        size = min(request.page_size or PAGE_SIZE, LARGEST_PAGE)
        remaining = call.remaining()
        timeout = LIST_SECONDS if remaining is None else min(remaining, LIST_SECONDS)
        with self._quota.take(call.identity()):
            found, more = self._listing.versions(
                model.entry.name, before=request.page_token, size=size, timeout=timeout
            )
        response = pb.ListVersionsResponse(model=model.entry.name, versions=[_encode(one, model) for one in found])
        if more and found:
            response.next_page_token = found[-1]["version"]
        return response


def _encode(found: Mapping[str, Any], model: LoadedModel) -> pb.RegisteredVersion:
    """A version of the registry as a message, with what this server knows of it."""
    number = found["version"]
    loaded = model.versions.get(number)
    proof = PROOFS[loaded.proof_made_by] if loaded else RECORDED_PROOFS.get(found["proof"], pb.PROOF_UNSPECIFIED)
    version = pb.RegisteredVersion(
        version=number,
        aliases=sorted(alias for alias, pointed_at in model.entry.aliases.items() if pointed_at == number),
        origin=ORIGINS.get(found["origin"], pb.VERSION_ORIGIN_OTHER),
        base_version=found["base_version"],
        changed_weights=filter(None, found["changed_weights"].split(",")),
        actor=found["actor"],
        reason=found["reason"],
        created_time=timestamp(found["created"]),
        proof=proof,
        digest=found["digest"],
        loaded=loaded is not None,
        refusal="" if loaded else found["refusal"],
        moves=found["moves"],
    )
    if any(found[name] for name in ("metric", "decision", "champion_version")):
        version.gate.CopyFrom(_gate(found))
    return version


def _gate(found: Mapping[str, Any]) -> pb.GateFigures:
    gate = pb.GateFigures(
        metric=found["metric"],
        baseline=found["baseline"],
        champion_version=found["champion_version"],
        decision=found["decision"],
        decision_reason=found["decision_reason"],
    )
    for name in ("error", "baseline_error", "champion_error"):
        try:
            setattr(gate, name, float(found[name]))
        except ValueError:  # nothing was measured, or somebody else set the tag
            continue
    return gate
