"""service.web.http: listening, and the address that people open."""

import socket

import pytest

from service.errors import InvalidArgumentError
from service.web import http


@pytest.mark.parametrize(
    ("address", "host"), [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::1]:0", "[::1]")]
)
def test_the_address_to_open(address, host):
    """What listens is found under an address of this machine."""
    with http.listen(address) as listening:
        assert http.url(listening) == f"http://{host}:{listening.getsockname()[1]}/"


def test_answers_are_not_held_back():
    """A connection sends the body of an answer at once, and does not wait until its headers were acknowledged."""
    with http.listen("127.0.0.1:0") as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_cannot_be_used():
    """A port that is taken, and what is no address, are said in one line."""
    with http.listen("127.0.0.1:0") as taken, pytest.raises(OSError, match=r"cannot listen on 127.*in use"):
        http.listen(f"127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(InvalidArgumentError, match="it is not HOST:PORT"):
        http.listen("5001")
