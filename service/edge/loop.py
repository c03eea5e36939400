"""The event loop of a worker: one thread that reads and writes all connections (epoll) and runs posted callbacks.

It knows HTTP/2 connections, and nothing of what they carry.
"""

import heapq
import itertools
import logging
import math
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from service.edge.frames import LAST_STREAM
from service.edge.held import Held
from service.edge.sockets import Listener, handshake, most_connections
from service.edge.tls import certificate_name
from service.edge.transport import ACKNOWLEDGE_SECONDS, Patience, Protocol_, Transport, Verdict
from service.logs import RateLimit

READ_BYTES = 65_536  # from a connection at a time: hundreds of small calls
READS_OF_TLS = 8  # records are 16 KiB
PIECE_SECONDS = 3e-5  # for what one connection sent; it goes on when it is due again
TURN_SECONDS, TURN_SECONDS_EACH = 5e-5, 1e-6  # for all that is ready; the rest is sorted in with what becomes ready
TURN_REQUESTS_SECONDS = 5e-4  # more, at most, for a turn in which requests arrive
ACCEPTED = 64  # connections at a time
MOST_EVENTS = 256  # in a turn
MOST_OUT = 256  # pieces that wait for a socket, beyond which nothing more is read from it
LOOK_SECONDS = 1.0  # between two looks at who is slow
IN, OUT = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

logger = logging.getLogger(__name__)
logger.addFilter(RateLimit())  # peers decide how often something is wrong with them


class Loop:
    """The thread, its sockets, and its timers. Everything but `listen`, `start`, `post` and `drain` is the thread's."""

    def __init__(
        self, protocol: Protocol_, *, silent_seconds: float, age_seconds: float = 0.0, idle_seconds: float = 0.0
    ) -> None:
        """silent_seconds: after which a peer is pinged. age_seconds, idle_seconds: of connections; 0: no limit."""
        self._protocol = protocol
        self._patience = Patience(silent_seconds, age_seconds, idle_seconds)
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, IN)
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._asleep = False
        self._listeners: dict[int, Listener] = {}
        self._deaf = False  # whether no descriptors are left to accept with
        self._most = most_connections()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._next_look = 0.0
        self._until: float | None = None  # when the loop ends, whatever is left
        self.transports: dict[int, Transport] = {}
        self.touched: set[Transport] = set()  # those with something new to send
        self.held = Held(self.transports, protocol.held, self.close)
        self._unfinished: set[Transport] = set()  # those that sent more than there was time for
        self.now = time.monotonic()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge", daemon=True)

    def listen(self, listener: Listener) -> None:
        """Accepts from a socket. To be called before `start`."""
        self._listeners[listener.fd] = listener
        self._epoll.register(listener.fd, IN)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Has the thread call something. From any thread."""
        self._inbox.append((function, arguments))
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._bell, 1)

    def drain(self, seconds: float) -> None:
        """Accepts no more, lets calls in progress finish, and ends after so many seconds at most. From any thread."""
        if self._thread.is_alive():
            self.post(self._leave, seconds)
            self.ended.wait(seconds + 5.0)

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Has the thread call something at a time of `time.monotonic`."""
        heapq.heappush(self._timers, (when, next(self._numbers), function))

    def _run(self) -> None:
        inbox, monotonic, poll = self._inbox, time.monotonic, self._epoll.poll
        while not self._is_over():
            self._asleep = True
            events = poll(0 if inbox or self._unfinished else self._pause(), MOST_EVENTS)
            self._asleep = False
            self.now = monotonic()
            self._take_turns(events)
            try:
                self._do_the_rest()
            except Exception:  # a fault of ours in one thing to do; the others are done in the next turn
                logger.exception("a fault of this server")
        self._end()

    def _take_turns(self, events: list[tuple[int, int]]) -> None:
        """Does what sockets are ready for, in the order in which they are due, until the turn is over.

        What is left over is ready in the next turn too, beside what became ready meanwhile.
        """
        transports, monotonic = self.transports, time.monotonic
        if self._unfinished:
            ready = {fd for fd, _ in events}
            events += [(transport.fd, 0) for transport in self._unfinished if transport.fd not in ready]
        others_wait = len(events) > 1 and any(not event & GONE and fd != self._bell for fd, event in events)
        if len(events) > 1:
            events.sort(key=self._due)
        now = monotonic()
        until = now + TURN_SECONDS + TURN_SECONDS_EACH * len(events)
        latest = until + TURN_REQUESTS_SECONDS
        for fd, event in events:
            transport = transports.get(fd)
            if transport is None:
                if fd == self._bell:
                    with suppress(BlockingIOError):
                        os.eventfd_read(fd)
                elif fd in self._listeners and now <= until:
                    self._accept(self._listeners[fd], until)
                    if fd in self._listeners:
                        self._listeners[fd].due = math.inf  # until a connection had its turn
                    now = monotonic()
                continue
            if now > until:
                continue
            if event & GONE and others_wait:
                self.close(transport)  # what it sent is not worth that others wait
                now = monotonic()
                continue
            try:
                self._ready(transport, event, now + PIECE_SECONDS)
            except Exception:  # a fault of ours: it costs this connection, and no other
                logger.exception("a connection from %s is closed for a fault of this server", transport.peer)
                self.close(transport)
            begun, now = now, monotonic()
            if transport.had(begun, now):
                until = min(until + now - begun, latest)
            for listener in self._listeners.values():
                listener.due = 0.0

    def _due(self, event: tuple[int, int]) -> float:
        """When a socket is due; one whose peer has gone at once, because there is little to do."""
        if event[1] & GONE:
            return 0.0
        ready = self.transports.get(event[0]) or self._listeners.get(event[0])
        return ready.due if ready else 0.0

    def _do_the_rest(self) -> None:
        """What was posted, what it is time for, and what there is to send."""
        for _ in range(len(self._inbox)):
            function, arguments = self._inbox.popleft()
            function(*arguments)
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()
        if self.now >= self._next_look:
            self._look()
        while self.touched:
            self._flush(self.touched.pop())

    def _pause(self) -> float:
        """Seconds until there is something to do without anything arriving."""
        until = self._next_look
        if self._timers:
            until = min(until, self._timers[0][0])
        if self._until is not None:
            until = min(until, self._until)
        return max(until - time.monotonic(), 0.0)

    # Connections begin and end

    def _accept(self, listener: Listener, until: float = math.inf) -> None:
        """Accepts those who wait, one at least, until a time of `time.monotonic`."""
        for number in range(ACCEPTED):
            if number and time.monotonic() > until:
                return
            if len(self.transports) >= self._most:
                self._shed()
            try:
                accepted = listener.accept()
            except OSError as error:  # no descriptors, no memory: those who wait are accepted when there are some
                logger.warning("cannot accept a connection: %s", error)
                if not self._shed():
                    self._hear(False)
                return
            if accepted is None:
                return
            sock, peer = accepted
            try:
                transport = Transport(listener.wrapped(sock), peer, self.now)
            except OSError:  # it is gone already
                sock.close()
                continue
            transport.shaking = listener.tls is not None
            transport.connection = self._protocol.connect(transport)
            self.transports[transport.fd] = transport
            self._epoll.register(transport.fd, IN)
            if not transport.shaking:
                self._flush(transport)
            if self._until is not None:  # it came in while we closed the door
                self._say_goodbye(transport)

    def _hear(self, hear: bool) -> None:
        """Begins or ceases to accept."""
        if self._deaf == hear:
            self._deaf = not hear
            for fd in self._listeners:
                self._epoll.modify(fd, IN if hear else 0)

    def _shed(self) -> bool:
        """Closes the connection that has been without a call for longest; whether there was one."""
        idle = [t for t in self.transports.values() if t.shaking or not t.connection.streams]
        if idle:
            self.close(min(idle, key=lambda transport: transport.heard))
        return bool(idle)

    def close(self, transport: Transport) -> None:
        """Closes a socket, and ends what is on it."""
        if self.transports.pop(transport.fd, None) is None:
            return
        with suppress(OSError, ValueError):
            self._epoll.unregister(transport.fd)
        with suppress(OSError):
            transport.sock.close()
        self.touched.discard(transport)
        self._unfinished.discard(transport)
        transport.connection.close()

    def _finish(self, transport: Transport) -> None:
        """All was said: closes our side, and waits for the peer's end, so that what was sent is read."""
        if not transport.ending:
            transport.ending = self.now
            transport.connection.close()
            with suppress(OSError):
                transport.sock.shutdown(socket.SHUT_WR)

    def _say_goodbye(self, transport: Transport) -> None:
        """The first of two GOAWAYs: calls that are on their way are still answered."""
        if transport.shaking:
            self.close(transport)
        elif not transport.leaving:
            transport.leaving = self.now
            connection = transport.connection
            connection.pong = lambda _: self._say_last_word(transport)
            connection.go_away(LAST_STREAM)
            connection.ping(b"goodbye!")
            self.touched.add(transport)
            self.call_at(self.now + ACKNOWLEDGE_SECONDS, lambda: self._say_last_word(transport))

    def _say_last_word(self, transport: Transport) -> None:
        """The second, when the peer has seen the first: what it begins from now on, nobody looks at."""
        if not transport.last_word and transport.fd in self.transports:
            transport.last_word = True
            transport.connection.go_away(transport.connection.last)
            self.touched.add(transport)

    def _leave(self, seconds: float) -> None:
        """Ends the loop when all calls have their answers, or after so many seconds."""
        self._until = self.now + seconds
        self._hear(True)
        for listener in self._listeners.values():
            self._accept(listener)  # who was already connected is not refused
            with suppress(OSError, ValueError):
                self._epoll.unregister(listener.fd)
            listener.close()
        self._listeners.clear()
        for transport in list(self.transports.values()):
            self._say_goodbye(transport)

    def _is_over(self) -> bool:
        return self._until is not None and (not self.transports or time.monotonic() >= self._until)

    def _end(self) -> None:
        for transport in list(self.transports.values()):
            self.close(transport)
        while self._inbox:
            function, arguments = self._inbox.popleft()
            function(*arguments)
        self._epoll.close()
        self.ended.set()

    # Reading and writing

    def _ready(self, transport: Transport, event: int, until: float) -> None:
        """Does what a socket is ready for, until a time of `time.monotonic`; what is left is then unfinished."""
        if transport.shaking and not self._shake(transport):
            return
        if event & OUT:
            transport.blocked = False
            self._epoll.modify(transport.fd, IN)
            self._flush(transport)
            if transport.fd not in self.transports:
                return
        connection = transport.connection
        if connection.more:
            connection.receive(b"", until)
        elif event & ~OUT:
            self._read(transport, until)
        gathers = connection.more and len(connection.out) < MOST_OUT // 2  # answers to what came together go together
        if not gathers and (connection.out or connection.blocked or connection.ended):
            self._flush(transport)
        if connection.more and not _is_held(transport) and transport.fd in self.transports:
            self._unfinished.add(transport)
        else:
            self._unfinished.discard(transport)

    def _read(self, transport: Transport, until: float) -> None:
        """Reads what there is."""
        connection, receive = transport.connection, transport.sock.recv
        for _ in range(READS_OF_TLS if isinstance(transport.sock, ssl.SSLSocket) else 1):
            try:
                data = receive(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except OSError:
                data = b""
            if not data:
                return self.close(transport)
            transport.heard = self.now
            transport.pinged = False
            connection.receive(data, until)
            if connection.more:
                break
        return None

    def _shake(self, transport: Transport) -> bool:
        """Goes on with the handshake; whether it is done."""
        try:
            wanted = handshake(transport.sock)
        except OSError:
            self.close(transport)
            return False
        self._epoll.modify(transport.fd, wanted or IN)
        if wanted:
            return False
        assert isinstance(transport.sock, ssl.SSLSocket)
        transport.shaking = False
        transport.certificate = certificate_name(transport.sock)
        self._flush(transport)
        return transport.fd in self.transports

    def _flush(self, transport: Transport) -> None:
        """Sends what there is to send, as far as the socket takes it."""
        if transport.blocked or transport.shaking or transport.fd not in self.transports:
            return self._hold(transport) if transport.blocked else None
        connection, out = transport.connection, transport.connection.out
        while True:
            data: memoryview | bytes
            if transport.rest:
                data, transport.rest = transport.rest, b""
            elif out:
                data = b"".join(out) if len(out) > 1 else out[0]
                out.clear()
            elif connection.blocked and not connection.ended and connection.pump():
                continue
            else:
                break
            try:
                sent = transport.sock.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent = 0
            except OSError:
                return self.close(transport)
            if sent < len(data):
                transport.rest = memoryview(data)[sent:]
                transport.blocked = True
                self._epoll.modify(transport.fd, IN | OUT)
                return self._hold(transport)
        if connection.ended or (transport.last_word and not connection.streams):
            self._finish(transport)
        return None

    def _hold(self, transport: Transport) -> None:
        """Reads nothing more of a peer that takes so little of what it asked for."""
        if _is_held(transport):
            self._epoll.modify(transport.fd, OUT)

    # Slowness

    def _look(self) -> None:
        """Ends what is too slow, too old, or too large."""
        self._next_look = self.now + LOOK_SECONDS
        if self._deaf:
            self._hear(True)
        for listener in self._listeners.values():
            if listener.tls is not None:
                listener.tls.refresh()
        for transport in list(self.transports.values()):
            self._look_at(transport)
        self.held.shed()

    def _look_at(self, transport: Transport) -> None:
        verdict = self._patience.judge(transport, self.now)
        if verdict is Verdict.CLOSE:
            self.close(transport)
            return
        if verdict is Verdict.LEAVE:
            self._say_goodbye(transport)
        if not transport.shaking and not transport.ending:
            if transport.connection.streams:
                self._protocol.look(transport, self.now)
            self.touched.add(transport)

    def hold(self, size: int) -> None:
        """Is to be called where a connection begins to hold so many bytes more, if they are many."""
        if self.held.grow(size):
            self.post(self.held.shed)


def _is_held(transport: Transport) -> bool:
    """Whether a peer takes so little of what it asked for that nothing more is read from it."""
    return transport.blocked and len(transport.connection.out) > MOST_OUT
