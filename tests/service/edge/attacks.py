"""What attackers send on a connection, piece by piece: generators that take a `Peer`."""

import time

from service.edge import frames as f
from service.edge.headers import BLOCK_BYTES
from tests.service.edge.raw import HEADERS


def call(peer, sid, *, end=False, path=None):
    block = peer.encoder.encode([(k, path or peer.quick if k == ":path" else v) for k, v in HEADERS])
    return peer.frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if end else 0), sid, block)


def rapid_reset(peer):
    for sid in range(1, 200, 2):
        yield call(peer, sid) + peer.frame(f.RST_STREAM, 0, sid, bytes(4))


def made_you_reset(peer):
    for sid in range(1, 200, 2):
        yield call(peer, sid, path=peer.slow) + peer.frame(f.WINDOW_UPDATE, 0, sid, bytes(4))


def continuation(peer):
    yield peer.frame(f.HEADERS, 0, 1, bytes(100))
    for _ in range(BLOCK_BYTES // 100 + 10):
        yield peer.frame(f.CONTINUATION, 0, 1, bytes(100))


def bomb(peer):
    block = peer.encoder.encode([*HEADERS, ("a", "b" * 3_900)])
    yield peer.frame(f.HEADERS, f.END_HEADERS, 1, block)
    yield peer.frame(f.HEADERS, f.END_HEADERS, 3, b"\xbe" * 16_000)


def flood(kind, payload):
    def frames(peer):
        for _ in range(20):
            yield peer.frame(kind, 0, 0 if kind != f.PRIORITY else 1, payload) * 200

    return frames


def empty_frames(peer):
    yield call(peer, 1)
    for _ in range(20):
        yield peer.frame(f.DATA, 0, 1) * 200


def closed_windows(peer):
    """Answers to large messages that nobody takes."""
    yield peer.frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, 0))
    for sid in range(1, 40, 2):
        body = peer.large
        body = b"\0" + len(body).to_bytes(4, "big") + body
        yield call(peer, sid)
        for i in range(0, len(body), 16_384):
            end = f.END_STREAM if i + 16_384 >= len(body) else 0
            yield peer.frame(f.DATA, end, sid, body[i : i + 16_384])


def unread(peer):
    """Pings that are answered to a client that reads nothing."""
    for _ in range(100):
        yield peer.frame(f.PING, 0, 0, bytes(8)) * 10


def promises(peer):
    """The beginnings of large messages, whose rest never comes."""
    for sid in range(1, 100, 2):
        yield call(peer, sid) + peer.frame(f.DATA, 0, sid, b"\0" + (9_000_000).to_bytes(4, "big") + bytes(10_000))


def garbage(_peer):
    yield bytes(range(256)) * 64


def drip(peer):
    """A request of which a byte comes now and then."""
    for byte in call(peer, 1) + peer.frame(f.DATA, 0, 1, b"\0\0\0\0\x05" + bytes(5)):
        yield bytes([byte])
        time.sleep(0.02)


ATTACKS = {
    "rapid reset": rapid_reset,
    "made you reset": made_you_reset,
    "continuation": continuation,
    "compression bomb": bomb,
    "ping": flood(f.PING, bytes(8)),
    "settings": flood(f.SETTINGS, b""),
    "windows": flood(f.WINDOW_UPDATE, b"\0\0\0\1"),
    "priority": flood(f.PRIORITY, bytes(5)),
    "empty frames": empty_frames,
    "closed windows": closed_windows,
    "unread answers": unread,
    "promises": promises,
    "garbage": garbage,
    "byte by byte": drip,
}
SLOW = {"byte by byte"}  # what takes time rather than anything else
