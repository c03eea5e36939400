"""ModelService: which models are served, their origin, and their aliases."""

import re
from collections.abc import Iterator
from typing import Protocol

from google.protobuf.json_format import Parse, ParseError

from service.api.codec import encode_specs
from service.api.encoding import ORIGINS, PROOFS, timestamp
from service.api.examples import examples
from service.api.registered import Listing, RegisteredVersions
from service.api.server import describe
from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.errors import ConflictError, InvalidArgumentError
from service.pb import unroll_pb2 as pb
from service.serving.host import Host, checked_version
from service.serving.loaded import LoadedModel, LoadedVersion
from service.snapshot import VersionEntry

PAGE_SIZE = 100
WATCH_SECONDS = 1.0  # how often a quiet watcher looks whether its client is still there
CHANGES = {"trained": pb.MODEL_CHANGE_TRAINED, "override": pb.MODEL_CHANGE_OVERRIDDEN}


class Supervisor(Listing, Protocol):
    """What lists versions and moves aliases: the supervisor, at the other end of the link."""

    def move_alias(
        self,
        model: str,
        alias: str,
        number: str,
        expected: str,
        *,
        actor: str,
        reason: str,
        timeout: float | None,
        request_id: str = "",
    ) -> None:
        """Moves an alias in the registry, and waits until all workers serve accordingly."""


class ModelServicer:
    """Answers from the snapshot of a host; what concerns the registry goes to the supervisor."""

    def __init__(self, host: Host, supervisor: Supervisor) -> None:
        self._host = host
        self._supervisor = supervisor
        self._registered = RegisteredVersions(supervisor)

    def methods(self) -> list[Method]:
        """The table of this service."""
        return methods_of(
            pb.DESCRIPTOR.services_by_name["ModelService"],
            {
                "ListModels": Row(self.list_models, Bound.SERVED, Role.OBSERVE),
                "GetModel": Row(self.get_model, Bound.SERVED, Role.OBSERVE),
                "ListVersions": Row(self.list_versions, Bound.SEARCH, Role.OBSERVE, Pool.WAITING),
                "GetExamples": Row(self.get_examples, Bound.PROOF, Role.INSPECT),
                "GetServer": Row(self.get_server, Bound.SERVED, Role.CALLER),
                "MoveAlias": Row(self.move_alias, Bound.REGISTRY, Role.PROMOTE, Pool.WAITING),
                "WatchModel": Row(self.watch_model, Bound.STREAM, Role.OBSERVE, Pool.STREAM),
            },
        )

    def list_models(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """ListModels: a page of models by name; the token is the last name of the page before."""
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size: expected 0 or more, got {request.page_size}", field="page_size")
        models = self._host.snapshot().models
        if request.page_token and request.page_token not in models:
            raise InvalidArgumentError("page_token: not a token of this server", field="page_token")
        names = sorted(name for name in models if name > request.page_token and call.caller().may_use(name))
        page = names[: min(request.page_size or PAGE_SIZE, PAGE_SIZE)]
        return pb.ListModelsResponse(
            models=[self._encode(models[name]) for name in page],
            next_page_token=page[-1] if len(page) < len(names) else "",
        )

    def get_model(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """GetModel: one model with all that is known of it."""
        return pb.GetModelResponse(model=self._encode(self._host.whole(request.model, call)))

    def list_versions(self, request: pb.ListVersionsRequest, call: Call) -> pb.ListVersionsResponse:
        """ListVersions: a page of what the registry has of a served model."""
        return self._registered.page(self._host.snapshot().model(request.model), request, call)

    def get_examples(self, request: pb.GetExamplesRequest, call: Call) -> pb.GetExamplesResponse:
        """GetExamples: inputs of the proof, and what training recorded of the inputs."""
        version = self._host.resolve(request.model, request.version, call)
        with self._host.admission.slots:
            return examples(version, request, self._host.limits)

    def get_server(self, _request: pb.GetServerRequest, call: Call) -> pb.GetServerResponse:
        """GetServer: the server, and the caller as it knows it."""
        return describe(call.caller(), self._host.limits)

    def move_alias(self, request: pb.MoveAliasRequest, call: Call) -> pb.MoveAliasResponse:
        """MoveAlias: in the registry first, then here, then the answer."""
        checked_version(request.version, "version")
        if request.expected_version:
            checked_version(request.expected_version, "expected_version")
        model = self._host.snapshot().model(request.model).entry
        alias = request.alias.removeprefix("@") or model.default_alias
        if not alias:
            raise InvalidArgumentError(f"alias: {model.name} has no default alias, name one", field="alias")
        self._supervisor.move_alias(
            model.name,
            alias,
            request.version,
            request.expected_version,
            actor=who(request.actor, call),
            reason=request.reason,
            request_id=check_request_id(request.request_id),
            timeout=call.remaining(),
        )
        return pb.MoveAliasResponse(
            model=model.name, alias=alias, version=request.version, previous_version=request.expected_version
        )

    def watch_model(self, request: pb.WatchModelRequest, call: Call) -> Iterator[pb.WatchModelResponse]:
        """WatchModel: the model as it is, then at each change; changes that a reader was too slow for are merged."""
        snapshot = self._host.snapshot()
        before = self._host.whole(snapshot.model(request.model).entry.name, call)
        yield pb.WatchModelResponse(change=pb.MODEL_CHANGE_INITIAL, model=self._encode(before))
        while True:
            call.check()
            snapshot = self._host.wait_beyond(snapshot.generation, WATCH_SECONDS)
            now = snapshot.model(before.entry.name)
            if now.entry == before.entry:
                continue
            yield self._changed(before, now)
            before = now

    def _changed(self, before: LoadedModel, now: LoadedModel) -> pb.WatchModelResponse:
        response = pb.WatchModelResponse(change=_change(before, now), model=self._encode(now))
        if before.entry.default_version != now.entry.default_version:
            made = now.versions.get(now.entry.default_version)
            response.previous_version = before.entry.default_version
            response.actor = now.entry.moved_by or (made.entry.actor if made else "")
            response.reason = now.entry.moved_because or (made.entry.reason if made else "")
        return response

    def _encode(self, model: LoadedModel) -> pb.Model:
        return encode_model(model, self._host.confirmed.get(model.entry.name, 0.0))


def who(claimed: str, call: Call) -> str:
    """The actor to keep with a version: as the server knows the caller, and what it says of itself next to that."""
    caller = call.caller()
    if caller.how == "local" or not caller.name:  # a name that nobody had to prove
        return claimed or caller.name
    return f"{caller.name} (says {claimed})" if claimed and claimed != caller.name else caller.name


def check_request_id(text: str) -> str:
    """An id of a request as it came. Raises InvalidArgumentError."""
    if text and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text, re.ASCII):
        raise InvalidArgumentError(
            f"request_id: expected up to 64 letters, digits, - and _, got {text[:80]!r}", field="request_id"
        )
    return text


def check_expected(entry: VersionEntry, what: str, version: str, digest: str) -> None:
    """Raises ConflictError unless `entry` is what the caller looked at; InvalidArgumentError if it does not say."""
    if not version and not digest:
        raise InvalidArgumentError(
            "expected_version: name the version or digest that you have read, so that no other change is lost",
            field="expected_version",
        )
    if version and version != entry.number:
        raise ConflictError(
            f"{what} points at version {entry.number}, not at {version} as expected",
            field="expected_version",
            expected=version,
            actual=entry.number,
        )
    if digest and digest != entry.digest:
        raise ConflictError(
            f"{what} points at digest {entry.digest}, not at {digest} as expected",
            field="expected_digest",
            expected=digest,
            actual=entry.digest,
        )


def encode_model(model: LoadedModel, confirmed: float) -> pb.Model:
    """A model as a message; `confirmed` is when the registry last agreed, if it was heard of since the snapshot."""
    entry = model.entry
    return pb.Model(
        name=entry.name,
        references=entry.references,
        default_version=entry.default_version,
        default_alias=entry.default_alias,
        aliases=dict(entry.aliases),
        versions=[_version(v) for _, v in sorted(model.versions.items(), key=lambda item: -int(item[0]))],
        stale_reason=entry.stale_reason,
        confirmed_time=timestamp(max(confirmed, entry.confirmed)),
    )


def _version(version: LoadedVersion) -> pb.ModelVersion:
    entry, network = version.entry, version.network
    return pb.ModelVersion(
        version=entry.number,
        digest=entry.digest,
        proof=PROOFS[version.proof_made_by],
        proof_error=version.proof_error,
        data=_layout(entry.data),
        interval_levels=version.intervals.half_widths if version.intervals else (),
        adaptive_intervals=_adaptive(version),
        gradients_proven=version.gradient_error is not None and version.gradient_error <= 1,
        gradient_error=version.gradient_error,
        origin=ORIGINS.get(entry.origin, pb.VERSION_ORIGIN_OTHER),
        base_version=entry.base_version,
        changed_weights=entry.changed_weights,
        actor=entry.actor,
        reason=entry.reason,
        created_time=timestamp(entry.created),
        inputs=encode_specs(network.inputs),
        outputs=encode_specs(network.outputs),
        states=encode_specs(network.states),
        layers=[
            pb.Layer(
                name=layer.name,
                class_name=layer.class_name,
                output_shape=[-1 if extent is None else extent for extent in layer.output_shape],
                parameter_count=layer.parameter_count,
                options=layer.options,
            )
            for layer in network.layers
        ],
        parameter_count=network.parameter_count,
        engine=version.engine.name,
        streamable=network.streamable,
        notes=network.notes,
    )


def _adaptive(version: LoadedVersion) -> pb.AdaptiveIntervals | None:
    """The intervals that follow recent errors; None where a version has none."""
    scaled = version.intervals.adaptive if version.intervals else None
    return pb.AdaptiveIntervals(forecasts=scaled.forecasts, levels=scaled.quantiles) if scaled else None


def _layout(text: str) -> pb.DataLayout | None:
    """What a version says that it was trained on, as a message; None where it says nothing, or what cannot be read."""
    if not text:
        return None
    try:
        return Parse(text, pb.DataLayout(), ignore_unknown_fields=True, max_recursion_depth=8)
    except ParseError:  # the registry's tags are anybody's
        return None


def _change(before: LoadedModel, now: LoadedModel) -> "pb.ModelChange":
    old, new = before.entry.default_version, now.entry.default_version
    if old == new or new not in now.versions:
        return pb.MODEL_CHANGE_OTHER
    if old and int(new) < int(old):
        return pb.MODEL_CHANGE_MOVED_BACK
    return CHANGES.get(now.versions[new].entry.origin, pb.MODEL_CHANGE_TRAINED)
