"""service.edge.access: who may do what."""

from pathlib import Path

import pytest

from service.config import ServerConfig, Tls, split_address
from service.edge.access import Access, is_loopback
from service.edge.methods import Role
from service.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError

TLS = Tls(Path("cert"), Path("key"))
MUTUAL = Tls(Path("cert"), Path("key"), Path("ca"))


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
def test_rules(config, authorization, certificate, read, operate):
    """Reading is open unless a token guards it; operating needs a token, a certificate, or a loopback address."""
    assert may(config, Role.READER, authorization, certificate) is read
    assert may(config, Role.OPERATOR, authorization, certificate) is operate


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False),
     ("[::]:1", False), ("10.0.0.1:1", False), ("example.org:1", False)],
)  # fmt: skip
def test_loopback(address, loopback):
    """Only addresses of this machine alone count as loopback."""
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_malformed_address(address):
    """An address without a port from 0 to 65535 is refused."""
    with pytest.raises(InvalidArgumentError, match="HOST:PORT"):
        split_address(address)
