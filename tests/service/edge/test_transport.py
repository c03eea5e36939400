"""Connections, and whose turn it is on the edge's thread."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.http2 import Connection
from service.edge.transport import MOST_PATIENCE_SECONDS, Transport


def begun(sock, now=0.0):
    """A connection that begins."""
    transport = Transport(sock, "ipv4:127.0.0.1", now)
    transport.connection = Connection(lambda *_: None, lambda *_: None, 1)
    return transport


@pytest.fixture(name="transport")
def a_transport():
    """A connection that began at 0 s."""
    with socket.socket() as sock:
        yield begun(sock)


def test_a_new_connection_comes_last(transport):
    """A connection that begins waits as long as one that took much: to come again gains nothing."""
    transport.had(0.0, 0.0)
    heavy = transport.due
    transport.had(0.0, 1.0)
    assert heavy < begun(transport.sock, 1.0).due == transport.due


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_what_takes_less_is_due_earlier(one, other):
    """Of two connections that were served until the same time, the one that took less is due no later."""
    with socket.socket() as sock:
        first, second = begun(sock), begun(sock)
        first.had(10.0 - one, 10.0)
        second.had(10.0 - other, 10.0)
        assert (first.due <= second.due) == (one <= other) or first.due == second.due


@given(st.lists(st.floats(1e-5, 1e-3), min_size=2, max_size=40))
def test_nobody_waits_for_ever(pieces):
    """However little the others take, a connection that is ready waits for its bound and a piece of each at most."""
    with socket.socket() as sock:
        connections = [(begun(sock), piece) for piece in pieces]
        now, served = 0.0, dict.fromkeys(range(len(pieces)), 0.0)
        for _ in range(2_000):
            number = min(served, key=lambda i: connections[i][0].due)
            transport, piece = connections[number]
            assert now - served[number] <= MOST_PATIENCE_SECONDS + sum(pieces) + 1e-9
            transport.had(now, now + piece)
            now += piece
            served[number] = now


def test_requests_come_before_the_rest(transport):
    """Of two connections that took as long, the one from which a request arrived meanwhile is due earlier."""
    other = begun(transport.sock)
    transport.connection.requests = 1
    assert transport.had(0.0, 1e-5)
    assert not other.had(0.0, 1e-5)
    assert transport.due < other.due
    assert not transport.had(1e-5, 2e-5)
