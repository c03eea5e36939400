"""The same sequences of right and wrong frames given to the edge and to nghttpd, the server of libnghttp2 (`peers`).

Where they differ, one of the reasons in docs/performance.md must hold.
"""

import shutil
import socket
import subprocess
from collections import Counter

import pytest

from service.edge import frames as f
from tests.fuzz.http2 import Script
from tests.ports import free_port
from tests.service.edge.raw import Methods, server
from tests.service.support import eventually

pytestmark = pytest.mark.peers

SEQUENCES = 1_000
ENABLE_CONNECT = 8  # a setting of RFC 8441


def ended_with(port, data):
    """The code of the GOAWAY that bytes are answered with; None: there is none."""
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        said = b""
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65_536):
                said += piece
        except OSError:  # it was reset when all was said
            pass
    while len(said) >= 9:
        high, low, kind, _, _ = f.FRAME.unpack_from(said)
        size = high << 16 | low
        if kind == f.GOAWAY and (code := int.from_bytes(said[13:17], "big")):
            return code
        said = said[9 + size :]
    return None


def settings(data):
    """Flags and payload of each SETTINGS frame of a sequence, as far as its frames are whole."""
    at = len(f.PREFACE)
    while len(data) - at >= 9:
        high, low, kind, flags, _ = f.FRAME.unpack_from(data, at)
        begin, at = at + 9, at + 9 + (high << 16 | low)
        if kind == f.SETTINGS:
            yield flags, data[begin:at]


def reason(ours, theirs, data):
    """Why the two differ, as docs/performance.md has it; empty: for no reason."""
    sent = list(settings(data))
    values = [value for _, body in sent if len(body) % 6 == 0 for value in f.SETTING.iter_unpack(body)]
    if ours is None and theirs == f.STREAM_CLOSED:
        return "a frame for a stream that has ended"
    if None not in (ours, theirs):
        return "a frame that breaks two rules"
    if theirs is None and not (data.startswith(f.PREFACE) and data[len(f.PREFACE) :][3:4] == bytes([f.SETTINGS])):
        return "no HTTP/2 from the beginning"
    if ours is None and sum(flags & f.ACK for flags, _ in sent) > 1:
        return "an acknowledgement of settings that were not sent"
    if ours is None and any(key == ENABLE_CONNECT and value > 1 for key, value in values):
        return "a setting of WebSockets"
    return ""


@pytest.fixture
def nghttpd(tmp_path):
    """The port of an nghttpd."""
    if shutil.which("nghttpd") is None:
        pytest.skip("nghttpd is not installed (Debian: nghttp2-server)")
    port = free_port()
    with subprocess.Popen(["nghttpd", "--no-tls", f"--htdocs={tmp_path}", str(port)]) as process:

        def accepts():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(accepts)
        yield port
        process.terminate()


def test_nghttpd_judges_alike(nghttpd):
    """Both end a connection with the same code or not at all, except for the reasons that the docs give."""
    found, unexplained = Counter(), []
    with server(methods=Methods(10)) as (port, _):
        for number in range(SEQUENCES):
            data = Script(number).made()
            ours, theirs = ended_with(port, data), ended_with(nghttpd, data)
            why = "alike" if ours == theirs else reason(ours, theirs, data)
            found[why] += 1
            if not why:
                unexplained.append((number, ours, theirs))
    assert unexplained == []
    assert found["alike"] > SEQUENCES / 2
