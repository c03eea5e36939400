"""Sequences of HTTP/2 frames, right and wrong ones, given to our server: no crash, no hang, no growth.

`python -m tests.fuzz.http2 --runs N [--seed N]`. Each sequence is made from its number alone, so one that fails
can be run again. Without sockets a connection takes the bytes in pieces of any size; every so many sequences a real
server gets them over a socket, and must then answer a call.
"""

import argparse
import logging
import random
import resource
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Encoder

from service.config import Limits, ServerConfig, Tls
from service.edge import frames as f
from service.edge.calls import Calls
from service.edge.http2_edge import Http2Edge
from service.edge.transport import Transport
from service.serving.threads import settle
from tests.certificates import Authority
from tests.service.edge.raw import HEADERS, Methods, Peer, server

SECONDS = 2.0  # that one sequence may take at most
GROWTH_BYTES = 64e6  # of memory between the first tenth and the end
SOCKETS = 500  # sequences between two that go over a socket
KINDS = (*range(10), 10, 99, 255)


class Script:
    """The frames of one sequence: most are such as peers send, the others are wrong somewhere."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.encoder = Encoder()
        self.sid = -1

    def made(self) -> bytes:
        """The whole sequence."""
        begin = f.PREFACE + self._frame(f.SETTINGS, 0, 0, self._settings() if self._one_in(4) else b"")
        if not self._one_in(50):
            return begin + b"".join(self._step() for _ in range(self.random.randint(1, 25)))
        return begin[: self.random.randint(0, len(begin))] + self.random.randbytes(self.random.randint(0, 40))

    def _step(self) -> bytes:
        turn = self.random.random()
        if turn < 0.6:
            return self._call()
        if turn < 0.9:
            return self._right()
        if self._one_in(8):
            return self._noise()
        kind = self.random.choice(KINDS)
        flags = self.random.choice((0, 0, 1, 4, 5, 8, 9, 32, 0x2D, self.random.randrange(256)))
        return self._frame(kind, flags, self._some_sid(), self._payload(kind, flags))

    def _call(self) -> bytes:
        self.sid += self.random.choice((2,) * 40 + (4, 1, 0))
        path = self.random.choice(("/t.S/Echo", "/t.S/Echo", "/t.S/Fail", "/t.S/Crash", "/t.S/Ask", "/none"))
        fields = [(k, path if k == ":path" else v) for k, v in HEADERS]
        if self._one_in(8):
            fields.insert(self.random.randint(0, len(fields)), self._field())
        if self._one_in(40):
            fields.pop(self.random.randrange(len(fields)))
        block = self.encoder.encode(fields, huffman=self._one_in(2))
        if self._one_in(60):
            block = self._damaged(block)
        end = f.END_STREAM if self._one_in(6) else 0
        if self._one_in(6):
            cut = self.random.randint(0, len(block))
            made = self._frame(f.HEADERS, end, self.sid, block[:cut])
            made += self._frame(f.CONTINUATION, f.END_HEADERS, self.sid, block[cut:])
        else:
            made = self._frame(f.HEADERS, end | f.END_HEADERS, self.sid, block)
        body = BytesValue(value=self.random.randbytes(self.random.choice((0, 1, 5, 200)))).SerializeToString()
        body = bytes((self.random.choice((0, 0, 0, 0, 1, 2)),)) + len(body).to_bytes(4, "big") + body
        if self._one_in(8):
            body = self._damaged(body)
        cut = self.random.choice((0, len(body), self.random.randint(0, len(body))))
        if cut:
            made += self._frame(f.DATA, 0, self.sid, body[:cut])
        return made + self._frame(f.DATA, f.END_STREAM if not self._one_in(10) else 0, self.sid, body[cut:])

    def _right(self) -> bytes:
        """A frame that may come at any time."""
        sid = max(self.sid, 1)
        return self.random.choice(
            (
                self._frame(f.PING, self.random.choice((0, f.ACK)), 0, self.random.randbytes(8)),
                self._frame(f.SETTINGS, f.ACK, 0, b""),
                self._frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, self.random.choice((0, 1, 10, 65_535)))),
                self._frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.HEADER_TABLE_SIZE, self.random.choice((0, 64, 4_096)))),
                self._frame(f.WINDOW_UPDATE, 0, 0, self.random.randint(1, 1_000).to_bytes(4, "big")),
                self._frame(f.WINDOW_UPDATE, 0, sid, self.random.randint(1, 1_000).to_bytes(4, "big"))
                if self.sid > 0
                else b"",
                self._frame(f.RST_STREAM, 0, sid, (8).to_bytes(4, "big")) if self.sid > 0 else b"",
                self._frame(f.PRIORITY, 0, sid, bytes(5)),
                self._frame(99, 0, sid, b"unknown"),
            )
        )

    def _payload(self, kind: int, flags: int) -> bytes:
        sizes = {f.PRIORITY: 5, f.RST_STREAM: 4, f.PING: 8, f.WINDOW_UPDATE: 4, f.GOAWAY: 8}
        if kind == f.SETTINGS:
            return b"" if flags & f.ACK and not self._one_in(5) else self._settings()
        if self._one_in(10) or kind not in sizes:
            return self.random.randbytes(self.random.choice((0, 1, 3, 4, 5, 8, 9, 100)))
        value = self.random.choice((0, 1, 2, 8, 65_535, 2**31 - 1, 2**32 - 1))
        return value.to_bytes(sizes[kind], "big") if sizes[kind] <= 8 else b""

    def _settings(self) -> bytes:
        made = b""
        for _ in range(self.random.choice((0, 0, 1, 2, 3))):
            key = self.random.choice((1, 2, 3, 4, 5, 6, 8, 99))
            value = self.random.choice((0, 1, 2, 100, 4_096, 16_384, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1))
            made += f.SETTING.pack(key, value)
        return made + (b"\0" if self._one_in(60) else b"")

    def _field(self) -> tuple[str, str]:
        names = (
            "grpc-timeout",
            "grpc-encoding",
            "te",
            "connection",
            "X",
            ":path",
            ":none",
            "a",
            "authorization",
            "b-bin",
        )
        values = ("", "1S", "100m", "0n", "gzip", "deflate", "snappy", "x" * 300, "ü", "a\r\nb", "99999999H", "AAE=")
        return self.random.choice(names), self.random.choice(values)

    def _noise(self) -> bytes:
        data = self._frame(self.random.choice(KINDS), self.random.randrange(256), self._some_sid(), b"")
        return data[: self.random.randint(1, 9)] if self._one_in(10) else data

    def _damaged(self, data: bytes) -> bytes:
        changed = bytearray(data or b"x")
        for _ in range(self.random.randint(1, 3)):
            changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        return bytes(changed)

    def _some_sid(self) -> int:
        return self.random.choice((0, 1, 2, max(self.sid, 0), max(self.sid, 0), self.sid + 2, 2**31 - 1))

    def _one_in(self, count: int) -> bool:
        return self.random.randrange(count) == 0

    @staticmethod
    def _frame(kind: int, flags: int, sid: int, payload: bytes) -> bytes:
        return f.frame(len(payload), kind, flags, max(sid, 0)) + payload


class Target:
    """Connections of a server without sockets."""

    def __init__(self) -> None:
        config = ServerConfig((), limits=Limits(message_bytes=100_000, concurrent_calls=50))
        self._edge = Http2Edge(Methods(10).table(), config, Calls(config))
        settle(self._edge)
        self._pair = socket.socketpair()

    def run(self, number: int) -> bool:
        """Gives a sequence to a new connection; whether it was ended for it. Raises what must never be raised."""
        data, pieces = Script(number).made(), random.Random(-number)
        transport = Transport(self._pair[0], "ipv4:fuzz", 0.0)
        connection = transport.connection = self._edge.connect(transport)
        at = 0
        while at < len(data):
            size = pieces.choice((1, 9, 100, 10_000))
            connection.receive(data[at : at + size])
            at += size
            while connection.blocked and connection.pump():
                pass
            read_frames(b"".join(connection.out))
            connection.out.clear()
        ended = connection.ended
        connection.close()
        end = time.monotonic() + 30
        while self._edge._in_progress and time.monotonic() < end:  # compressed messages are read on a thread
            if not self._edge.loop._inbox:
                time.sleep(0)
                continue
            function, arguments = self._edge.loop._inbox.popleft()
            function(*arguments)
        self._edge.loop.touched.clear()  # nobody flushes them here
        if self._edge._in_progress or connection.unsent_bytes or connection.streams or connection.blocked:
            raise AssertionError(f"sequence {number} left something behind")
        return ended

    def close(self) -> None:
        """Lets its sockets and its thread go."""
        settle(None)
        for end in self._pair:
            end.close()


def read_frames(data: bytes) -> None:
    """Raises AssertionError where bytes that we send are not whole frames."""
    while data:
        high, low, kind, _, _ = f.FRAME.unpack_from(data)
        size = high << 16 | low
        if kind > 9 or len(data) < 9 + size:
            raise AssertionError(f"{data[:40]!r} is no frame")
        data = data[9 + size :]


def over_socket(number: int, port: int, context: ssl.SSLContext | None) -> None:
    """Gives a sequence to a real server, which must end or go on, and answer others."""
    with Peer(port, context=context, preface=False) as peer:
        peer.sock.settimeout(30)
        peer.send(Script(number).made())
    with Peer(port, context=context) as peer:
        peer.sock.settimeout(30)
        assert peer.answer(peer.call(b"still"))[1] == [b"still"], f"after sequence {number}"


def main() -> None:
    """Runs sequences and says what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http2", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # `Crash` is among the methods
    target, ended, slowest, first = Target(), 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        Authority(Path(folder)).sign("server")
        tls = Tls(Path(folder, "server.pem"), Path(folder, "server.key"))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with server(methods=Methods(10)) as (plain, _), server(methods=Methods(10), tls=tls) as (secret, _):
            for number in range(options.seed, options.seed + options.runs):
                begin = time.thread_time()
                ended += target.run(number)
                taken = time.thread_time() - begin
                slowest = max(slowest, taken)
                if taken > SECONDS:
                    raise AssertionError(f"sequence {number} took {taken:.1f} s")
                if number % SOCKETS == 0:
                    over_socket(number, plain, None)
                    over_socket(number, secret, context)
                if number - options.seed == options.runs // 10:
                    first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first) * 1024
    if grown > GROWTH_BYTES:
        raise AssertionError(f"memory grew by {grown / 1e6:.0f} MB")
    sys.stdout.write(
        f"{options.runs} sequences: no crash; {ended} connections ended, the slowest took {slowest * 1e3:.1f} ms, "
        f"memory grew by {grown / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
