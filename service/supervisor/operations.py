"""Operations that workers request for their callers: load, serve, unload, move an alias, override, statistics."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry import description, tag
from registry.errors import RegistryConflictError, RegistryError, RegistryUnavailableError
from registry.references import is_number, parse
from service.config import ServerConfig
from service.errors import ConflictError, InvalidArgumentError, NotFoundError, UnavailableError
from service.snapshot import ModelEntry, VersionEntry, VersionKey
from service.supervisor.declared import Declared
from service.supervisor.desired import desired, wanted
from service.supervisor.fetching import Versions, derived
from service.supervisor.fleet import Fleet
from service.supervisor.lanes import Lanes
from service.supervisor.listing import Listing
from service.supervisor.registry_errors import registry_errors, translated
from service.supervisor.requests import Answer, Handler

DEFAULT_ALIAS = "champion"  # of a model that a client has served without saying which version

logger = logging.getLogger(__name__)


class Operations:
    """Each takes arguments and bytes, and gives results and bytes, or a future of them. Any thread may call."""

    def __init__(
        self, declared: Declared, versions: Versions, following: Lanes, named: Lanes, fleet: Fleet, config: ServerConfig
    ) -> None:
        """`following` fetches what the follower wants, `named` what clients name."""
        self._declared = declared
        self._versions = versions
        self._following = following
        self._named = named
        self._fleet = fleet
        self._config = config
        self._listing = Listing(declared, versions)
        self._overriding = threading.Lock()  # one override at a time, from its first question to its last step
        self._loaded: dict[VersionKey, float] = {}  # when versions on demand came; `declared.changing` guards it

    def table(self) -> Mapping[str, Handler]:
        """The operations by name."""
        return {
            "load": self._load,
            "serve": self._serve,
            "drop": self._drop,
            "move_alias": self._move_alias,
            "override": self._override,
            "made": self._made,
            "versions": self._listing.page,
            "statistics": self._statistics,
        }

    # Loading on demand.

    def _load(self, arguments: dict[str, Any], _body: bytes) -> "Answer | Future[Answer]":
        """Has a version loaded that a client named, or the one that a model is to serve by default.

        Lets go of the version unused longest if there are too many. Nothing else waits for it.
        """
        name, number = arguments["model"], arguments["number"]
        entry = self._declared.served(name)
        if not number:
            return self._hurry(entry)
        if not is_number(number):
            raise NotFoundError(f"no version {number[:20]} of {name} in the registry", field="version")
        if number in entry.versions:
            return {}, b""
        return _then(self._named.want(name, number, on_demand=True), lambda version: self._add(name, version))

    def _add(self, name: str, version: VersionEntry) -> None:
        with self._declared.changing:
            entry = self._declared.served(name)
            if version.number in entry.versions:
                return
            others = self._without_unused()
            entry = others.pop(name, entry)
            self._loaded[name, version.number] = time.monotonic()
            entry = replace(entry, versions={**entry.versions, version.number: version})
            self._declared.declare([*others.values(), entry])

    def _without_unused(self) -> dict[str, ModelEntry]:
        """Models without the versions on demand that were unused for longest, so that one more may be held."""
        models = self._declared.snapshot.models
        held = [(model.name, v.number) for model in models.values() for v in model.versions.values() if v.on_demand]
        last_used = self._fleet.last_used()
        held.sort(key=lambda key: max(self._loaded.get(key, 0.0), last_used.get(key, 0.0)))
        changed: dict[str, ModelEntry] = {}
        for name, number in held[: max(0, len(held) + 1 - self._config.limits.on_demand_versions)]:
            self._loaded.pop((name, number), None)
            entry = changed.get(name, models[name])
            changed[name] = replace(entry, versions={n: v for n, v in entry.versions.items() if n != number})
        return changed

    def _hurry(self, entry: ModelEntry) -> "Answer | Future[Answer]":
        """Has a model fetched before others, since a client asks for it; says why if nothing of it is on its way."""
        if entry.default_version:
            return {}, b""
        jobs = self._following.hurry(entry.name)
        if not jobs:
            if (refusal := self._versions.refusal_behind(entry.name, entry.stale_reason)) is not None:
                raise translated(refusal) if isinstance(refusal, RegistryError) else refusal
            raise UnavailableError(f"no version of {entry.name} is loaded yet: {entry.stale_reason or 'starting'}")
        return _then(jobs[0], lambda _: self._await_default(entry.name))

    def _await_default(self, name: str) -> None:
        """What was fetched is declared by the follower a moment later; who asks again will find it."""
        if not self._declared.served(name).default_version:
            raise UnavailableError(f"{name} is being loaded; try again")

    # Which models are served.

    def _serve(self, arguments: dict[str, Any], _body: bytes) -> Answer:
        """Serves a registered model, or another reference of it; or looks at once at what is served already.

        Until the server ends: what it serves when it starts is said where it is started.
        """
        name, alias, number = arguments["model"], arguments["alias"], arguments["number"]
        with registry_errors():
            references = list(self._declared.references.get(name, ()))
            if alias or number or not references:
                text = f"models:/{name}/{number}" if number else f"models:/{name}@{alias or DEFAULT_ALIAS}"
                references = [parse(text)]
            # Asked first and once more when the lock is held: what is fetched between is at hand then.
            for n in wanted(references, self._versions.registry.describe(name).aliases):
                self._versions.fetch(name, n)
            with self._declared.changing:
                aliases = self._versions.registry.describe(name).aliases
                old = self._declared.entry(name)
                served: dict[str, VersionEntry | str] = {
                    n: old.versions.get(n) or self._versions.fetch(name, n) for n in wanted(references, aliases)
                }
                entry = desired(old, references, aliases, served)
                if entry.stale_reason:
                    raise NotFoundError(entry.stale_reason, field="model_name")
                texts = tuple(map(str, references))
                try:
                    self._declared.declare([replace(entry, references=texts, default_alias=references[0].alias)])
                    self._declared.references[name] = references
                finally:
                    self._declared.touched(name)
        return {}, b""

    def _drop(self, arguments: dict[str, Any], _body: bytes) -> Answer:
        """Serves a model no longer."""
        name = arguments["model"]
        with self._declared.changing:
            self._declared.served(name)
            try:
                self._declared.drop(name)
                del self._declared.references[name]
            finally:
                self._declared.touched(name)
        return {}, b""

    def _statistics(self, _arguments: dict[str, Any], _body: bytes) -> Answer:
        """What each worker counted."""
        return {"workers": self._fleet.statistics()}, b""

    # Changing the registry.

    def _move_alias(self, arguments: dict[str, Any], _body: bytes) -> Answer:
        """Moves an alias: the workers load the version, then the registry is changed, then the workers switch."""
        name, alias, number = arguments["model"], arguments["alias"], arguments["number"]
        request = arguments["request_id"]
        with registry_errors():
            entry = self._declared.served(name)
            version = entry.versions.get(number) or self._versions.fetch(name, number)
            with self._declared.changing:
                entry = self._declared.served(name)
                if request and self._was_moved(name, alias, number, request):
                    arguments = {**arguments, "expected": number}  # by this very call, whose answer was lost
                elif request:
                    self._versions.registry.set_tags(name, number, {f"{tag.MOVE_REQUEST}.{alias}": request})
                self._switch(entry, alias, version, arguments)
        return {}, b""

    def _was_moved(self, name: str, alias: str, number: str, request: str) -> bool:
        """Whether an alias points at a version because the call with this id moved it."""
        if self._versions.registry.describe(name).aliases.get(alias) != number:
            return False
        tags = self._versions.registry.version(name, number).tags
        return tags.get(f"{tag.MOVE_REQUEST}.{alias}") == request

    def _override(self, arguments: dict[str, Any], body: bytes) -> Answer:
        """Registers a version with other weights, and moves the alias to it; leaves nothing behind if it fails."""
        name, alias, base = arguments["model"], arguments["alias"], arguments["base"]
        with self._overriding, registry_errors():
            if made := self._made_before(arguments):  # since the caller asked: its first call may have come late
                return made, b""
            version = self._declared.served(name).versions.get(base)
            if version is None or version.digest != arguments["digest"]:
                raise ConflictError(f"version {base} of {name} has changed; read it again")
            if alias:
                self._check_alias(name, alias, base)  # now, before there is anything to undo; once more as it moves
            with derived(Path(version.directory), body) as (model, proof, changed):
                tags = {
                    tag.KIND: "override",
                    tag.BASE_VERSION: base,
                    tag.CHANGED_WEIGHTS: ",".join(changed),
                    tag.ACTOR: arguments["actor"],
                    tag.REASON: arguments["reason"],
                    tag.PROOF: "unroll" if proof else "none",
                }
                if version.data:  # the same columns go in
                    tags[tag.DATA] = version.data
                if arguments["request_id"]:
                    tags |= {tag.REQUEST: arguments["request_id"], tag.REQUEST_DIGEST: arguments["request_digest"]}
                text = description.of_override(base, changed, arguments["actor"], arguments["reason"])
                info = self._versions.registry.derive(name, base, model, proof, tags, description=text)
            try:
                new = self._versions.fetch(name, info.number, info=info)
                if alias:
                    with self._declared.changing:
                        asked = {**arguments, "expected": base}
                        self._switch(self._declared.served(name), alias, new, asked, new=True)
            except BaseException:
                self._versions.registry.delete_version(name, info.number)
                raise
        return _made(new), b""

    def _made(self, arguments: dict[str, Any], _body: bytes) -> Answer:
        """What an earlier call with the same id made, in service; nothing if there is none.

        A call whose answer was lost may still be running here: then this waits for its end.
        """
        with self._overriding, registry_errors():
            return self._made_before(arguments), b""

    def _made_before(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same; overrides wait meanwhile. If the server that ran the call died half-way, the rest is done now."""
        name, alias = arguments["model"], arguments["alias"]
        if not arguments["request_id"]:
            return {}
        found = self._versions.registry.versions_with(name, tag.REQUEST, arguments["request_id"])
        if not found:
            return {}
        info = found[0]
        if info.tags.get(tag.REQUEST_DIGEST) != arguments["request_digest"]:
            raise InvalidArgumentError(
                f"request_id: version {info.number} was made by another request with this id", field="request_id"
            )
        entry = self._declared.served(name)
        version = entry.versions.get(info.number) or self._versions.fetch(name, info.number, info=info)
        if alias and f"{tag.MOVED}.{alias}" not in info.tags:
            asked = {**arguments, "expected": info.tags.get(tag.BASE_VERSION, "")}
            with self._declared.changing:
                self._switch(self._declared.served(name), alias, version, asked, new=True)
        return _made(version)

    def _switch(
        self, entry: ModelEntry, alias: str, version: VersionEntry, asked: dict[str, Any], *, new: bool = False
    ) -> None:
        """Points an alias at a version, in the registry and in all workers, or in neither; the lock is held.

        `asked` says which version the alias is expected at, who asks, and why. `new`: nobody else moves an alias to
        this version, so that if it points there, the same request has moved it through another server.
        """
        name, number = entry.name, version.number
        references = self._declared.references[name]
        aliases = {**entry.aliases, alias: number}
        meant = {aliases.get(r.alias, "") if r.alias else r.version for r in references}
        versions = {n: v for n, v in entry.versions.items() if n in meant or v.on_demand}
        if any(reference.alias == alias for reference in references):
            versions[number] = replace(version, on_demand=False)
        switched = replace(
            entry,
            aliases=aliases,
            versions=versions,
            default_version=number if alias == entry.default_alias else entry.default_version,
            stale_reason="",
            moved_by=asked["actor"],
            moved_because=asked["reason"],
        )
        try:
            self._declared.declare(
                [switched], lambda: self._move_in_registry(name, alias, number, asked["expected"], new=new)
            )
        finally:
            self._declared.touched(name)  # last: a look begun before this may have seen the registry as it was
        note = f"from version {asked['expected'] or '(none)'} by {asked['actor'] or 'somebody'}: {asked['reason']}"
        try:
            self._versions.registry.set_tags(name, number, {f"{tag.MOVED}.{alias}": note})
        except RegistryError as error:  # it has moved, and who asked must not think otherwise
            logger.warning(
                "%s of %s moved to version %s, but the tag that says why is missing: %s", alias, name, number, error
            )

    def _move_in_registry(self, name: str, alias: str, number: str, expected: str, *, new: bool) -> None:
        """Moves an alias in the registry. An answer that was lost is looked for: it may have been a yes."""
        try:
            self._versions.registry.move_alias(name, alias, number, expected=expected)
        except (RegistryUnavailableError, RegistryConflictError) as error:
            sought = new or isinstance(error, RegistryUnavailableError)
            if not sought or self._versions.registry.describe(name).aliases.get(alias) != number:
                raise

    def _check_alias(self, name: str, alias: str, expected: str) -> None:
        actual = self._versions.registry.describe(name).aliases.get(alias)
        if actual != expected:
            raise ConflictError(
                f"alias {alias} of {name} points at version {actual}, not at {expected} as expected",
                field="expected_version", expected=expected, actual=actual,
            )  # fmt: skip


def _made(version: VersionEntry) -> dict[str, Any]:
    """A version that an override made, as fields of its answer."""
    return {
        "version": version.number,
        "digest": version.digest,
        "base_version": version.base_version,
        "changed_weights": list(version.changed_weights),
    }


def _then(fetched: "Future[VersionEntry]", do: Any) -> "Future[Answer]":
    """The answer to a call once a version is there and something was done with it."""
    answer: Future[Answer] = Future()

    def done(fetched: "Future[VersionEntry]") -> None:
        try:
            with registry_errors():
                do(fetched.result())
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(({}, b""))

    fetched.add_done_callback(done)
    return answer
