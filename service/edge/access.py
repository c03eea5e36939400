"""Authentication: bearer tokens and client certificates become callers with roles."""

import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from google.protobuf.message import Message

from service.callers import ALL, READING, Caller, Callers, Entry, Jwt, Role, token_hash
from service.config import ServerConfig, split_address, unix_path
from service.edge.methods import denied
from service.errors import InvalidArgumentError, LimitExceededError, PermissionDeniedError, UnauthenticatedError
from service.version import DISTRIBUTION

ANONYMOUS = Caller("", frozenset())
LOCAL = Caller("local", ALL, "local")
MOST_KNOWN = 1024  # headers that are remembered with their callers
FREE_FAILURES = 5  # wrong credentials that a peer may show before it has to wait
LONGEST_WAIT_SECONDS = 60.0
MOST_PEERS = 4096  # whose failures are remembered
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def in_force(config: ServerConfig, listed: Callers | None) -> Callers:
    """All callers of a server: those of the file, if there is one, and the two tokens of the configuration.

    Without a file and without a reader token, who shows nothing may observe, predict and inspect.
    """
    entries = list(listed.entries) if listed else []
    for name, token, roles in (
        ("operator token", config.operator_token, ALL),
        ("reader token", config.reader_token, READING),
    ):
        if token:
            names = tuple(sorted(role.value for role in roles))
            entries.append(Entry(name, names, token_sha256=token_hash(token)))
    if listed:
        return replace(listed, entries=tuple(entries))
    anonymous = () if config.reader_token else tuple(sorted(role.value for role in READING))
    return Callers(tuple(entries), anonymous)


class Access:
    """The rules of one server, in one of its workers. Any thread asks; `update` replaces the callers whole."""

    def __init__(
        self,
        config: ServerConfig,
        callers: Callers | None = None,
        *,
        only_model: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`callers` are those in force; None: those of the configuration.

        `only_model` gives the name of the model that is served where it is the only one, else nothing.
        """
        self._only_model = only_model
        self._config = config
        self.certificates = config.tls is not None and config.tls.client_authority is not None
        self._failures = Failures(clock)
        self._rates = Rates(clock)
        self.update(callers or in_force(config, config.callers))

    def update(self, callers: Callers) -> None:
        """Puts other callers in force, for all calls that begin from now on."""
        loopback = is_loopback(self._config.address)
        trusting = not callers.entries and not self.certificates and not callers.listed and loopback
        self._anonymous = (
            LOCAL if trusting else replace(ANONYMOUS, roles=frozenset(Role(role) for role in callers.anonymous))
        )
        self._tokens = [entry for entry in callers.entries if entry.token_sha256]
        self._by_certificate = {entry.certificate: entry for entry in callers.entries if entry.certificate}
        self._by_jwt = [(entry, signing_keys(entry.jwt.keys)) for entry in callers.entries if entry.jwt]
        self._listed = callers.listed
        self._known: dict[str, tuple[Caller, float]] = {}  # by header: who it is, and until when it is believed
        # Where nobody can show anything, every call has the same caller, and its headers need not be read.
        self.everybody = None if callers.entries or self.certificates else self._anonymous

    def caller(self, authorization: str, certificate: str, peer: str = "") -> Caller:
        """The caller behind an `authorization` header and the name in a verified certificate; either may be empty.

        A server without callers and certificates looks at neither. A header counts before a certificate.

        Raises UnauthenticatedError for a header that is no known token, and for any header that is new here from a
        peer that has shown too many wrong ones.
        """
        if self.everybody is not None:
            return self.everybody
        if authorization:
            known = self._known.get(authorization)
            if known is not None and time.time() < known[1]:
                return known[0]
            return self._authenticated(authorization, peer)
        if certificate:
            return self._certified(certificate)
        return self._anonymous

    def check(self, caller: Caller, needed: Role) -> None:
        """Raises PermissionDeniedError where the caller lacks the role; UnauthenticatedError where it showed nothing.

        The latter only on a server where nobody may do anything without showing something.
        """
        if needed in (Role.ANYONE, Role.CALLER) or needed in caller.roles:
            return
        if not caller.how and not caller.roles:
            raise UnauthenticatedError("this server needs a token: `authorization: Bearer …`")
        raise denied(caller, needed)

    def check_model(self, caller: Caller, message: Message) -> None:
        """Raises PermissionDeniedError where a message names a model that is none of the caller's.

        Messages without a name pass where there are several models: they are refused for that, or are lists, which
        leave out what is none of the caller's.
        """
        if not caller.models:
            return
        name = model_named(message)
        if name is None:
            return
        if not (name := name or self._only_model()) or caller.may_use(name):
            return
        raise PermissionDeniedError(f"{caller.name} may not use the model {name[:100]!r}", field="model")

    def count(self, caller: Caller) -> None:
        """Counts a call of a caller that may make so many a second. Raises LimitExceededError."""
        if caller.calls_per_second:
            self._rates.take(caller)

    def _authenticated(self, authorization: str, peer: str) -> Caller:
        self._failures.check(peer)
        scheme, _, token = authorization.partition(" ")
        found = self._by_token(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            self._failures.add(peer)
            raise UnauthenticatedError("the token is not known here")
        if len(self._known) >= MOST_KNOWN:
            self._known = {}
        self._known[authorization] = found
        return found[0]

    def _by_token(self, token: str) -> tuple[Caller, float] | None:
        """The caller of a token, and until when it is believed; None where it is nobody's, or has expired."""
        shown, found, now = token_hash(token), None, time.time()
        for entry in self._tokens:  # all of them, so that the time says nothing
            if hmac.compare_digest(entry.token_sha256, shown):
                found = entry
        if found is not None:
            until = found.expires or float("inf")
            return (found.caller(), until) if now < until else None
        for entry, keys in self._by_jwt:
            assert entry.jwt is not None
            until = entry.expires or float("inf")
            claims = _claims(token, entry.jwt, keys)
            value = claims.get(entry.jwt.claim) if claims else None
            if claims and isinstance(value, str) and now < until and fnmatchcase(value, entry.jwt.value):
                return entry.caller(f"{entry.name}:{value}"[:200]), min(until, float(claims["exp"]))
        return None

    def _certified(self, name: str) -> Caller:
        entry = self._by_certificate.get(name)
        if entry is not None and (not entry.expires or time.time() < entry.expires):
            return entry.caller()
        roles = self._anonymous.roles if self._listed else ALL
        return Caller(name, roles, "certificate", personal=True)


class Failures:
    """Wrong credentials, by peer: from some number on, each makes the peer wait for longer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._peers: dict[str, tuple[int, float]] = {}  # how many, and until when the peer waits

    def check(self, peer: str) -> None:
        """Raises UnauthenticatedError while a peer has to wait."""
        _, until = self._peers.get(peer, (0, 0.0))
        left = until - self._clock()
        if left > 0:
            raise UnauthenticatedError(f"too many unknown tokens came from this address; try again in {left:.0f} s")

    def add(self, peer: str) -> None:
        """Counts one."""
        now = self._clock()
        count, until = self._peers.pop(peer, (0, 0.0))
        if now > until + LONGEST_WAIT_SECONDS:
            count = 0
        count += 1
        wait = min(2.0 ** (count - FREE_FAILURES), LONGEST_WAIT_SECONDS) if count > FREE_FAILURES else 0.0
        while len(self._peers) >= MOST_PEERS:
            self._peers.pop(next(iter(self._peers)), None)
        self._peers[peer] = count, now + wait


class Rates:
    """Calls a second of callers that have a bound: a bucket each, which holds those of one second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # by caller: what is left, and when that was

    def take(self, caller: Caller) -> None:
        """Takes one call. Raises LimitExceededError where none is left."""
        rate, now = caller.calls_per_second, self._clock()
        most = max(rate, 1.0)
        left, then = self._buckets.get(caller.name, (most, now))
        left = min(most, left + (now - then) * rate)
        if left < 1.0:
            self._buckets[caller.name] = left, now
            raise LimitExceededError(
                f"{caller.name} may make {rate:g} calls a second of each worker", limit=rate, bound="calls_per_second"
            )
        if len(self._buckets) >= MOST_KNOWN and caller.name not in self._buckets:
            self._buckets.clear()
        self._buckets[caller.name] = left - 1.0, now


def model_named(message: Message) -> str | None:
    """The model that a request names, empty where it leaves it out; None where it has no place for a name."""
    fields = message.DESCRIPTOR.fields_by_name
    if "options" in fields:  # of a stream; where the first message has none, it means the only model
        return model_named(getattr(message, "options"))  # noqa: B009  # checked in the line above
    for field in ("model", "model_name", "name"):
        if field in fields:
            name: str = getattr(message, field)
            return name
    return None


def signing_keys(jwks: Mapping[str, Any]) -> list[Any]:
    """The keys of a JSON Web Key Set. Raises InvalidArgumentError where it is none, or PyJWT is not installed."""
    try:
        import jwt
    except ImportError:
        raise InvalidArgumentError(f"callers with a jwt need PyJWT: pip install '{DISTRIBUTION}[jwt]'") from None
    try:
        return list(jwt.PyJWKSet.from_dict(dict(jwks)).keys)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgumentError(f"this is no JSON Web Key Set with keys that sign: {error}") from None


def _claims(token: str, wanted: Jwt, keys: Sequence[Any]) -> dict[str, Any] | None:
    """What a JSON Web Token claims, if its issuer signed it for us and it is in force; else None."""
    import jwt

    try:
        name = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in keys if name is None or key.key_id == name), None)
        if key is None:
            return None
        return jwt.decode(
            token, key.key, algorithms=ALGORITHMS, audience=wanted.audience, issuer=wanted.issuer,
            options={"require": ["exp", "iss", "aud"]},
        )  # fmt: skip
    except jwt.PyJWTError:
        return None


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `HOST:PORT` or `unix:PATH`."""
    if unix_path(address):
        return True
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
