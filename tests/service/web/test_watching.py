"""service.web.watching: one call to the server, however many tabs listen."""

import json
import threading
from http.client import HTTPConnection

from service.client import Client
from tests.ports import free_port
from tests.service.support import entry, serving, show
from tests.service.web.support import web


class Tab:
    """A browser tab that listens; gives one event after the other."""

    def __init__(self, address, model):
        self.connection = HTTPConnection(address, timeout=30)
        self.connection.request("GET", f"/api/watch?model={model}")
        self.answer = self.connection.getresponse()
        assert self.answer.headers.get_content_type() == "text/event-stream"

    def event(self):
        """The next event."""
        while not (line := self.answer.readline()).startswith(b"data: "):
            assert line, "the stream ended"
        return json.loads(line.removeprefix(b"data: "))

    def close(self):
        """Closes the tab."""
        self.answer.close()
        self.connection.close()


def test_tabs_share_a_call(versions):
    """All tabs hear of a change, one that came later too, and the server sees one stream."""
    one = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"])
    with serving(one) as (host, client), web(client) as address:
        calls = []
        watch = client.watch
        client.watch = lambda model: calls.append(model) or watch(model)
        tabs = [Tab(address, "reference") for _ in range(3)]
        assert {tab.event()["change"] for tab in tabs} == {"MODEL_CHANGE_INITIAL"}
        tabs[0].close()
        moved = entry("reference", "champion", v2=versions["r3-2"], v1=versions["r3-1"])
        show(host, moved)
        for tab in tabs[1:]:
            event = tab.event()
            assert (event["connected"], event["model"]["default_version"]) == (True, "2")
        later = Tab(address, "reference")
        assert later.event()["model"]["default_version"] == "2"
        assert calls == ["reference"]
        for tab in (*tabs, later):
            tab.close()


def test_a_server_that_is_away():
    """Tabs are told that the server is away."""
    with Client(f"127.0.0.1:{free_port()}") as client, web(client) as address:
        tab = Tab(address, "reference")
        event = tab.event()
        assert (event["connected"], bool(event["error"])) == (False, True)
        tab.close()


def test_a_model_that_does_not_exist(address):
    """A tab that listens to nothing is told so, and its stream ends."""
    tab = Tab(address, "absent")
    assert "absent" in tab.event()["gone"]
    assert tab.answer.read() == b"\n"
    tab.close()


def test_the_end_does_not_wait_for_tabs(server):
    """A process that is to end closes the streams of its tabs."""
    with web(server[1]) as address:
        tab = Tab(address, "reference")
        tab.event()
        reading = threading.Thread(target=tab.answer.read)
        reading.start()
    reading.join(30)
    assert not reading.is_alive()
    tab.close()
