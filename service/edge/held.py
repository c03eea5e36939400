"""What all connections of a loop hold together, in bytes: bounded, by closing those that hold most."""

import logging
from collections.abc import Callable

from service.edge.http2 import Connection
from service.edge.transport import Transport
from service.logs import RateLimit

HELD_BYTES = 268_435_456  # of unfinished requests and unsent answers

logger = logging.getLogger(__name__)
logger.addFilter(RateLimit())  # peers decide how often they hold too much


class Held:
    """The bound of a loop. All of it is the thread's of the loop."""

    def __init__(
        self,
        transports: dict[int, Transport],
        unfinished: Callable[[Connection], int],
        close: Callable[[Transport], None],
    ) -> None:
        """unfinished: bytes of requests that a connection holds. close: ends a connection."""
        self._transports, self._unfinished, self._close = transports, unfinished, close
        self._grown = 0  # bytes since the last look

    def grow(self, size: int) -> bool:
        """Notes so many bytes more, where they are many; whether it is time to `shed`."""
        self._grown += size
        if self._grown <= HELD_BYTES // 4:
            return False
        self._grown = 0
        return True

    def shed(self) -> None:
        """Closes the connections that hold most until all together hold no more than they may."""
        while True:
            held = {transport: self._of(transport) for transport in self._transports.values()}
            if sum(held.values()) <= HELD_BYTES:
                return
            worst = max(held, key=held.__getitem__)
            logger.warning("a connection from %s held %d bytes, and was closed", worst.peer, held[worst])
            self._close(worst)

    def _of(self, transport: Transport) -> int:
        connection = transport.connection
        waiting = sum(map(len, connection.out)) + len(transport.rest) if transport.blocked else 0
        return waiting + connection.unsent_bytes + self._unfinished(connection)
