"""service.edge.access: who calls, and may they."""

import datetime
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.callers import ALL, Callers, Entry, Jwt, Role, token_hash
from service.config import ServerConfig, Tls, split_address, unix_path
from service.edge.access import Access, in_force, is_loopback, model_named, signing_keys
from service.errors import (
    InvalidArgumentError,
    LimitExceededError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from service.oip.messages import pb as oip
from service.pb import unroll_pb2 as pb

TLS = Tls(Path("cert"), Path("key"))
MUTUAL = Tls(Path("cert"), Path("key"), Path("ca"))
CONFIG = ServerConfig(("models:/a@b",))


def may(config, needed, authorization="", certificate=""):
    access = Access(ServerConfig(("models:/a@b",), **config))
    try:
        access.check(access.caller(authorization, certificate), needed)
    except (PermissionDeniedError, UnauthenticatedError) as error:
        return type(error)
    return True


@pytest.mark.parametrize(
    ("config", "authorization", "certificate", "read", "operate"),
    [
        ({}, "", "", True, True),
        ({"address": "0.0.0.0:1"}, "", "", True, PermissionDeniedError),
        ({"address": "[::]:1"}, "", "", True, PermissionDeniedError),
        ({"address": "0.0.0.0:1", "tls": TLS}, "", "", True, PermissionDeniedError),
        ({"operator_token": "o"}, "", "", True, PermissionDeniedError),
        ({"operator_token": "o"}, "Bearer o", "", True, True),
        ({"operator_token": "o"}, "bearer o", "", True, True),
        ({"operator_token": "o"}, "Bearer x", "", UnauthenticatedError, UnauthenticatedError),
        ({"operator_token": "o"}, "Basic o", "", UnauthenticatedError, UnauthenticatedError),
        ({"operator_token": "o"}, "Bearer ", "", UnauthenticatedError, UnauthenticatedError),
        ({"reader_token": "r"}, "", "", UnauthenticatedError, UnauthenticatedError),
        ({"reader_token": "r"}, "Bearer r", "", True, PermissionDeniedError),
        ({"reader_token": "r", "operator_token": "o"}, "Bearer o", "", True, True),
        ({"address": "0.0.0.0:1", "tls": MUTUAL}, "", "alice", True, True),
        ({"tls": MUTUAL}, "", "", True, PermissionDeniedError),
    ],
)
def test_without_a_file(config, authorization, certificate, read, operate):
    """Reading is open unless a token guards it; operating needs a token, a certificate, or a loopback address."""
    for role in ALL:
        expected = read if role in (Role.OBSERVE, Role.PREDICT, Role.INSPECT) else operate
        assert may(config, role, authorization, certificate) is expected


def listed(*entries, anonymous=()):
    """Access by a file with these entries."""
    return Access(CONFIG, in_force(CONFIG, Callers(entries, anonymous, listed=True)))


def token_entry(name, token, roles=("predict",), **rest):
    return Entry(name, roles, token_sha256=token_hash(token), **rest)


def test_roles_of_a_file():
    """Each caller of a file has its roles and no other; who shows nothing has what the file gives everybody."""
    access = listed(token_entry("a", "one"), token_entry("b", "two", ("override", "promote")), anonymous=("observe",))
    for header, name, roles in (
        ("Bearer one", "a", {Role.PREDICT}),
        ("Bearer two", "b", {Role.OVERRIDE, Role.PROMOTE}),
        ("", "", {Role.OBSERVE}),
    ):
        for _ in range(2):  # the second time as remembered
            caller = access.caller(header, "")
            assert (caller.name, caller.roles) == (name, roles)
        for role in ALL - roles:
            with pytest.raises(PermissionDeniedError, match=f"needs the role {role.value} "):
                access.check(caller, role)
        access.check(caller, Role.ANYONE)


def test_a_file_closes_loopback():
    """With a file, even an empty one, nobody is trusted for calling from this machine."""
    access = listed()
    with pytest.raises(UnauthenticatedError):
        access.check(access.caller("", ""), Role.PREDICT)


def test_tokens_of_the_environment_go_on():
    """Operator and reader token are entries next to those of the file."""
    config = ServerConfig(("models:/a@b",), operator_token="o", reader_token="r")
    access = Access(config, in_force(config, Callers((token_entry("a", "one"),), listed=True)))
    assert access.caller("Bearer o", "").roles == ALL
    assert access.caller("Bearer r", "").name == "reader token"
    assert access.caller("Bearer one", "").name == "a"


def test_certificates_of_a_file():
    """A certificate of the file has its roles; any other may do what everybody may, and is known by its name."""
    config = ServerConfig(("models:/a@b",), tls=MUTUAL)
    entries = (
        Entry("alice", ("promote",), certificate="cn-alice"),
        Entry("old", ("promote",), certificate="cn-old", expires=1.0),
    )
    access = Access(config, in_force(config, Callers(entries, ("observe",), listed=True)))
    alice, other, expired = (access.caller("", name) for name in ("cn-alice", "cn-bob", "cn-old"))
    assert (alice.name, alice.roles, alice.personal) == ("alice", {Role.PROMOTE}, True)
    assert (other.name, other.roles) == ("cn-bob", {Role.OBSERVE})
    assert expired.roles == {Role.OBSERVE}


def test_what_has_expired():
    """A token is unknown once its day is over, also one that is remembered."""
    access = listed(token_entry("a", "one", expires=1.0))
    with pytest.raises(UnauthenticatedError):
        access.caller("Bearer one", "")


def test_other_callers_in_force():
    """When the file changes, who was taken out of it is unknown at once, remembered or not."""
    access = listed(token_entry("a", "one"))
    assert access.caller("Bearer one", "").name == "a"
    access.update(in_force(CONFIG, Callers((token_entry("b", "two"),), listed=True)))
    with pytest.raises(UnauthenticatedError):
        access.caller("Bearer one", "")
    assert access.caller("Bearer two", "").name == "b"


def test_wrong_tokens_make_a_peer_wait():
    """After five unknown tokens a peer waits longer and longer; others, and tokens known from there, do not."""
    now = [0.0]
    callers = in_force(CONFIG, Callers((token_entry("a", "one"), token_entry("b", "two")), listed=True))
    access = Access(CONFIG, callers, clock=lambda: now[0])
    assert access.caller("Bearer one", "", "peer").name == "a"
    waits = []
    for _ in range(12):
        with pytest.raises(UnauthenticatedError, match="not known"):
            access.caller("Bearer x", "", "peer")
        before = now[0]
        while True:
            try:
                access._failures.check("peer")
                break
            except UnauthenticatedError:
                with pytest.raises(UnauthenticatedError, match="try again in"):
                    access.caller("Bearer two", "", "peer")
                now[0] += 1.0
        waits.append(now[0] - before)
        assert access.caller("Bearer one", "", "peer").name == "a"
        assert access.caller("Bearer one", "", "other").name == "a"
    assert waits == [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60]
    assert access.caller("Bearer two", "", "peer").name == "b"


def test_calls_a_second():
    """A caller with a rate has that many calls a second, and gets new ones as time passes."""
    now = [0.0]
    callers = in_force(CONFIG, Callers((token_entry("a", "one", calls_per_second=2.0),), listed=True))
    access = Access(CONFIG, callers, clock=lambda: now[0])
    caller = access.caller("Bearer one", "")

    def made():
        count = 0
        while True:
            try:
                access.count(caller)
            except LimitExceededError:
                return count
            count += 1

    assert made() == 2
    now[0] = 0.5
    assert made() == 1
    now[0] = 100.0
    assert made() == 2


def test_models_of_a_caller():
    """A caller with patterns of models may name only those, wherever a request has the name."""
    callers = in_force(CONFIG, Callers((token_entry("a", "one", models=("sales-*",)),), listed=True))
    only = [""]
    access = Access(CONFIG, callers, only_model=lambda: only[0])
    caller = access.caller("Bearer one", "")
    stream = pb.PredictStreamRequest

    def requests(name):
        return [
            pb.PredictRequest(model=name),
            stream(options=pb.StreamOptions(model=name)),
            pb.GetWeightsRequest(model=name),
            oip.ModelInferRequest(model_name=name),
            oip.ModelMetadataRequest(name=name),
            oip.RepositoryModelLoadRequest(model_name=name),
        ]

    for message in requests("sales-1"):
        access.check_model(caller, message)
    for message in requests("costs"):
        with pytest.raises(PermissionDeniedError, match="costs"):
            access.check_model(caller, message)
    only[0] = "costs"
    for message in [*requests(""), stream()]:
        with pytest.raises(PermissionDeniedError, match="costs"):
            access.check_model(caller, message)
    only[0] = "sales-1"
    for message in [*requests(""), stream()]:
        access.check_model(caller, message)
    access.check_model(caller, pb.ListModelsRequest())
    assert model_named(pb.ListModelsRequest()) is None
    access.check_model(access.caller("Bearer one", ""), oip.ServerMetadataRequest())


@pytest.fixture(scope="module")
def issuer():
    """An issuer of tokens: its key set, and a function that signs claims."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))

    def sign(signing=key, algorithm="ES256", **changes):
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
        claims = {"iss": "https://issuer", "aud": "unroll", "sub": "repo:me/app", "exp": soon, **changes}
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, signing, algorithm=algorithm, headers={"kid": "k1"})

    return {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "ES256"}]}, sign


def test_tokens_of_an_issuer(issuer):
    """A token that an issuer signed for us is its claim's caller; one by or for another, too old, or open is not."""
    keys, sign = issuer
    entry = Entry("ci", ("promote",), jwt=Jwt("https://issuer", keys, "unroll", "sub", "repo:me/*"))
    access = listed(entry)
    for _ in range(2):
        caller = access.caller(f"Bearer {sign()}", "")
        assert (caller.name, caller.how, caller.roles) == ("ci:repo:me/app", "jwt", {Role.PROMOTE})
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    for n, token in enumerate(
        (
            sign(signing=ec.generate_private_key(ec.SECP256R1())),
            sign(signing=None, algorithm="none"),
            sign(signing="secret-that-is-long-enough-for-this-one", algorithm="HS256"),
            sign(iss="https://other"),
            sign(aud="other"),
            sign(sub="repo:you/app"),
            sign(sub=None),
            sign(exp=past),
            sign(exp=None),
            "not.a.token",
        )
    ):
        with pytest.raises(UnauthenticatedError, match="not known"):
            access.caller(f"Bearer {token}", "", f"peer{n}")


def test_keys_that_are_none():
    """What is no key set, or has no key, is refused."""
    for keys in ({}, {"keys": []}, {"keys": [{"kty": "oct"}]}, {"keys": "x"}):
        with pytest.raises(InvalidArgumentError, match="JSON Web Key Set"):
            signing_keys(keys)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False),
     ("unix:/run/unroll", True), ("[::]:1", False), ("10.0.0.1:1", False), ("example.org:1", False)],
)  # fmt: skip
def test_loopback(address, loopback):
    """Only addresses of this machine alone count as loopback."""
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "is not HOST:PORT"),
        ("127.0.0.1", "is not HOST:PORT"),
        ("127.0.0.1:", "is not HOST:PORT"),
        ("127.0.0.1:x", "is not HOST:PORT"),
        ("http://127.0.0.1:50051", "is not HOST:PORT"),
        ("[::1:50051", "is not HOST:PORT"),
        ("127.0.0.1:70000", "highest port is 65535"),
        (":51105", "0.0.0.0:51105 .* listens on all interfaces"),
        ("::1:51106", r"\[::1\]:51106"),
    ],
)
def test_malformed_address(address, reason):
    """An address that cannot be listened on is refused with what to write instead."""
    with pytest.raises(InvalidArgumentError, match=reason):
        split_address(address)


@pytest.mark.parametrize("address", ["unix:", "unix:/", "unix:/" + "x" * 98])
def test_malformed_path(address):
    """A unix address without a path that the system takes is refused."""
    with pytest.raises(InvalidArgumentError, match="unix"):
        unix_path(address)
