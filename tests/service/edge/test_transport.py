"""Connections and the time that they take of the edge's thread."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.transport import FAIR_SHARE, MOST_DEBT_SECONDS, Transport


@pytest.fixture(name="transport")
def a_transport():
    """A connection that began at 0 s."""
    with socket.socket() as sock:
        yield Transport(sock, "ipv4:127.0.0.1", 0.0)


times = st.lists(st.tuples(st.floats(1e-6, 1e-2), st.floats(1.0, 100.0)), min_size=1)


@given(times)
def test_a_fair_share_is_no_debt(taken):
    """A connection that takes no more than its fair share is in debt at no time after its first second."""
    with socket.socket() as sock:
        transport, now = Transport(sock, "", 0.0), MOST_DEBT_SECONDS
        for seconds, times_longer in taken:
            assert transport.debt_until <= now
            transport.charge(now, now + seconds)
            now += seconds * (times_longer / FAIR_SHARE) * (1 + 1e-9)


@given(times)
def test_debt_is_bounded(taken):
    """Whatever a connection took, its debt is paid back within a second."""
    with socket.socket() as sock:
        transport, now = Transport(sock, "", 0.0), 0.0
        for seconds, _ in taken:
            now += seconds
            transport.charge(now - seconds, now)
            assert now < transport.debt_until <= now + MOST_DEBT_SECONDS


def test_a_new_connection_is_in_debt(transport):
    """A connection that begins comes after those that pay back what they took."""
    assert transport.debt_until == MOST_DEBT_SECONDS


def test_who_takes_more_is_longer_in_debt(transport):
    """Of two connections that were heard at the same time, the one that took more time is in debt for longer."""
    with socket.socket() as sock:
        other = Transport(sock, "", 0.0)
        transport.charge(10.0, 10.001)
        other.charge(10.0, 10.002)
        assert transport.debt_until < other.debt_until
