"""A table of methods to call, and a client of HTTP/2 that says whatever it is told to."""

import contextlib
import socket
import ssl
import sys
import threading
import time
from collections import deque

from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Decoder, Encoder

from service.callers import Role
from service.config import Limits, ServerConfig
from service.edge import frames as f
from service.edge.methods import Bound, Method, Pool
from service.edge.server import build_edge
from service.errors import InvalidArgumentError

HEADERS = (
    (":method", "POST"), (":scheme", "http"), (":path", "/t.S/Echo"), (":authority", "test"),
    ("content-type", "application/grpc"), ("te", "trailers"),
)  # fmt: skip


class Methods:
    """Handlers that echo, wait and fail, and what they saw."""

    def __init__(self, kept=None):
        """`kept`: calls that are remembered; None: all."""
        self.calls = deque(maxlen=kept)
        self.let = threading.Event()
        self.begun, self.left = threading.Semaphore(0), threading.Semaphore(0)

    def table(self):
        """As the table of a worker."""
        rows = {
            "Echo": (self.echo, False, False, Pool.EDGE),
            "Slow": (self.echo, False, False, Pool.QUICK),
            "Wait": (self.wait, False, False, Pool.QUICK),
            "Fail": (self.fail, False, False, Pool.EDGE),
            "Crash": (lambda _request, _call: 1 / 0, False, False, Pool.EDGE),
            "Ask": (self.ask, False, False, Pool.EDGE),
            "Count": (self.count, False, True, Pool.STREAM),
            "Chat": (self.chat, True, True, Pool.STREAM),
        }
        return [
            Method(
                f"/t.S/{name}", BytesValue, BytesValue, requests, responses, handler, Bound.SERVED, Role.ANYONE, pool
            )
            for name, (handler, requests, responses, pool) in rows.items()
        ]

    def echo(self, request, call):
        self.calls.append(call)
        return request

    def wait(self, request, call):
        self.calls.append(call)
        self.begun.release()
        assert self.let.wait(60)
        return request

    def fail(self, request, _call):
        raise InvalidArgumentError(request.value.decode(errors="replace"), field="value")

    def ask(self, request, call):
        """The header that is named, as the handler sees it; what is asked for goes back in the trailers."""
        call.trailing = (("x-text", "text"), ("x-bytes-bin", b"\0\xff"))
        return BytesValue(value=call.metadata(request.value.decode()).encode())

    def count(self, request, _call):
        """As many messages as the request has bytes, each of 64 KiB where it begins with `L`."""
        size = 65_536 if request.value[:1] == b"L" else 1
        for _ in request.value:
            yield BytesValue(value=b"x" * size)

    def chat(self, requests, call):
        self.begun.release()
        try:
            for request in requests:
                if request.value == b"wait":
                    assert self.let.wait(60)
                yield request
        finally:
            self.left.release()


@contextlib.contextmanager
def server(edge="http2", *, methods=None, tls=None, observers=(), address="127.0.0.1:0", **options):
    """A server of the table: gives its port and the edge."""
    limits = options.pop("limits", Limits())
    config = ServerConfig((), limits=limits, tls=tls, edge=edge, **options)
    made = build_edge((methods or Methods()).table(), config, observers)
    port = made.bind(address, tls)
    made.start()
    try:
        yield port, made
    finally:
        made.drain(0)


class Peer:
    """A client. What it receives is kept as (kind, flags, stream, payload)."""

    quick, slow = "/t.S/Echo", "/t.S/Slow"  # methods that attacks call
    large = BytesValue(value=bytes(200_000)).SerializeToString()  # a message for the first

    def __init__(self, port, *, context=None, preface=True, settings=b"", source=None):
        sock = socket.create_connection(("127.0.0.1", port), 30) if isinstance(port, int) else unix(port)
        self.sock = context.wrap_socket(sock, server_hostname="localhost") if context else sock
        self.encoder, self.decoder, self.rest, self.frames = Encoder(), Decoder(), b"", []
        self.sid = -1
        if preface:
            self.send(f.PREFACE + self.frame(f.SETTINGS, 0, 0, settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    @staticmethod
    def frame(kind, flags, sid, payload=b""):
        return f.frame(len(payload), kind, flags, sid) + payload

    def send(self, data):
        self.sock.sendall(data)

    def headers(self, path="/t.S/Echo", extra=(), end=False, sid=None):
        """HEADERS of a new request; gives its stream's number."""
        self.sid = sid or self.sid + 2
        fields = [(k, path if k == ":path" else v) for k, v in HEADERS]
        block = self.encoder.encode([*fields, *extra])
        self.send(self.frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if end else 0), self.sid, block))
        return self.sid

    def data(self, sid, value, *, end=True, prefix=None):
        """A message in DATA frames."""
        body = BytesValue(value=value).SerializeToString()
        body = (b"\0" + len(body).to_bytes(4, "big") if prefix is None else prefix) + body
        pieces = [body[i : i + 16_384] for i in range(0, len(body), 16_384)]
        for piece in pieces:
            self.send(self.frame(f.DATA, f.END_STREAM if end and piece is pieces[-1] else 0, sid, piece))

    def call(self, value=b"hello", path="/t.S/Echo", extra=()):
        """A whole request; gives its stream's number."""
        sid = self.headers(path, extra)
        self.data(sid, value)
        return sid

    def receive(self):
        """The next frame, None at the end of the connection."""
        while True:
            if len(self.rest) >= 9:
                high, low, kind, flags, sid = f.FRAME.unpack_from(self.rest)
                size = high << 16 | low
                if len(self.rest) >= 9 + size:
                    payload, self.rest = self.rest[9 : 9 + size], self.rest[9 + size :]
                    if kind == f.HEADERS:
                        payload = self.decoder.decode(payload)
                    self.frames.append((kind, flags, sid, payload))
                    return self.frames[-1]
            try:
                data = self.sock.recv(65_536)
            except (ConnectionError, ssl.SSLError):
                return None
            if not data:
                return None
            self.rest += data

    def until(self, kind, sid=None, ends=False):
        """The payload of the next frame of a kind, of a stream if that is said, with END_STREAM if that is."""
        while (got := self.receive()) is not None:
            if got[0] == kind and sid in (None, got[2]) and (not ends or got[1] & f.END_STREAM):
                return got[3]
        raise AssertionError(f"the connection ended; received: {[(k, s) for k, _, s, _ in self.frames[-20:]]}")

    def answer(self, sid):
        """The trailers of a stream and the values of its messages."""
        trailers = dict(self.until(f.HEADERS, sid, ends=True))
        body = b"".join(p for kind, _, s, p in self.frames if kind == f.DATA and s == sid)
        values = []
        while body:
            size = int.from_bytes(body[1:5], "big")
            values.append(BytesValue.FromString(body[5 : 5 + size]).value)
            body = body[5 + size :]
        return trailers, values

    def goaway(self):
        """The code and the text that the connection was ended with."""
        payload = self.until(f.GOAWAY)
        return int.from_bytes(payload[4:8], "big"), payload[8:].decode()

    def ended(self, seconds=30):
        """Waits for the end of the connection."""
        end = time.monotonic() + seconds
        self.sock.settimeout(seconds)
        try:
            while self.receive() is not None:
                assert time.monotonic() < end
        except TimeoutError:
            raise AssertionError("the connection goes on") from None
        return True


def unix(path):
    """A socket connected to a unix address."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(path)
    return sock


def main():
    """Serves the table until its input ends, then drains: `EDGE [ADDRESS]`. Prints the port."""
    address = sys.argv[2] if sys.argv[2:] else "127.0.0.1:0"
    with server(sys.argv[1], limits=Limits(message_bytes=10_000_000), address=address) as (port, made):
        print(port, flush=True)
        sys.stdin.read()
        made.drain(30)


if __name__ == "__main__":
    main()
