"""service.config: addresses, and a configuration on its way to a worker."""

from pathlib import Path

import pytest

from service import records
from service.config import Limits, ServerConfig, Tls, split_address, unix_path
from service.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:50051", ("127.0.0.1", 50051)), ("a.b:0", ("a.b", 0)), ("[::1]:65535", ("::1", 65535))],
)
def test_addresses(address, parts):
    """An address is a host and a port; an IPv6 host loses its brackets."""
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", "it is not HOST:PORT"),
        ("localhost:http", "it is not HOST:PORT"),
        ("http://localhost:80", "it is not HOST:PORT"),
        ("localhost:65536", "the highest port is 65535"),
        ("::1:80", r"stands in brackets, \[::1\]:80"),
        (":80", r"it names no host; 0\.0\.0\.0:80"),
    ],
)
def test_wrong_addresses(address, message):
    """What is no address is refused with the form that it should have."""
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        split_address(address)
    assert caught.value.field == "address"


def test_unix_sockets():
    """`unix:PATH` is a path, as long as the system takes it; other addresses are none."""
    assert unix_path("unix:/run/unroll.sock") == Path("/run/unroll.sock")
    assert unix_path("127.0.0.1:50051") is None
    for wrong in ("unix:", "unix:/", "unix:/" + "a" * 200):
        with pytest.raises(InvalidArgumentError):
            unix_path(wrong)


@pytest.mark.parametrize(
    "tls", [None, Tls(Path("c"), Path("k")), Tls(Path("c"), Path("k"), Path("a"), client_optional=True)]
)
def test_a_worker_gets_what_the_operator_set(tls):
    """A configuration comes out of its text as it went in, with TLS and limits."""
    config = ServerConfig(("models:/m@a", "models:/n/1"), cache=Path("/c"), tls=tls, limits=Limits(batch=7))
    assert records.from_json(records.to_json(config), ServerConfig) == config
