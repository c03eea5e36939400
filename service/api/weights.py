"""WeightService: reading, comparing and overriding weights."""

import hashlib
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.api.codec import decode_changes, encode, encoding_of
from service.api.models import check_expected, check_request_id, who
from service.config import Limits
from service.datatypes import DATA_TYPES
from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.errors import InvalidArgumentError, NotFoundError, NotReadyError
from service.model.changes import changed_weights, touched
from service.model.statistics import compare
from service.model.tensors import Array
from service.pb import unroll_pb2 as pb
from service.serving.host import Host, checked_version
from service.serving.loaded import LoadedVersion


class Overrides(Protocol):
    """What puts an override into force: the supervisor, at the other end of the link."""

    def override(
        self, version: LoadedVersion, alias: str, weights: bytes, *, asked: "Asked", timeout: float | None
    ) -> tuple[str, str]:
        """Registers `version` with other weights (npz bytes) and moves the alias, unless that is empty.

        Returns number and digest of the new version when all workers serve accordingly.
        """

    def made(self, model: str, alias: str, *, asked: "Asked", timeout: float | None) -> dict[str, Any]:
        """What an earlier call with the same id made: number, digest, base and changed; empty if nothing.

        Puts it into service if that was not done yet. Raises InvalidArgumentError where it asked for something else.
        """


@dataclass(frozen=True)
class Asked:
    """Who asks for an override and why, and by which request."""

    actor: str
    reason: str
    request_id: str = ""
    request_digest: str = ""  # SHA-256 of the request


class WeightServicer:
    """Answers from the snapshot of a host; overrides go to the supervisor."""

    def __init__(self, host: Host, limits: Limits, overrides: Overrides) -> None:
        self._host = host
        self._limits = limits
        self._overrides = overrides

    def methods(self) -> list[Method]:
        """The table of this service."""
        return methods_of(
            pb.DESCRIPTOR.services_by_name["WeightService"],
            {
                "GetWeights": Row(self.get_weights, Bound.WEIGHTS, Role.INSPECT),
                "CompareWeights": Row(self.compare_weights, Bound.WEIGHTS, Role.INSPECT),
                "OverrideWeights": Row(self.override_weights, Bound.REGISTRY, Role.OVERRIDE, Pool.WAITING),
            },
        )

    def get_weights(self, request: pb.GetWeightsRequest, call: Call) -> pb.GetWeightsResponse:
        """GetWeights: names, shapes, statistics, and values on request."""
        version = self._host.resolve(request.model, request.version, call)
        full, encoding = _full(request.view), encoding_of(request.encoding)
        weights = version.network.weights
        names = _chosen(request.weights, list(weights))
        response = pb.GetWeightsResponse(model=version.model, version=version.entry.number, digest=version.entry.digest)
        admitted = self._answering([weights[name] for name in names] if full else [], encoding, call)
        long = full or not version.statistics.known(names)
        with admitted, self._host.admission.slots if long else nullcontext():
            for name in names:
                call.check()
                weight = response.weights.add(
                    name=name, data_type=DATA_TYPES[weights[name].dtype], shape=weights[name].shape
                )
                statistics = version.statistics.of(name, call.check)
                weight.statistics.CopyFrom(pb.WeightStatistics(**vars(statistics)))
                if full:
                    weight.value.CopyFrom(encode(weights[name], name, encoding))
        return response

    def compare_weights(self, request: pb.CompareWeightsRequest, call: Call) -> pb.CompareWeightsResponse:
        """CompareWeights: what differs between two versions."""
        base = self._host.resolve(request.model, request.base_version, call)
        other = self._host.resolve(base.model, request.version, call)
        full, encoding = _full(request.view), encoding_of(request.encoding)
        old, new = base.network.weights, other.network.weights
        chosen = _chosen(request.weights, list(dict.fromkeys([*old, *new])))
        both = [n for n in chosen if n in old and n in new and old[n].shape == new[n].shape]
        if not both:
            raise NotReadyError(
                f"versions {base.entry.number} and {other.entry.number} of {base.model} have no such weight in common"
            )
        response = pb.CompareWeightsResponse(
            model=base.model,
            base_version=base.entry.number,
            version=other.entry.number,
            only_in_base=[n for n in chosen if n in old and n not in both],
            only_in_version=[n for n in chosen if n in new and n not in both],
        )
        admitted = self._answering([old[name] for name in both], encoding if full else pb.TENSOR_ENCODING_RAW, call)
        with admitted, self._host.admission.slots:
            for name in both:
                difference = response.differences.add(name=name, **vars(compare(old[name], new[name], call.check)))
                if full:
                    difference.difference.CopyFrom(encode(new[name] - old[name], name, encoding))
        return response

    def _answering(self, arrays: Sequence[Array], encoding: int, call: Call) -> AbstractContextManager[None]:
        """Admits a call that reads all elements of arrays, or answers with them; as `values` they take twice as much.

        Raises LimitExceededError.
        """
        elements = sum(array.size for array in arrays) * (1 if encoding == pb.TENSOR_ENCODING_RAW else 2)
        what = "name fewer in one call; they make"
        return self._host.admission.admit(elements, call, field="weights", what=what)

    def override_weights(self, request: pb.OverrideWeightsRequest, call: Call) -> pb.OverrideWeightsResponse:
        """OverrideWeights: a new version with other weights, in service when this returns."""
        if not request.reason.strip():
            raise InvalidArgumentError("reason: say why, in a sentence; it is kept with the version", field="reason")
        if not request.changes:
            raise InvalidArgumentError("changes: at least one is needed", field="changes")
        model = self._host.snapshot().model(request.model).entry
        alias = request.alias.removeprefix("@") or model.default_alias
        if not alias and not request.keep_alias:
            raise NotReadyError(
                f"{model.name} is served by number, so there is no alias to move: name one, or set keep_alias"
            )
        if not request.keep_alias:
            call.require(Role.PROMOTE)
        asked = _asked(request, who(request.actor, call))
        moved = "" if request.keep_alias else alias
        if asked.request_id and (
            made := self._overrides.made(model.name, moved, asked=asked, timeout=call.remaining())
        ):
            return pb.OverrideWeightsResponse(model=model.name, alias=moved, **made)
        version = self._host.resolve(model.name, f"@{alias}" if alias else "", call)
        if request.expected_version:
            checked_version(request.expected_version, "expected_version")
        check_expected(version.entry, f"alias {alias}", request.expected_version, request.expected_digest)
        changes = decode_changes(request.changes, version.network, "changes", self._limits)
        elements = touched(version.network.weights, changes)
        with self._host.admission.admit(elements, call, field="changes", what="they touch"):
            new = changed_weights(version.network.weights, changes)
            version.network.with_weights(new)  # refuses now what would be refused after it was registered
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **new)
        number, digest = self._overrides.override(
            version, moved, packed.getvalue(), asked=asked, timeout=call.remaining()
        )
        return pb.OverrideWeightsResponse(
            model=version.model,
            version=number,
            base_version=version.entry.number,
            digest=digest,
            alias=moved,
            changed_weights=list(new),
        )


def _asked(request: pb.OverrideWeightsRequest, actor: str) -> Asked:
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return Asked(actor, request.reason, check_request_id(request.request_id), digest)


def _full(view: int) -> bool:
    if view not in pb.WeightView.values():
        raise InvalidArgumentError(f"view: unknown view {view}", field="view")
    return view == pb.WEIGHT_VIEW_FULL


def _chosen(names: Sequence[str], known: list[str]) -> list[str]:
    """The names asked for, in Keras's order; all where none are. Raises NotFoundError."""
    for i, name in enumerate(names):
        if name not in known:
            raise NotFoundError(f"no weight {name!r}; there are: {', '.join(known)}", field=f"weights[{i}]")
    return [name for name in known if name in names] if names else known
