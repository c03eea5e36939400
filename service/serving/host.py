"""The host: the declared snapshot with its networks loaded. Read without a lock, replaced as a whole."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from registry.references import is_number
from service.config import DEFAULT_LIMITS, Limits
from service.errors import InvalidArgumentError, NotFoundError, ServiceError, UnavailableError
from service.serving.admission import Admission, Asking
from service.serving.loaded import LoadedModel, LoadedSnapshot, LoadedVersion, load_version
from service.serving.on_demand import OnDemand
from service.serving.quota import Quota
from service.serving.threads import leave
from service.snapshot import ModelEntry, Snapshot, VersionEntry, VersionKey

AWAITED_SECONDS = 60.0  # longest wait for a version that is declared, but not loaded yet
LOOK_SECONDS = 1.0  # how often a call that waits looks whether its client is still there
BUSY_SECONDS = 0.05  # until another look whether calls have loaded the last versions
RETRY_SECONDS = 5.0  # after which a version that could not be loaded is tried again


class Host:
    """Holds the loaded snapshot of a worker. One thread prepares and commits; any thread reads.

    A worker that begins adopts a snapshot: its thread loads what is missing one by one, and a call for a version that
    is still missing loads it at once. Everything that is loaded is proven first, whichever way it comes.
    """

    def __init__(
        self,
        *,
        require_proof: bool = False,
        load: Callable[[str, str], None] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`load(model, number)` gets a version that a client named into the snapshot, or raises a ServiceError."""
        self._snapshot = LoadedSnapshot(0, {})
        self._prepared: LoadedSnapshot | None = None
        self._order: deque[VersionKey] = deque()  # adopted versions to load, unless a call was quicker
        self._require_proof = require_proof
        self._on_demand = OnDemand(load) if load else None
        self.limits = limits
        self.admission = Admission(limits)
        # A stream whose weights are changed keeps those weights as long as it is open.
        self.changed_weights = Quota(limits.computed, limits.computed // 2, "elements of weights changed for streams")
        self._changed = threading.Condition()  # notified of each snapshot; guards its replacement, and the next two
        self._ending = False  # whether the server stops; guarded by the condition too
        self._loading: set[VersionKey] = set()  # adopted versions that some thread loads now
        self._failed: dict[VersionKey, tuple[float, ServiceError]] = {}  # when to try again, and what was wrong
        self.confirmed: Mapping[str, float] = {}  # when the registry last agreed, by model; seconds since the epoch
        self.last_used: dict[tuple[str, str], float] = {}  # of versions loaded on demand; monotonic seconds

    def snapshot(self) -> LoadedSnapshot:
        """What is served now: one attribute read."""
        return self._snapshot

    def resolve(self, model: str, version: str, call: Asking | None = None) -> LoadedVersion:
        """The version a request means.

        `version` is empty for the default reference, digits for a version, other text or `@NAME` for an alias.

        Raises NotFoundError for an unknown model, version or alias; InvalidArgumentError for digits that are no
        version; UnavailableError while nothing is loaded; and where a version has to be loaded, as `OnDemand.get`. A
        version that is declared and still missing is loaded now.
        """
        loaded = self._snapshot.model(model)
        if not version and not loaded.entry.default_version and self._on_demand is not None:
            # It comes before models that nobody asks for; or we hear why not.
            self._on_demand.get(loaded.entry.name, "", call.identity() if call else "")
            loaded = self._snapshot.model(model)
        number = _number(loaded.entry, version)
        found = loaded.versions.get(number)
        if found is None and number in loaded.entry.versions:
            found = self._awaited(loaded.entry.name, number, call)
        elif found is None:
            found = self._loaded(loaded.entry.name, number, call.identity() if call else "")
        if found.entry.on_demand:
            self.last_used[found.model, number] = time.monotonic()
        return found

    def held(self, model: str, version: str) -> LoadedVersion | None:
        """The version a request means, if it is in memory. Raises as `resolve` does, but loads nothing."""
        loaded = self._snapshot.model(model)
        return loaded.versions.get(_number(loaded.entry, version))

    def whole(self, model: str, call: Asking | None = None) -> LoadedModel:
        """A model with all its versions, as far as they can be loaded. Raises as `LoadedSnapshot.model` does."""
        loaded = self._snapshot.model(model)
        for number in loaded.entry.versions.keys() - loaded.versions.keys():
            with suppress(UnavailableError):
                self._awaited(loaded.entry.name, number, call)
        return self._snapshot.model(loaded.entry.name)

    def ready(self) -> bool:
        """Whether every model that was asked for answers, and there is one."""
        models = self._snapshot.models.values()
        return bool(models) and all(model.entry.default_version in model.versions for model in models)

    def adopt(self, snapshot: Snapshot) -> None:
        """Prepares the first snapshot without loading it: `load_next` does, one version after the other."""
        self._prepared = LoadedSnapshot(
            snapshot.generation, {name: LoadedModel(model, {}) for name, model in snapshot.models.items()}
        )

    def prepare(self, snapshot: Snapshot) -> None:
        """Loads what a snapshot adds, next to what is served. Raises ServiceError; then nothing has changed.

        A version that was adopted, and whose model keeps its names, need not be loaded yet.
        """
        models = {}
        for name, model in snapshot.models.items():
            served = self._snapshot.models.get(name)
            if served is not None and served.entry is model:  # most are as they were
                models[name] = served
                continue
            loaded = {version.entry.digest: version for version in served.versions.values()} if served else {}
            versions = {}
            for number, entry in model.versions.items():
                known = loaded.get(entry.digest)
                if known is None and served is not None and _lacks_as_before(served, model, number):
                    continue
                if known is None:
                    known = loaded[entry.digest] = self._load(name, entry)
                versions[number] = replace(known, entry=entry)
            models[name] = LoadedModel(model, versions)
        self._prepared = LoadedSnapshot(snapshot.generation, models)

    def commit(self, generation: int) -> None:
        """Puts the prepared snapshot into service."""
        with self._changed:
            prepared = self._prepared
            if prepared is None or prepared.generation != generation:
                raise RuntimeError(f"generation {generation} was not prepared")
            self._snapshot, self._prepared = prepared, None
            missing = _missing(prepared)
            self._failed = {key: self._failed[key] for key in missing if key in self._failed}
            self._order = deque(key for key in missing if key not in self._failed)
            self._changed.notify_all()
        on_demand = {(v.model, n) for m in prepared.models.values() for n, v in m.versions.items() if v.entry.on_demand}
        for key in self.last_used.keys() - on_demand:
            self.last_used.pop(key, None)

    def abort(self) -> None:
        """Forgets what was prepared."""
        self._prepared = None

    def complete(self) -> bool:
        """Whether every version of the snapshot is in memory."""
        return not self._order and not self._loading and not self._failed

    def pause(self) -> float | None:
        """Seconds until `load_next` may have something to do; None where nothing is missing."""
        if self._order:
            return 0.0
        with self._changed:
            if self._loading:
                return BUSY_SECONDS
            times = [when for when, _ in self._failed.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def load_next(self) -> None:
        """Loads one version that is missing, if there is any that no call loads.

        Raises what loading it raises. It is then tried again after RETRY_SECONDS, and calls hear why it is missing.
        """
        if self._order:
            self._fill(*self._order.popleft(), again=RETRY_SECONDS)
            return
        with self._changed:
            now = time.monotonic()
            due = next((key for key, (when, _) in self._failed.items() if when <= now), None)
        if due is not None:
            self._fill(*due, again=RETRY_SECONDS)

    def wait_beyond(self, generation: int, seconds: float) -> LoadedSnapshot:
        """The snapshot, as soon as it is newer than `generation`, or after so many seconds whatever it is.

        Raises UnavailableError once the server stops: who waits for changes would otherwise keep it from ending.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ending or self._snapshot.generation > generation, seconds)
            if self._ending:
                raise UnavailableError("this server is stopping")
            return self._snapshot

    def end(self) -> None:
        """Ends those who wait for changes: there will be none."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def _load(self, model: str, entry: VersionEntry) -> LoadedVersion:
        return load_version(
            model, entry, require_proof=self._require_proof, limits=self.limits, slots=self.admission.slots
        )

    def _fill(self, name: str, number: str, *, again: float = 0.0) -> None:
        """Loads a version that is declared and missing, unless another thread does.

        Raises what loading it raises; it may be tried again after so many seconds.
        """
        key = name, number
        with self._changed:
            model = self._snapshot.models.get(name)
            entry = model.entry.versions.get(number) if model and number not in model.versions else None
            if model is None or entry is None or key in self._loading or (key in self._failed and not again):
                return
            self._loading.add(key)
        loaded, failed = None, None
        try:
            same = (version for version in model.versions.values() if version.entry.digest == entry.digest)
            loaded = next(same, None) or self._load(name, entry)
        except Exception as error:
            why = f"version {number} of {name} cannot be loaded; the log has the details"
            why = error.message if isinstance(error, ServiceError) else why
            failed = time.monotonic() + again, UnavailableError(why)
            raise
        finally:
            with self._changed:
                self._loading.discard(key)
                self._failed.pop(key, None)
                if failed:
                    self._failed[key] = failed
                if loaded:
                    self._snapshot = _with(self._snapshot, number, loaded)
                    self._prepared = self._prepared and _with(self._prepared, number, loaded)
                self._changed.notify_all()

    def _awaited(self, name: str, number: str, call: Asking | None) -> LoadedVersion:
        """A declared version, as soon as it is loaded. Raises UnavailableError, and what `call.check` raises."""
        with self.admission.slots, suppress(Exception):  # which is kept, and raised below
            self._fill(name, number)
        deadline = time.monotonic() + AWAITED_SECONDS
        with self._changed:
            while True:
                model = self._snapshot.models.get(name)
                if model is None or number not in model.entry.versions:
                    raise UnavailableError(f"version {number} of {name} is served no longer; try again")
                if (found := model.versions.get(number)) is not None:
                    return found
                if (failed := self._failed.get((name, number))) is not None:
                    raise UnavailableError(failed[1].message)
                if call is not None:
                    call.check()
                if time.monotonic() > deadline:
                    raise UnavailableError(f"version {number} of {name} is being loaded; try again")
                self._changed.wait(LOOK_SECONDS)

    def _loaded(self, model: str, number: str, identity: str) -> LoadedVersion:
        if self._on_demand is None:
            raise NotFoundError(f"version {number} of {model} is not loaded", field="version")
        leave()
        self._on_demand.get(model, number, identity)
        found = self._snapshot.model(model).versions.get(number)
        if found is None:  # loaded, and already displaced by others
            raise UnavailableError(f"version {number} of {model} was displaced by other versions; try again")
        return found


def _missing(snapshot: LoadedSnapshot) -> list[VersionKey]:
    """Versions that a snapshot names and lacks; those that models serve by default come first."""
    missing = [
        (name, number)
        for name, model in snapshot.models.items()
        if len(model.versions) < len(model.entry.versions)
        for number in model.entry.versions.keys() - model.versions.keys()
    ]
    return sorted(missing, key=lambda key: key[1] != snapshot.models[key[0]].entry.default_version)


def _lacks_as_before(served: LoadedModel, model: ModelEntry, number: str) -> bool:
    """Whether a version was declared before, is not loaded yet, and goes by the same names as before."""
    before, now = served.entry.versions.get(number), model.versions[number]
    same_names = (served.entry.default_version, served.entry.aliases) == (model.default_version, model.aliases)
    return before is not None and before.digest == now.digest and same_names


def _with(snapshot: LoadedSnapshot, number: str, version: LoadedVersion) -> LoadedSnapshot:
    """A snapshot with a version of it loaded, if it names that and lacks it."""
    model = snapshot.models.get(version.model)
    entry = model.entry.versions.get(number) if model else None
    if model is None or entry is None or entry.digest != version.entry.digest or number in model.versions:
        return snapshot
    now = LoadedModel(model.entry, {**model.versions, number: replace(version, entry=entry)})
    return replace(snapshot, models={**snapshot.models, version.model: now})


def _number(model: ModelEntry, version: str) -> str:
    """The version number that a request's `version` means."""
    if not version:
        if not model.default_version:
            raise UnavailableError(f"no version of {model.name} is loaded yet: {model.stale_reason or 'starting'}")
        return model.default_version
    if version.isascii() and version.isdigit():
        return checked_version(version, "version")
    alias = version.removeprefix("@")
    number = model.aliases.get(alias)
    if number is None:
        known = ", ".join(sorted(model.aliases)) or "none"
        raise NotFoundError(f"no alias {alias!r} of {model.name}; there are: {known}", field="version")
    return number


def checked_version(text: str, field: str) -> str:
    """The text, if it is a version number. Raises InvalidArgumentError: `01` is no other way to write `1`."""
    if not is_number(text):
        raise InvalidArgumentError(
            f"{field}: expected a version number such as 1, of at most nine digits and without leading zeros, "
            f"got {text[:40]!r}",
            field=field,
        )
    return text
