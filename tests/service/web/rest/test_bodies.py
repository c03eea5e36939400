"""service.web.rest.bodies: what a body may cost, whatever it claims to be."""

import asyncio
import gzip
import json
import zlib
from http.client import HTTPConnection

import pytest
from starlette.requests import Request

from service.errors import InvalidArgumentError
from service.web.rest import bodies
from service.web.rest.answers import TooLargeError
from service.web.rest.bodies import compressed, decompressed
from tests.service.web.rest.test_routes import BODY, INFER, ask


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_compressed(address, encoding):
    """A compressed body is unpacked; one that is damaged, cut off or followed by more is refused."""
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    whole = pack(json.dumps(BODY).encode())
    headers = {"Content-Encoding": encoding}
    assert ask(address, INFER, whole, **headers)[0] == 200
    for body in (b"no such thing", whole[:-9], whole + b"more", b""):
        status, found = ask(address, INFER, body, **headers)
        assert (status, encoding in found["error"]) == (400, True)


def test_an_unknown_encoding(address):
    """An encoding that is not known is refused by name."""
    status, found = ask(address, INFER, BODY, **{"Content-Encoding": "br"})
    assert (status, found["error"]) == (400, "content-encoding: expected gzip, deflate or identity, got 'br'")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_unpacks_to_much(encoding):
    """A small body that would become a large one is refused before it does."""
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = pack(bytes(1_000_000))
    assert len(bomb) < 2_000
    assert decompressed(bomb, encoding, 1_000_000) == bytes(1_000_000)
    with pytest.raises(TooLargeError, match="the body has 1000 bytes or more"):
        decompressed(bomb, encoding, 999)


def test_a_body_that_is_too_large(address, monkeypatch):
    """A body beyond the bound is refused with 413, as soon as so much has come."""
    monkeypatch.setattr(bodies, "LARGEST", 100_000)
    status, found = ask(address, INFER, b" " * 100_001)
    assert (status, "the limit is 100000" in found["error"]) == (413, True)


def test_json_that_is_too_large(address, monkeypatch):
    """Of JSON, which takes many times its size in memory, less is taken than of binary tensors."""
    monkeypatch.setattr("service.web.rest.tensors.LARGEST_DOCUMENT", 50)
    status, found = ask(address, INFER, BODY)
    assert (status, "send tensors in binary form" in found["error"]) == (413, True)


def request(body):
    """A request with a body."""

    async def receive():
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_many_bodies():
    """While bodies take all the memory that there is for them, another one is refused, and later it is not."""
    held = bodies.Bodies(10)

    async def read():
        async with held.read(request(b"12345678")) as first:
            with pytest.raises(bodies.BusyError, match="more than 10 bytes; try again"):
                async with held.read(request(b"abc")):
                    pass
            async with held.read(request(b"ab")) as second:
                assert (first, second) == (b"12345678", b"ab")
        async with held.read(request(b"0123456789")) as third:
            assert third == b"0123456789"

    asyncio.run(read())


def test_a_body_that_does_not_come(address, monkeypatch):
    """A body that stops half-way is given up after a time."""
    monkeypatch.setattr(bodies, "SECONDS", 0.2)
    connection = HTTPConnection(address, timeout=60)
    connection.putrequest("POST", INFER)
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"{")
    answer = connection.getresponse()
    assert (answer.status, "did not arrive" in json.loads(answer.read())["error"]) == (504, True)
    connection.close()


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, deflate;q=0.5", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", ""),
        ("identity", ""),
        ("", ""),
    ],
)
def test_what_is_accepted(accepted, encoding):
    """An answer is compressed as the first encoding that the header accepts and we know."""
    packed, name = compressed(bytes(5_000), accepted)
    assert name == encoding
    assert (decompressed(packed, name) if name else packed) == bytes(5_000)
    assert compressed(b"short", accepted) == (b"short", "")


def test_no_unknown_errors():
    """A wrong body is the caller's fault."""
    with pytest.raises(InvalidArgumentError, match="the body is not gzip"):
        decompressed(b"\x1f\x8b" + bytes(20), "gzip")
