"""Callers and their roles: read from a YAML file, or made from the operator and reader tokens.

callers:
- name: forecasting                    # in tags, logs and the audit
token_sha256: 5e88…                  # or `certificate: NAME`, or `jwt: {issuer, jwks, audience, claim, value}`
roles: [predict, inspect]
models: [sales-*]                    # default: all
expires: 2027-01-31                  # a day, or a moment with its zone; default: never
calls_per_second: 100                # in each worker; default: no bound
streams: 16                          # open at once in each worker; default: the server's bound
anonymous: {roles: [observe]}            # who shows nothing; default: no role
"""

import datetime
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from service.errors import InvalidArgumentError

NAME = re.compile(r"[\w.@:/ -]{1,100}")
TOKEN_SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_BYTES = 1_000_000  # of a file of callers


class Role(Enum):
    """What a caller must be allowed to do."""

    ANYONE = "anyone"  # no credentials are looked at
    CALLER = "caller"  # credentials are looked at, and nothing is asked of them
    OBSERVE = "observe"
    PREDICT = "predict"
    INSPECT = "inspect"
    OVERRIDE = "override"
    PROMOTE = "promote"
    LOAD = "load"

    @property
    def text(self) -> str:
        """What it allows, in words."""
        return _TEXTS[self]

    @property
    def operates(self) -> bool:
        """Whether it changes what others are served."""
        return self in OPERATING


_TEXTS = {
    Role.ANYONE: "asking for health; every caller has it",
    Role.CALLER: "asking who one is; every caller has it",
    Role.OBSERVE: "listing models, versions and metadata, watching them, statistics, reflection",
    Role.PREDICT: "predictions, also in streams",
    Role.INSPECT: "weights, traces, and what-ifs on one's own calls",
    Role.OVERRIDE: "registering a version with other weights",
    Role.PROMOTE: "moving an alias, also as part of an override",
    Role.LOAD: "having models served, or served no longer",
}
OPERATING = frozenset((Role.OVERRIDE, Role.PROMOTE, Role.LOAD))
GRANTED = tuple(role for role in Role if role not in (Role.ANYONE, Role.CALLER))  # what an entry may have
READING = frozenset((Role.OBSERVE, Role.PREDICT, Role.INSPECT))
ALL = frozenset(GRANTED)


@dataclass(frozen=True)
class Caller:
    """Who calls, as the server authenticated it."""

    name: str
    roles: frozenset[Role]
    how: str = ""  # token, certificate, jwt; local: trusted on a loopback address; empty: showed nothing
    personal: bool = False  # whether only one caller can have this name; many may share a token
    models: tuple[str, ...] = ()  # patterns of names; empty: all
    calls_per_second: float = 0.0  # 0: no bound
    streams: int = 0  # 0: the server's bound

    def may_use(self, model: str) -> bool:
        """Whether a model is among those of the caller."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True)
class Jwt:
    """Which tokens of an issuer are a caller's."""

    issuer: str
    keys: Mapping[str, Any]  # a JSON Web Key Set
    audience: str
    claim: str = "sub"
    value: str = "*"  # pattern of what the claim says
    source: str = ""  # file or URL of the keys


@dataclass(frozen=True)
class Entry:
    """A caller of the file, and how it is known. Exactly one of token, certificate and jwt is there."""

    name: str
    roles: tuple[str, ...]
    token_sha256: str = ""
    certificate: str = ""
    jwt: Jwt | None = None
    models: tuple[str, ...] = ()
    expires: float = 0.0  # seconds since the epoch; 0: never
    calls_per_second: float = 0.0
    streams: int = 0

    def caller(self, name: str = "") -> Caller:
        """The caller, under its own name or one that its token says."""
        how = "token" if self.token_sha256 else "certificate" if self.certificate else "jwt"
        roles = frozenset(Role(role) for role in self.roles)
        personal = how != "token"
        return Caller(name or self.name, roles, how, personal, self.models, self.calls_per_second, self.streams)


@dataclass(frozen=True)
class Callers:
    """All callers of a server."""

    entries: tuple[Entry, ...] = ()
    anonymous: tuple[str, ...] = ()  # roles of who shows nothing
    listed: bool = False  # whether there is a file: certificates that are not in it have no role then
    valid: bool = True  # False: the file has an error by now, and these are an earlier one's


def token_hash(token: str) -> str:
    """The SHA-256 of a token, as an entry has it."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """A token that nobody can guess."""
    return f"unroll_{secrets.token_urlsafe(32)}"


def read(file: Path) -> Callers:
    """The callers of a file, without the keys of issuers (`Jwt.source` names those).

    Raises InvalidArgumentError, with file and entry, for anything that is not as it should be.
    """
    import yaml

    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o007:
                raise InvalidArgumentError(
                    f"{file}: users other than its owner and group can access it: chmod o-rwx {file}"
                )
            text = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidArgumentError(f"{file}: {error.strerror or error}") from None
    if len(text) > MOST_BYTES:
        raise InvalidArgumentError(f"{file}: larger than {MOST_BYTES} bytes")
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise InvalidArgumentError(f"{file}: {place}{getattr(error, 'problem', None) or 'it is not YAML'}") from None
    try:
        return _callers(data)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{file}: {error.message}") from None


def check_entry(lines: str) -> None:
    """Raises InvalidArgumentError for lines, such as `written` gives, that a file of callers may not have."""
    import yaml

    _callers({"callers": yaml.safe_load(lines)})


def _callers(data: Any) -> Callers:
    top = _fields(data, "the file", {"callers": list, "anonymous": dict})
    entries = tuple(_entry(entry, f"callers[{i}]") for i, entry in enumerate(top.get("callers", [])))
    for what in ("name", "token_sha256", "certificate"):
        values = [value for entry in entries if (value := getattr(entry, what))]
        if twice := {value for value in values if values.count(value) > 1}:
            raise InvalidArgumentError(f"two callers have the {what} {sorted(twice)[0]}")
    anonymous = _fields(top.get("anonymous", {}), "anonymous", {"roles": list})
    return Callers(entries, _roles(anonymous.get("roles", []), "anonymous"), listed=True)


_ENTRY = {
    "name": str, "token_sha256": str, "certificate": str, "jwt": dict, "roles": list, "models": list,
    "expires": (str, datetime.date), "calls_per_second": (int, float), "streams": int,
}  # fmt: skip
_JWT = {"issuer": str, "jwks": str, "audience": str, "claim": str, "value": str}


def _entry(data: Any, place: str) -> Entry:
    given = _fields(data, place, _ENTRY)
    name = given.get("name", "")
    if not NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"{place}.name: 1 to 100 letters, digits and ._@:/- are expected, not {name[:100]!r}"
        )
    place = f"{place} ({name})"
    known_by = [key for key in ("token_sha256", "certificate", "jwt") if given.get(key)]
    if len(known_by) != 1:
        raise InvalidArgumentError(f"{place}: one of token_sha256, certificate and jwt is expected, not {known_by}")
    token = given.get("token_sha256", "")
    if token and not TOKEN_SHA256.fullmatch(token):
        raise InvalidArgumentError(f"{place}.token_sha256: 64 hexadecimal digits in lower case are expected")
    models = _texts(given.get("models", []), f"{place}.models")
    rate, streams = given.get("calls_per_second", 0), given.get("streams", 0)
    for what, number in (("calls_per_second", rate), ("streams", streams)):
        if what in given and not 0 < number < 1e9:
            raise InvalidArgumentError(f"{place}.{what}: a number above 0 is expected, not {number}")
    return Entry(
        name=name,
        roles=_roles(given.get("roles", []), place),
        token_sha256=token,
        certificate=given.get("certificate", ""),
        jwt=_jwt(given["jwt"], f"{place}.jwt") if "jwt" in given else None,
        models=models,
        expires=_moment(given["expires"], f"{place}.expires") if "expires" in given else 0.0,
        calls_per_second=float(rate),
        streams=streams,
    )


def _jwt(data: Any, place: str) -> Jwt:
    given = _fields(data, place, _JWT)
    for needed in ("issuer", "jwks", "audience"):
        if not given.get(needed):
            raise InvalidArgumentError(f"{place}.{needed} is missing")
    return Jwt(
        given["issuer"], {}, given["audience"], given.get("claim", "sub"), given.get("value", "*"), given["jwks"]
    )


def _fields(data: Any, place: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping that has no other keys than those known, each of its type."""
    if not isinstance(data, dict):
        raise InvalidArgumentError(f"{place}: a mapping with {', '.join(known)} is expected")
    for key, value in data.items():
        if key not in known:
            raise InvalidArgumentError(f"{place}: there is no {str(key)[:100]!r}; there are {', '.join(known)}")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise InvalidArgumentError(f"{place}.{key}: {type(value).__name__} is not what is expected here")
    return data


def _texts(data: list[Any], place: str) -> tuple[str, ...]:
    if not all(isinstance(text, str) and text for text in data):
        raise InvalidArgumentError(f"{place}: a list of texts is expected")
    return tuple(data)


def _roles(data: list[Any], place: str) -> tuple[str, ...]:
    names = [role.value for role in GRANTED]
    for role in data:
        if role not in names:
            raise InvalidArgumentError(f"{place}.roles: there is no role {role!r}; there are {', '.join(names)}")
    return tuple(data)


def _moment(value: Any, place: str) -> float:
    """Seconds since the epoch of a day's end, or of a moment. A moment without a zone is in UTC."""
    try:
        if isinstance(value, str):
            kind = datetime.date if len(value) == len("2027-01-31") else datetime.datetime
            value = kind.fromisoformat(value)
        if not isinstance(value, datetime.datetime):
            value = datetime.datetime.combine(value, datetime.time.max)
        moment: datetime.datetime = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{place}: a day or a moment is expected, such as 2027-01-31") from None


def written(name: str, token: str, roles: Iterable[Role], models: Iterable[str], expires: str) -> str:
    """The lines to add to the file for a caller with a token."""
    import yaml

    entry: dict[str, Any] = {"name": name, "token_sha256": token_hash(token), "roles": [role.value for role in roles]}
    if models := list(models):
        entry["models"] = models
    if expires:
        entry["expires"] = expires
    lines = yaml.safe_dump([entry], sort_keys=False, default_flow_style=None, width=1000).splitlines()
    return "\n".join(f"  {line}" for line in lines)
