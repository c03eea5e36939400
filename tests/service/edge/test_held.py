"""service.edge.held: what all connections of a loop hold together."""

import contextlib
import socket

from hypothesis import given
from hypothesis import strategies as st

from service.edge import held
from service.edge.http2 import Connection
from service.edge.transport import Transport


@given(st.lists(st.integers(0, held.HELD_BYTES), max_size=12))
def test_those_that_hold_most_are_closed(sizes):
    """Connections are closed from the largest on until the rest is within the bound, and no more than that."""
    with contextlib.ExitStack() as stack:
        transports, holds = {}, {}
        for number, size in enumerate(sizes):
            transport = Transport(stack.enter_context(socket.socket()), "", 0.0)
            transport.connection = Connection(lambda *_: None, lambda *_: None, 1)
            transports[number], holds[transport.connection] = transport, size
        closed = []

        def close(transport):
            closed.append(holds[transport.connection])
            del transports[next(number for number, one in transports.items() if one is transport)]

        held.Held(transports, holds.__getitem__, close).shed()
        left = sorted(holds[transport.connection] for transport in transports.values())
        assert sum(left) <= held.HELD_BYTES
        assert closed == sorted(sizes, reverse=True)[: len(closed)]
        assert not closed or sum(left) + closed[-1] > held.HELD_BYTES


@given(st.lists(st.integers(0, held.HELD_BYTES // 8), max_size=30))
def test_growth_is_noticed(sizes):
    """It is time to look before a quarter of the bound and one step more have come unlooked at."""
    bound, unseen = held.Held({}, lambda _: 0, lambda _: None), 0
    for size in sizes:
        unseen += size
        if bound.grow(size):
            unseen = 0
        assert unseen <= held.HELD_BYTES // 4
