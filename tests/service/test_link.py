"""service.link: frames and calls between the supervisor and a worker."""

import queue
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest

from service.errors import NotFoundError, TimeLimitError, UnavailableError
from service.link import Link
from service.worker import SupervisorClient
from tests.service.support import R3_INPUTS, entry, eventually, serving

pytestmark = pytest.mark.usefixtures("edge")


@pytest.fixture
def links():
    """Two ends of a link."""
    one, other = socket.socketpair()
    ends = Link(Connection(one.detach())), Link(Connection(other.detach()))
    yield ends
    for end in ends:
        end.close()


def serve(link, answers):
    """Answers calls, and hands replies on, until the other end is gone."""

    def run():
        try:
            while True:
                kind, fields, body = link.receive()
                if kind == "reply":
                    link.answered(fields, body)
                else:
                    answers(fields, body)
        except (EOFError, OSError):
            link.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_call(links):
    """A call gets the result and the bytes that the other end replies with."""
    here, there = links
    serve(here, None)
    serve(there, lambda fields, body: there.reply(fields["number"], fields["arguments"], body[::-1]))
    assert here.call("echo", {"a": 1}, b"xyz", timeout=10) == ({"a": 1}, b"zyx")


def test_error(links):
    """An error arrives as what it was, with its field and facts."""
    here, there = links
    serve(here, None)
    serve(there, lambda fields, _: there.reply(fields["number"], NotFoundError("no 9", field="version", limit=3)))
    with pytest.raises(NotFoundError, match="no 9") as caught:
        here.call("load", {}, timeout=10)
    assert (caught.value.field, caught.value.details) == ("version", {"limit": "3"})


def test_a_deadline_that_passes(links):
    """A call that is not answered in time ends with the deadline, and says that it may take effect."""
    here, there = links
    serve(there, lambda *_: None)
    with pytest.raises(TimeLimitError, match="it may still take effect"):
        here.call("override", {}, timeout=0.01)


def test_other_end_gone(links):
    """A call that waits fails when the other end goes, and so do later ones."""
    here, there = links
    reader = serve(here, None)
    serve(there, lambda *_: there.close())
    with pytest.raises(UnavailableError):
        here.call("load", {}, timeout=10)
    reader.join(10)
    with pytest.raises(UnavailableError):
        here.call("load", {}, timeout=10)


def test_closed_while_others_send_and_receive(links):
    """Closing an end wakes the thread that receives there and those that send, as if the other end had gone."""
    here, _ = links
    with ThreadPoolExecutor(2) as pool:
        received = pool.submit(here.receive)
        sent = pool.submit(lambda: [here.send("x", body=bytes(1 << 20)) for _ in range(100)])  # which nobody reads
        eventually(here._sending.locked)
        here.close()
        for ended in (received, sent):
            with pytest.raises((EOFError, OSError)):
                ended.result(20)


def test_a_version_that_loads_keeps_nobody_waiting(links, versions):
    """While calls for a version wait for the supervisor to load it, the one thread of a worker answers others."""
    here, there = links
    serve(here, None)
    asked = queue.Queue()
    serve(there, lambda fields, _: asked.put(fields["number"]))
    model = entry("reference", "champion", v1=versions["r3-1"])
    with (
        serving(model, load=SupervisorClient(here).load, unary_threads=1) as (_, client),
        ThreadPoolExecutor(3) as pool,
    ):
        waiting = [pool.submit(client.predict, R3_INPUTS, version="2") for _ in range(3)]
        number = asked.get(timeout=20)  # once for all who want the same
        assert client.predict(R3_INPUTS).version == "1"
        assert not any(future.done() for future in waiting)
        there.reply(number, NotFoundError("version 2 is not there", field="version"))
        for future in waiting:
            with pytest.raises(NotFoundError, match="version 2 is not there"):
                future.result(20)


def test_other_end_does_not_read():
    """Sending to an end that does not read fails after a limit, and so do those who wait to send."""
    one, other = socket.socketpair()
    with other, ThreadPoolExecutor(2) as pool:
        link = Link(Connection(one.detach()), send_seconds=0.5)
        sending = [pool.submit(link.send, "x", body=bytes(1 << 22)) for _ in range(2)]
        for sent in sending:
            with pytest.raises(OSError):  # noqa: PT011  # one waits in vain, the other finds the link ended
                sent.result(20)
        link.close()


def test_offer(links):
    """A frame that is offered is sent where that takes no waiting, and not sent where it would."""
    here, there = links
    assert here.offer("ping")
    assert there.receive()[0] == "ping"
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(here.send, "x", body=bytes(1 << 22))
        eventually(here._sending.locked)
        assert not here.offer("ping")
        assert there.receive()[0] == "x"
        blocked.result(20)
        assert here.offer("ping")
