"""service.edge.http2: the protocol, by itself: what a peer may say, when, and what it is answered."""

import math

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from service.edge import frames as f
from service.edge import http2
from service.edge.headers import BLOCK_BYTES
from service.edge.streams import Stream

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/"), ("content-type", "text/plain")]


class Echo(Stream):
    """Answers with what it was sent."""

    def __init__(self, connection, sid, meaning, ended):
        super().__init__(connection, sid)
        self.meaning, self.body, self.code = meaning, b"", None
        connection.seen.append(self)
        connection.streams[sid] = self
        if ended:
            self.request_ended = True
            self.received(b"", True)

    def received(self, data, ended):
        self.body += data
        if ended:
            self.connection.reply(self, b"\x88", b"", self.body, b"\x88")

    def closed(self, code):
        self.code = code


def connection(*, settings=b"", **options):
    """A connection whose preface has passed; `seen` has its streams."""
    made = http2.Connection(lambda headers, large: (tuple(headers), large), Echo, 100, **options)
    made.seen = []
    made.receive(f.PREFACE + frame(f.SETTINGS, 0, 0, settings))
    assert not made.ended
    made.out.clear()
    return made


def frame(kind, flags, sid, payload=b""):
    return f.frame(len(payload), kind, flags, sid) + payload


def request(sid, *, end=False, headers=REQUEST, encoder=None):
    block = (encoder or Encoder()).encode(headers)
    return frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if end else 0), sid, block)


def said(made):
    """The frames that were sent, as (kind, flags, stream, payload)."""
    data, frames = b"".join(made.out), []
    made.out.clear()
    while data:
        high, low, kind, flags, sid = f.FRAME.unpack_from(data)
        size = high << 16 | low
        frames.append((kind, flags, sid, data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


def code_of(made):
    """The code of the GOAWAY that a connection ended with."""
    assert made.ended
    (payload,) = [payload for kind, _, _, payload in said(made) if kind == f.GOAWAY]
    return int.from_bytes(payload[4:8], "big")


def test_any_split_says_the_same():
    """Bytes mean the same in whatever pieces they arrive."""
    whole = b"".join(
        (
            f.PREFACE, frame(f.SETTINGS, 0, 0), request(1), frame(f.DATA, 0, 1, b"ab"), frame(f.DATA, 1, 1, b"c"),
            frame(f.PING, 0, 0, b"12345678"), request(3, end=True),
        )
    )  # fmt: skip
    spoken = set()
    for size in (1, 2, 3, 7, 24, 25, len(whole)):
        made = http2.Connection(lambda headers, _: headers, Echo, 100)
        made.seen = []
        for i in range(0, len(whole), size):
            made.receive(whole[i : i + size])
        assert not made.ended
        spoken.add(b"".join(made.out))
    assert len(spoken) == 1


def test_headers_are_known_until_the_table_changes():
    """A block is decoded once; after a change of the compression table the same bytes are decoded anew."""
    made, encoder = connection(), Encoder()
    blocks = [encoder.encode(REQUEST) for _ in range(3)]
    assert blocks[1] == blocks[2] != blocks[0]
    for i, block in enumerate(blocks):
        made.receive(frame(f.HEADERS, f.END_HEADERS, 2 * i + 1, block))
    assert len({id(stream.meaning) for stream in made.seen[1:]}) == 1
    # Another field moves all entries by one: the bytes of before now name it.
    other = encoder.encode([*REQUEST, ("a", "b")])
    made.receive(frame(f.HEADERS, f.END_HEADERS, 7, other))
    made.receive(frame(f.HEADERS, f.END_HEADERS, 9, blocks[1]))
    assert made.ended or made.seen[4].meaning != made.seen[1].meaning


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(f.SETTINGS, 0, 1), f.PROTOCOL_ERROR),
        (frame(f.SETTINGS, 0, 0, b"12345"), f.FRAME_SIZE_ERROR),
        (frame(f.SETTINGS, f.ACK, 0, b"123456"), f.FRAME_SIZE_ERROR),
        (frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.ENABLE_PUSH, 2)), f.PROTOCOL_ERROR),
        (frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, 1 << 31)), f.FLOW_CONTROL_ERROR),
        (frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.MAX_FRAME, 100)), f.PROTOCOL_ERROR),
        (frame(f.PING, 0, 0, b"1"), f.FRAME_SIZE_ERROR),
        (frame(f.PING, 0, 1, b"12345678"), f.PROTOCOL_ERROR),
        (frame(f.GOAWAY, 0, 0, b"1"), f.FRAME_SIZE_ERROR),
        (frame(f.GOAWAY, 0, 1, bytes(8)), f.PROTOCOL_ERROR),
        (frame(f.WINDOW_UPDATE, 0, 0, bytes(4)), f.PROTOCOL_ERROR),
        (frame(f.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), f.FLOW_CONTROL_ERROR),
        (frame(f.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), f.PROTOCOL_ERROR),
        (frame(f.WINDOW_UPDATE, 0, 0, b"\0"), f.FRAME_SIZE_ERROR),
        (frame(f.RST_STREAM, 0, 1, bytes(4)), f.PROTOCOL_ERROR),
        (frame(f.RST_STREAM, 0, 0, bytes(4)), f.PROTOCOL_ERROR),
        (request(1) + frame(f.RST_STREAM, 0, 1, b"1"), f.FRAME_SIZE_ERROR),
        (frame(f.PRIORITY, 0, 0, bytes(5)), f.PROTOCOL_ERROR),
        (frame(f.PRIORITY, 0, 1, bytes(4)), f.FRAME_SIZE_ERROR),
        (frame(f.PUSH_PROMISE, 4, 1, bytes(8)), f.PROTOCOL_ERROR),
        (frame(f.CONTINUATION, 4, 1, b""), f.PROTOCOL_ERROR),
        (frame(f.DATA, 0, 1, b"x"), f.PROTOCOL_ERROR),
        (frame(f.DATA, 0, 0, b"x"), f.PROTOCOL_ERROR),
        (request(1) + frame(f.DATA, f.PADDED, 1, b""), f.FRAME_SIZE_ERROR),
        (request(1) + frame(f.DATA, f.PADDED, 1, b"\5ab"), f.PROTOCOL_ERROR),
        (request(2), f.PROTOCOL_ERROR),
        (request(0), f.PROTOCOL_ERROR),
        (frame(f.HEADERS, f.END_HEADERS | f.PRIORITIZED, 1, b"abc"), f.FRAME_SIZE_ERROR),
        (frame(f.HEADERS, f.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), f.COMPRESSION_ERROR),
        (frame(f.HEADERS, 0, 1, b"\x88") + frame(f.PING, 0, 0, bytes(8)), f.PROTOCOL_ERROR),
        (frame(f.HEADERS, 0, 1, b"\x88") + frame(f.CONTINUATION, 4, 3, b""), f.PROTOCOL_ERROR),
        (frame(f.DATA, 0, 1, bytes(16_385)), f.FRAME_SIZE_ERROR),
    ],
)  # fmt: skip
def test_faults_end_the_connection(sent, code):
    """What breaks the protocol ends the connection with the code that RFC 9113 has for it, and nothing comes after."""
    made = connection()
    made.receive(sent + request(5, end=True))
    assert code_of(made) == code
    assert 5 not in [stream.sid for stream in made.seen]
    made.receive(request(7, end=True))
    assert made.out == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (request(1, end=True, headers=REQUEST[1:]), f.PROTOCOL_ERROR),
        (request(1, end=True, headers=[("a", "b")]), f.PROTOCOL_ERROR),
        (request(1, headers=[*REQUEST, (":path", "/")]), f.PROTOCOL_ERROR),
        (request(1, headers=[*REQUEST, ("X", "y")]), f.PROTOCOL_ERROR),
        (request(1, headers=[*REQUEST, ("connection", "close")]), f.PROTOCOL_ERROR),
        (request(1, headers=[*REQUEST, ("te", "gzip")]), f.PROTOCOL_ERROR),
        (request(1, headers=[*REQUEST, ("a", "b\r\nc: d")]), f.PROTOCOL_ERROR),
        (request(1) + request(1), f.PROTOCOL_ERROR),
        (request(1) + frame(f.WINDOW_UPDATE, 0, 1, bytes(4)), f.PROTOCOL_ERROR),
        (request(1) + frame(f.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), f.FLOW_CONTROL_ERROR),
        (request(1) + frame(f.DATA, 0, 1, bytes(16_384)) * 17, f.FLOW_CONTROL_ERROR),
    ],
)  # fmt: skip
def test_faults_of_a_stream_end_the_stream(sent, code):
    """What is wrong with one request resets its stream, and the connection answers others."""
    made = connection()
    made.receive(sent)
    assert (f.RST_STREAM, 0, 1, code.to_bytes(4, "big")) in said(made)
    made.receive(request(3, end=True))
    assert [sid for kind, flags, sid, _ in said(made) if kind == f.HEADERS and flags & f.END_STREAM] == [3]


def test_only_http2_is_spoken():
    """A connection that begins otherwise ends at its first wrong byte."""
    made = http2.Connection(lambda headers, _: headers, Echo, 100)
    made.receive(b"GET / HTTP/1.1\r\n")
    assert code_of(made) == f.PROTOCOL_ERROR
    first = http2.Connection(lambda headers, _: headers, Echo, 100)
    first.receive(f.PREFACE + frame(f.PING, 0, 0, bytes(8)))
    assert code_of(first) == f.PROTOCOL_ERROR


def test_no_more_streams_than_said():
    """A stream beyond the limit is refused in a way that lets the client try again, and has no effect."""
    made, encoder = connection(), Encoder()
    for sid in range(1, 203, 2):
        made.receive(request(sid, encoder=encoder))
    refused = f.REFUSED_STREAM.to_bytes(4, "big")
    assert said(made) == [(f.RST_STREAM, 0, 201, refused)]
    assert len(made.seen) == 100


def test_windows_hold_back_and_let_go():
    """Data waits for both windows, in turn for each stream, and nothing of it is lost."""
    made, encoder = connection(settings=f.SETTING.pack(f.INITIAL_WINDOW, 10)), Encoder()
    for sid in (1, 3):
        made.receive(request(sid, encoder=encoder) + frame(f.DATA, 1, sid, bytes([sid]) * 100))
    while made.pump():
        pass
    got = [(sid, len(data)) for kind, _, sid, data in said(made) if kind == f.DATA]
    assert got == [(1, 10), (3, 10)]
    assert made.unsent_bytes == 180
    made.receive(
        frame(f.WINDOW_UPDATE, 0, 1, b"\0\0\0\5") + frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, 200))
    )
    while made.pump():
        pass
    frames = said(made)
    assert sum(len(data) for kind, _, _, data in frames if kind == f.DATA) == 180
    assert [(sid) for kind, flags, sid, _ in frames if kind == f.HEADERS and flags & f.END_STREAM] == [1, 3]
    assert made.unsent_bytes == 0
    assert not made.streams


def test_the_connection_window_is_shared():
    """The window of the connection bounds all streams together."""
    made, encoder = connection(settings=f.SETTING.pack(f.INITIAL_WINDOW, 1 << 20)), Encoder()
    for sid in (1, 3):
        made.receive(request(sid, encoder=encoder))
        for _ in range(5):
            made.receive(frame(f.DATA, 0, sid, bytes(16_000)))
        made.receive(frame(f.DATA, 1, sid))
    while made.pump():
        pass
    assert sum(len(data) for kind, _, _, data in said(made) if kind == f.DATA) == 65_535
    made.receive(frame(f.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
    while made.pump():
        pass
    assert not made.streams


def test_a_reset_forgets_what_was_unsent():
    """A stream that the peer resets holds nothing more."""
    made = connection(settings=f.SETTING.pack(f.INITIAL_WINDOW, 0))
    made.receive(request(1) + frame(f.DATA, 1, 1, bytes(1000)))
    assert made.unsent_bytes == 1000
    made.receive(frame(f.RST_STREAM, 0, 1, bytes(4)))
    assert made.unsent_bytes == 0
    assert not made.blocked


def test_a_smaller_table_is_obeyed():
    """A peer that wants a smaller compression table is told so before the next block, as HPACK asks."""
    made = connection(settings=f.SETTING.pack(f.HEADER_TABLE_SIZE, 0))
    made.receive(request(1, end=True))
    first = next(payload for kind, _, _, payload in said(made) if kind == f.HEADERS)
    assert first[:1] == b"\x20"


@pytest.mark.parametrize(
    "flood",
    [
        lambda _: frame(f.PING, 0, 0, bytes(8)),
        lambda _: frame(f.SETTINGS, 0, 0),
        lambda _: frame(f.SETTINGS, f.ACK, 0),
        lambda _: frame(f.PRIORITY, 0, 1, bytes(5)),
        lambda _: frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        lambda _: frame(f.DATA, 0, 1),
        lambda _: frame(99, 0, 0, b"x"),
        lambda i: frame(f.HEADERS, 0, 1, b"") if not i else frame(f.CONTINUATION, 0, 1),
        lambda i: request(2 * i + 3) + frame(f.RST_STREAM, 0, 2 * i + 3, bytes(4)),
        lambda i: request(2 * i + 3) + frame(f.WINDOW_UPDATE, 0, 2 * i + 3, bytes(4)),
        lambda i: request(2 * i + 3, headers=REQUEST[1:]),
    ],
    ids=["ping", "settings", "acks", "priority", "windows", "empty-data", "unknown", "continuation", "rapid-reset",
         "made-you-reset", "malformed"],
)  # fmt: skip
def test_floods_end_the_connection(flood):
    """Frames that cost and carry nothing end the connection after a burst, with little done for them."""
    made = connection()
    made.receive(request(1))
    said(made)
    for i in range(3_000):
        made.receive(flood(i))
        if made.ended:
            break
    assert i < 1_100
    assert code_of(made) == f.ENHANCE_YOUR_CALM
    assert len(made.seen) <= 1_100


def test_who_makes_calls_may_ping_and_reset():
    """What an honest client sends is never a flood: pings, windows and resets next to calls, as many as it makes."""
    made, encoder = connection(), Encoder()
    for i in range(5_000):
        sid = 4 * i + 1
        made.receive(
            request(sid, encoder=encoder) + frame(f.DATA, 1, sid, b"x") + frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
            + frame(f.PING, 0, 0, bytes(8)) + request(sid + 2, encoder=encoder)
            + (frame(f.RST_STREAM, 0, sid + 2, bytes(4)) if i % 2 else frame(f.DATA, 1, sid + 2, b"x"))
        )  # fmt: skip
        assert not made.ended, made.reason
        made.out.clear()
    assert not made.streams


def test_headers_without_end():
    """A header block that does not end is not kept: it has a bound, whatever it is made of."""
    made = connection()
    made.receive(frame(f.HEADERS, 0, 1, bytes(10)))
    sent = 0
    while not made.ended and sent < 1 << 20:
        made.receive(frame(f.CONTINUATION, 0, 1, bytes(1_000)))
        sent += 1_000
    assert sent <= BLOCK_BYTES + 1_000
    assert code_of(made) == f.ENHANCE_YOUR_CALM


def test_a_compression_bomb():
    """A few bytes that would become many megabytes of headers end the connection before they do."""
    made, encoder = connection(), Encoder()
    made.receive(request(1, headers=[*REQUEST, ("a", "b" * 3_900)], encoder=encoder))
    made.receive(frame(f.HEADERS, f.END_HEADERS, 3, b"\xbe" * 16_000))  # each is the field of 3,900 bytes
    assert code_of(made) == f.ENHANCE_YOUR_CALM


def test_pings_that_come_too_soon():
    """Between calls a peer may ping so often and no more; next to calls, whenever something was sent."""
    made = connection(ping_seconds=60.0)
    for i in range(20):
        made.receive(frame(f.PING, 0, 0, bytes(8)) + request(2 * i + 1, end=True))
    assert not made.ended
    for _ in range(4):
        made.receive(frame(f.PING, 0, 0, bytes(8)))
    assert made.reason == "too_many_pings"


def test_pings_of_a_peer_that_opens_its_window_as_fast_as_it_is_used():
    """A peer that measures the line on each answer of a stream, and gives back what the answer took, is no flood."""
    made, encoder = connection(ping_seconds=60.0), Encoder()
    made.receive(request(1, encoder=encoder))
    stream = made.streams[1]
    for _ in range(20):
        made.send(stream, bytes(30))
        made.pump()
        grown = frame(f.WINDOW_UPDATE, 0, 0, (30).to_bytes(4, "big"))
        made.receive(grown + frame(f.PING, 0, 0, bytes(8)))
        assert not made.ended, made.reason


def test_two_goaways():
    """After the first GOAWAY streams that were on their way are answered, after the second they are not looked at."""
    made = connection()
    made.go_away(f.LAST_STREAM)
    made.receive(request(1, end=True))
    made.go_away(made.last)
    made.receive(request(3, end=True))
    frames = said(made)
    assert [sid for kind, flags, sid, _ in frames if kind == f.HEADERS and flags & f.END_STREAM] == [1]
    assert [int.from_bytes(p[:4], "big") for kind, _, _, p in frames if kind == f.GOAWAY] == [f.LAST_STREAM, 1]
    assert len(made.seen) == 1


def some_frames(sid):
    """Frames that a peer may send about a stream, some of which it may not."""
    return [
        request(sid),
        request(sid, end=True),
        frame(f.DATA, 0, sid, b"some"),
        frame(f.DATA, f.END_STREAM, sid, b"last"),
        frame(f.DATA, 0, sid),
        frame(f.RST_STREAM, 0, sid, bytes(4)),
        frame(f.WINDOW_UPDATE, 0, sid, b"\0\0\0\1"),
        frame(f.PING, 0, 0, bytes(8)),
        frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, sid)),
    ]


@given(st.lists(st.sampled_from([one for sid in range(1, 9) for one in some_frames(sid)]), max_size=60), st.integers(0))
def test_time_that_runs_out(frames, missing):
    """What a connection says does not depend on how often it was out of time, and it always goes on."""
    data = b"".join(frames)
    data = data[: len(data) - missing % 20]
    at_once, in_pieces = connection(), connection()
    at_once.receive(data)
    in_pieces.receive(data, -math.inf)
    pieces = 1
    while in_pieces.more:
        in_pieces.receive(b"", -math.inf)
        pieces += 1
    assert said(in_pieces) == said(at_once)
    assert in_pieces.is_between_frames() == at_once.is_between_frames() or in_pieces.ended
    assert pieces <= 1 + len(frames) / http2.FRAMES_BETWEEN_LOOKS
