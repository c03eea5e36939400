"""The edge of our own, by a client that says whatever it likes: bytes, slowness, drains, addresses, TLS."""

import socket
import ssl
import threading
import time
import warnings

import grpc
import pytest
from cryptography import x509
from google.protobuf.wrappers_pb2 import BytesValue

from service.config import EDGES, Limits, Tls
from service.edge import frames as f
from service.edge import http2_calls, http2_edge
from tests.certificates import Authority
from tests.service.edge.raw import HEADERS, Methods, Peer, server
from tests.service.support import eventually

ECHO = "/t.S/Echo"


@pytest.fixture
def methods():
    """The handlers, and what they saw."""
    return Methods()


@pytest.fixture
def port(methods):
    """The port of a server of these handlers."""
    with server(methods=methods, limits=Limits(message_bytes=1_000_000)) as (port, _):
        yield port


def echo(channel):
    return channel.unary_unary(ECHO, BytesValue.SerializeToString, BytesValue.FromString)


def test_an_answer_on_the_wire(port):
    """An answer is headers, a message, trailers; from the second on both are a few bytes of the compression table."""
    with Peer(port) as peer:
        for value in (b"one", b"two", b"three"):
            trailers, values = peer.answer(peer.call(value))
            assert (trailers, values) == ({"grpc-status": "0"}, [value])
        headers = [payload for kind, _, _, payload in peer.frames if kind == f.HEADERS]
        assert [dict(block) for block in headers[::2]] == [{":status": "200", "content-type": "application/grpc"}] * 3


def test_answers_beside_one_that_waits(methods):
    """What is said of headers holds for answers in any order: large ones that wait for windows, small ones between."""
    with server(methods=methods) as (port, _), Peer(port, settings=f.SETTING.pack(f.INITIAL_WINDOW, 100)) as peer:
        large = peer.call(bytes(1_000))
        small = [peer.call(b"x") for _ in range(5)]
        assert all(peer.answer(sid) == ({"grpc-status": "0"}, [b"x"]) for sid in small)
        peer.send(peer.frame(f.WINDOW_UPDATE, 0, large, (10_000).to_bytes(4, "big")))
        assert peer.answer(large) == ({"grpc-status": "0"}, [bytes(1_000)])
        assert peer.answer(peer.call(b"y")) == ({"grpc-status": "0"}, [b"y"])


@pytest.mark.parametrize("size", [0, 100, 127])
def test_a_client_with_a_small_table(port, size):
    """A client that wants a smaller compression table reads every answer."""
    with Peer(port, settings=f.SETTING.pack(f.HEADER_TABLE_SIZE, size)) as peer:
        peer.decoder.header_table_size = 4_096
        for _ in range(3):
            assert peer.answer(peer.call(b"x")) == ({"grpc-status": "0"}, [b"x"])


def test_a_table_that_becomes_small(port):
    """The same where it says so after answers came."""
    with Peer(port) as peer:
        peer.answer(peer.call(b"x"))
        peer.send(peer.frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.HEADER_TABLE_SIZE, 0)))
        for _ in range(3):
            assert peer.answer(peer.call(b"x")) == ({"grpc-status": "0"}, [b"x"])
        assert not peer.decoder.header_table.dynamic_entries


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ((("grpc-encoding", "snappy"),), "12"),
        ((("grpc-timeout", "soon"),), "3"),
        ((("grpc-timeout", "123456789S"),), "3"),
        ((("x", "y" * 17_000),), "8"),
    ],
)
def test_headers_that_cannot_be_answered(port, extra, status):
    """A request whose headers cannot be met ends with a status, in headers alone; unknown encodings with ours."""
    with Peer(port) as peer:
        block = peer.encoder.encode([*HEADERS, *extra])
        pieces = [block[i : i + 16_000] for i in range(0, len(block), 16_000)]
        peer.send(peer.frame(f.HEADERS, f.END_HEADERS if len(pieces) == 1 else 0, 1, pieces[0]))
        for piece in pieces[1:]:
            peer.send(peer.frame(f.CONTINUATION, f.END_HEADERS, 1, piece))
        if len(block) > 16_384:
            assert peer.goaway()[0] == f.ENHANCE_YOUR_CALM
            return
        trailers = dict(peer.until(f.HEADERS, 1, ends=True))
        assert trailers["grpc-status"] == status
        assert trailers[":status"] == "200"
        if status == "12":
            assert trailers["grpc-accept-encoding"] == "identity,deflate,gzip"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({":method": "GET"}, "405"),
        ({"content-type": "text/html"}, "415"),
        ({"content-type": "application/grpc-web"}, "415"),
    ],
)
def test_what_is_not_grpc(port, change, status):
    """Requests that are not gRPC get a status of HTTP."""
    with Peer(port) as peer:
        block = peer.encoder.encode([(k, change.get(k, v)) for k, v in HEADERS])
        peer.send(peer.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, block))
        assert dict(peer.until(f.HEADERS, 1, ends=True)) == {":status": status}


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        (b"", "3"), (b"\0\0\0", "3"), (b"\0\0\0\0\x63", "3"), (b"\0\0\0\0\0", "3"), (b"\2\0\0\0\5", "3"),
        (b"\1\0\0\0\7", "3"), (b"\0\x7f\xff\xff\xff", "8"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_message(port, prefix, status):
    """A body that is not one whole message ends its call and nothing else; a large promise is refused at once."""
    with Peer(port) as peer:
        sid = peer.headers()
        if status == "8":
            peer.send(peer.frame(f.DATA, 0, sid, prefix))
        else:
            peer.data(sid, b"hello", prefix=prefix)
        assert dict(peer.until(f.HEADERS, sid, ends=True))["grpc-status"] == status
        assert peer.answer(peer.call(b"x"))[0] == {"grpc-status": "0"}


def test_texts_fit_what_the_client_takes(methods):
    """A status is cut to what a client says it takes of headers; the details go first."""
    settings = f.SETTING.pack(f.MAX_HEADERS, 300)
    with server(methods=methods) as (port, _), Peer(port, settings=settings) as peer:
        sid = peer.call(b"x" * 900, "/t.S/Fail")
        fields = peer.until(f.HEADERS, sid, ends=True)
        assert sum(len(name) + len(value) + 32 for name, value in fields) <= 400
        assert dict(fields)["grpc-status"] == "3"


def test_one_byte_at_a_time(port):
    """A client that sends each byte by itself is answered as others are."""
    with Peer(port, preface=False) as peer:
        data = f.PREFACE + peer.frame(f.SETTINGS, 0, 0)
        for byte in data:
            peer.send(bytes((byte,)))
        sid, sent = 1, []
        peer.send, real = sent.append, peer.send
        peer.call(b"hello")
        peer.send = real
        for byte in b"".join(sent):
            peer.send(bytes((byte,)))
        assert peer.answer(sid)[1] == [b"hello"]


def test_flow_control_of_a_stream_that_is_read_slowly(methods):
    """A client that reads nothing holds the handler up, and the server holds little; then it gets all of it."""
    with server(methods=methods) as (port, edge), Peer(port) as peer:
        sid = peer.call(b"L" * 100, "/t.S/Count")
        peer.until(f.DATA, sid)
        (transport,) = edge.loop.transports.values()
        eventually(lambda: transport.connection.unsent_bytes > http2_calls.STREAM_HELD)
        for _ in range(20):
            threading.Event().wait(0.01)
            assert transport.connection.unsent_bytes < http2_calls.STREAM_HELD + 3 * 65_600
        for where in (0, sid):
            peer.send(peer.frame(f.WINDOW_UPDATE, 0, where, (1 << 24).to_bytes(4, "big")))
        trailers, values = peer.answer(sid)
        assert trailers == {"grpc-status": "0"}
        assert list(map(len, values)) == [65_536] * 100


def test_windows_that_open_bit_by_bit(methods):
    """An answer goes on as soon as a window opens, though nothing else is said."""
    with server(methods=methods) as (port, _), Peer(port) as peer:
        sid = peer.call(b"L" * 10, "/t.S/Count")
        left = 10 * (65_536 + 9)
        while left > 0:
            size = len(peer.until(f.DATA, sid))
            left -= size
            for where in (0, sid):
                peer.send(peer.frame(f.WINDOW_UPDATE, 0, where, max(size, 1).to_bytes(4, "big")))
        assert dict(peer.until(f.HEADERS, sid, ends=True)) == {"grpc-status": "0"}


def test_flow_control_of_a_stream_that_is_taken_slowly(methods):
    """While a handler takes no message a client may send no more than a window of them; after that it may go on."""
    with server(methods=methods) as (port, edge), Peer(port) as peer:
        for _ in range(1):
            sid = peer.headers("/t.S/Chat")
        peer.data(sid, b"wait", end=False)
        assert methods.begun.acquire(timeout=30)
        for _ in range(15):
            peer.data(sid, bytes(16_000), end=False)
        peer.send(peer.frame(f.PING, 0, 0, b"12345678"))
        peer.until(f.PING)
        granted = [p for kind, _, s, p in peer.frames if kind == f.WINDOW_UPDATE and s == sid]
        assert granted == []
        methods.let.set()
        peer.until(f.WINDOW_UPDATE, sid)
        (transport,) = edge.loop.transports.values()
        assert not transport.connection.ended


def test_a_window_that_never_opens(port, monkeypatch):
    """An answer of which nothing is taken for long is given up; the connection goes on."""
    monkeypatch.setattr(http2_edge, "STALLED_SECONDS", 0.5)
    with Peer(port, settings=f.SETTING.pack(f.INITIAL_WINDOW, 0)) as peer:
        sid = peer.call(b"x")
        assert int.from_bytes(peer.until(f.RST_STREAM, sid), "big") == f.CANCEL
        peer.send(peer.frame(f.SETTINGS, 0, 0, f.SETTING.pack(f.INITIAL_WINDOW, 1_000)))
        assert peer.answer(peer.call(b"y"))[1] == [b"y"]


@pytest.mark.parametrize(
    "sent", [b"", f.PREFACE[:10], f.PREFACE, f.PREFACE + b"\0\0"], ids=["nothing", "preface", "settings", "frame"]
)
def test_slow_beginnings(port, monkeypatch, sent):
    """A connection that does not get to speak HTTP/2 in some seconds is closed."""
    monkeypatch.setattr("service.edge.transport.SLOW_SECONDS", 0.5)
    with Peer(port, preface=False) as peer:
        peer.send(sent)
        assert peer.ended()


def test_slow_frames_and_headers(port, monkeypatch):
    """So is one that begins a frame, or headers, and does not go on."""
    monkeypatch.setattr("service.edge.transport.SLOW_SECONDS", 0.5)
    for data in (Peer.frame(f.HEADERS, 0, 1, b"\x88"), Peer.frame(f.DATA, 0, 1, bytes(100))[:50]):
        with Peer(port) as peer:
            peer.send(data)
            assert peer.ended()


def test_a_slow_body(port, monkeypatch):
    """A request whose body dribbles is ended with a status; others on its connection are answered."""
    monkeypatch.setattr(http2_edge, "SLOW_SECONDS", 0.5)
    with Peer(port) as peer:
        sid = peer.headers()
        peer.send(peer.frame(f.DATA, 0, sid, b"\0\0\0\0"))
        assert dict(peer.until(f.HEADERS, sid, ends=True))["grpc-status"] == "4"
        assert peer.answer(peer.call(b"x"))[1] == [b"x"]


def test_a_peer_that_vanished(methods):
    """A connection that answers no ping is closed, and its streams end."""
    with server(methods=methods, limits=Limits(silent_seconds=0.6)) as (port, edge), Peer(port) as peer:
        peer.headers("/t.S/Chat")
        assert methods.begun.acquire(timeout=30)
        assert methods.left.acquire(timeout=30)
        assert not edge.loop.transports
        assert peer.ended()


def test_a_peer_that_answers_pings_stays(methods):
    """One that does keeps its quiet stream."""
    with server(methods=methods, limits=Limits(silent_seconds=3.0)) as (port, _), Peer(port) as peer:
        sid = peer.headers("/t.S/Chat")
        for _ in range(2):
            peer.send(peer.frame(f.PING, f.ACK, 0, peer.until(f.PING)))
        peer.data(sid, b"still here")
        assert peer.answer(sid)[1] == [b"still here"]


def test_a_drain_loses_nothing(methods):
    """Two GOAWAYs: calls that were on their way are answered, the streams end, and the peer is told the last one."""
    with server(methods=methods) as (port, edge), Peer(port) as peer:
        waits = peer.call(b"waits", "/t.S/Wait")
        assert methods.begun.acquire(timeout=30)
        done = threading.Thread(target=edge.drain, args=(30,))
        done.start()
        assert int.from_bytes(peer.until(f.GOAWAY)[:4], "big") == f.LAST_STREAM
        late = peer.call(b"late")  # sent before the first GOAWAY was seen
        peer.send(peer.frame(f.PING, f.ACK, 0, peer.until(f.PING)))
        assert peer.answer(late)[1] == [b"late"]
        assert int.from_bytes(peer.until(f.GOAWAY)[:4], "big") == late
        peer.call(b"too late")
        methods.let.set()
        assert peer.answer(waits)[1] == [b"waits"]
        assert peer.ended()
        done.join(30)
        assert not done.is_alive()


def test_a_drain_under_load(methods):
    """While callers go on calling a server that drains, no call that it took is lost: all are answered or not begun."""
    with server(methods=methods) as (port, edge):
        answered, lost, stop = [], [], threading.Event()

        def call(channel):
            while not stop.is_set():
                try:
                    answered.append(echo(channel)(BytesValue(value=b"x"), timeout=30))
                except grpc.RpcError as error:
                    if "refused" not in error.details().lower():
                        lost.append(error)
                    return

        channels = [
            grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
        ]
        threads = [threading.Thread(target=call, args=(channel,)) for channel in channels for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) > 200)
        edge.drain(30)
        for thread in threads:
            thread.join(60)
        stop.set()
        for channel in channels:
            channel.close()
    assert lost == []
    assert len(answered) == len(methods.calls)


@pytest.mark.parametrize("option", ["connection_age_seconds", "connection_idle_seconds"])
def test_age_and_idleness(methods, option):
    """A connection that is old, or idle for long, is asked to go; a client goes on on another without an error."""
    with server(methods=methods, **{option: 0.3}) as (port, _):
        with Peer(port) as peer:
            assert peer.answer(peer.call(b"x"))[1] == [b"x"]
            peer.until(f.GOAWAY)
            peer.send(peer.frame(f.PING, f.ACK, 0, peer.until(f.PING)))
            assert peer.ended()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert echo(channel)(BytesValue(value=b"x"), timeout=30, wait_for_ready=True).value == b"x"


def test_addresses(methods, tmp_path):
    """IPv4, IPv6, and a unix socket that takes the place of one that was left behind."""
    path = tmp_path / "socket"
    for _ in range(2):
        with server(methods=methods, address=f"unix:{path}"), Peer(str(path)) as peer:
            assert peer.answer(peer.call(b"x"))[1] == [b"x"]
            with grpc.insecure_channel(f"unix:{path}") as channel:
                assert echo(channel)(BytesValue(value=b"y")).value == b"y"
        assert methods.calls[-1].peer() == "unix"
    with server(methods=methods, address="[::1]:0") as (port, _), grpc.insecure_channel(f"[::1]:{port}") as channel:
        assert echo(channel)(BytesValue(value=b"6")).value == b"6"
        assert methods.calls[-1].peer() == "ipv6:::1"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="no socket"), server(address=f"unix:{tmp_path}/file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_certificates(methods, tmp_path):
    """With an authority for clients a certificate is required; where it is optional, others are served too."""
    Authority(tmp_path).sign("server").sign("alice")
    for optional in (False, True):
        tls = Tls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "authority.pem", optional)
        with server(methods=methods, tls=tls) as (port, _):
            root = (tmp_path / "authority.pem").read_bytes()
            pair = ((tmp_path / "alice.key").read_bytes(), (tmp_path / "alice.pem").read_bytes())
            with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(root, *pair)) as channel:
                assert echo(channel)(BytesValue(value=b"x")).value == b"x"
            assert methods.calls[-1].certificate() == "alice"
            with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(root)) as channel:
                if optional:
                    assert echo(channel)(BytesValue(value=b"x")).value == b"x"
                    assert methods.calls[-1].certificate() == ""
                else:
                    with pytest.raises(grpc.RpcError):
                        echo(channel)(BytesValue(value=b"x"), timeout=5)


@pytest.mark.parametrize("edge", EDGES)
def test_certificates_are_read_again(edge, tmp_path):
    """New files are used for new connections without a restart; those that are at fault change nothing."""
    authority = Authority(tmp_path).sign("server")
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.key")

    def serial():
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    with server(edge, tls=tls) as (port, _):
        before = serial()
        (tmp_path / "server.key").rename(tmp_path / "kept")
        (tmp_path / "server.key").write_text("no key")
        assert serial() == before
        authority.sign("server")
        eventually(lambda: serial() != before)


@pytest.mark.parametrize("edge", EDGES)
def test_authorities_are_read_again(edge, methods, tmp_path):
    """A new authority of clients holds for new connections without a restart; those that are open go on."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = (Authority(tmp_path / name).sign("server").sign("client") for name in ("old", "new"))
    accepted = tmp_path / "accepted.pem"
    accepted.write_bytes((old.folder / "authority.pem").read_bytes())
    tls = Tls(old.folder / "server.pem", old.folder / "server.key", accepted)

    def channel(authority):
        files = (old.folder / "authority.pem", authority.folder / "client.key", authority.folder / "client.pem")
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])

    def answers(authority):
        with channel(authority) as made:
            try:
                return echo(made)(BytesValue(value=b"x"), timeout=10).value == b"x"
            except grpc.RpcError:
                return False

    with server(edge, methods=methods, tls=tls) as (port, _), channel(old) as kept:
        assert echo(kept)(BytesValue(value=b"x"), timeout=10).value == b"x"
        states = []
        kept.subscribe(states.append)
        assert not answers(new)
        accepted.write_bytes((new.folder / "authority.pem").read_bytes())
        eventually(lambda: answers(new))
        assert not answers(old)
        assert echo(kept)(BytesValue(value=b"x"), timeout=10).value == b"x"
        assert set(states) <= {grpc.ChannelConnectivity.READY}  # it did not connect again


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [["h2"], ["http/1.1"], []])
def test_versions_of_tls(methods, tmp_path, version, protocols):
    """TLS 1.2 and 1.3 are spoken, to clients that offer HTTP/2."""
    Authority(tmp_path).sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.key")
    good = protocols == ["h2"] and version is not ssl.TLSVersion.TLSv1_1
    with server(methods=methods, tls=tls) as (port, _):
        try:
            with Peer(port, context=context) as peer:
                assert peer.answer(peer.call(b"x" * 50_000))[1] == [b"x" * 50_000]
        except (OSError, AssertionError):
            assert not good
        else:
            assert good


def test_a_slow_handshake(tmp_path, monkeypatch):
    """A client that connects and does not shake hands is closed after some seconds; others are served meanwhile."""
    monkeypatch.setattr("service.edge.transport.SLOW_SECONDS", 0.5)
    Authority(tmp_path).sign("server")
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.key")
    with server(tls=tls) as (port, _), Peer(port, preface=False) as peer:
        peer.send(b"\x16\x03\x01")
        assert peer.ended()


def test_a_port_is_shared_by_those_who_ask_for_it():
    """Workers share a port: what one does not accept another does."""
    one, two = Methods(), Methods()
    with server(methods=one) as (port, _), server(methods=two, address=f"127.0.0.1:{port}"):

        def both_answer():
            with Peer(port) as peer:
                assert peer.answer(peer.call(b"x"))[1] == [b"x"]
            return one.calls and two.calls

        eventually(both_answer)


def test_peers_that_have_gone(methods):
    """Of many peers that have gone few calls are begun while others wait, and the others are answered."""
    with server(methods=methods) as (port, edge):
        stopped, go_on = threading.Event(), threading.Event()
        edge.loop.post(lambda: (stopped.set(), go_on.wait(60)))
        assert stopped.wait(60)
        for _ in range(400):
            with Peer(port) as peer:
                peer.call(b"gone")
        with Peer(port) as peer:
            sid = peer.call(b"here")
            go_on.set()
            assert peer.answer(sid) == ({"grpc-status": "0"}, [b"here"])
            assert peer.answer(peer.call(b"still")) == ({"grpc-status": "0"}, [b"still"])
        eventually(lambda: not edge.loop.transports)
        assert len(methods.calls) < 200


def test_a_client_that_says_no_more(port):
    """A client that ends its side of the connection after its request is answered: nobody else waits."""
    with Peer(port) as peer:
        sid = peer.call(b"last")
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.answer(sid) == ({"grpc-status": "0"}, [b"last"])


def test_room_for_the_end_of_a_request(port):
    """A message beyond the window is let in with a byte to spare: some clients say the end only where there is room."""
    with Peer(port) as peer:
        sid = peer.headers()
        peer.send(peer.frame(f.DATA, 0, sid, b"\0" + (900_000).to_bytes(4, "big")))
        granted = 0
        while granted < 900_001 - http2_calls.STREAM_WINDOW:
            granted += int.from_bytes(peer.until(f.WINDOW_UPDATE, sid), "big")


def test_calls_that_come_together(port):
    """Calls that arrive in one piece, more than are answered in a turn, are all answered, beside those of another."""
    with Peer(port) as many, Peer(port) as other:
        many.answer(many.call())
        first = many.sid + 2
        block = many.encoder.encode(HEADERS)
        body = BytesValue(value=b"x" * 50).SerializeToString()
        body = b"\0" + len(body).to_bytes(4, "big") + body
        sids = range(first, first + 2 * 90, 2)
        many.send(
            b"".join(
                many.frame(f.HEADERS, f.END_HEADERS, s, block) + many.frame(f.DATA, f.END_STREAM, s, body) for s in sids
            )
        )
        assert other.answer(other.call(b"y")) == ({"grpc-status": "0"}, [b"y"])
        assert all(many.answer(sid) == ({"grpc-status": "0"}, [b"x" * 50]) for sid in sids)
