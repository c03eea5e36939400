"""service.web.static: what the page shows where there is no prediction, or one that cannot be trusted."""

import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from service.client import Client
from service.config import Limits
from service.errors import CorruptModelError
from service.snapshot import VersionEntry
from service.web.app import STATIC, Settings
from tests.service.support import entry, eventually, keep, serving
from tests.service.web import browsing
from tests.service.web.support import KEY, web

pytestmark = pytest.mark.skipif(not browsing.CHROMIUM, reason="no chromium is installed: apt-get install chromium")
BIG = [  # all units at 1, each times more than half of the largest number
    {"weight": "simpleRNN/bias", "operation": "set", "ranges": [[0, 4]], "value": 1000},
    {"weight": "output/kernel", "operation": "set", "ranges": [[0, 4], [0, 1]], "value": 3e38},
]


@pytest.fixture(scope="module")
def browser():
    """The browser."""
    with browsing.chromium() as browser:
        yield browser.new_context(viewport={"width": 1200, "height": 900})


@pytest.fixture
def tab(browser):
    """A tab that does not last."""
    tab = browser.new_page()
    tab.set_default_timeout(20_000)
    yield tab
    tab.close()


@pytest.fixture
def model(versions):
    """The reference network as a model."""
    return entry("reference", "champion", v1=versions["r3-1"])


def test_a_server_that_goes_away(tab, model):
    """When the server goes away, the page says so and keeps the last numbers, in grey."""
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        address = server.enter_context(serving(model))[1].address
        client = stack.enter_context(Client(address, timeout=5))
        page = browsing.Page(tab, stack.enter_context(web(client, Settings(key=KEY))), KEY).open().ready()
        seen = page.text("#prediction .value")
        server.close()
        tab.get_by_label("x1, timestep 1").fill("3")
        tab.locator("#away:visible").wait_for()
        tab.locator("#prediction.stale").wait_for()
        assert page.text("#prediction .value") == seen
        page.shot("away")
        assert page.left == []


def test_a_page_that_goes_away(tab, model):
    """When the page's own process has ended, the last numbers stay, in grey."""
    with serving(model) as (_, client):
        with web(client, Settings(key=KEY)) as address:
            page = browsing.Page(tab, address, KEY).open().ready()
            seen = page.text("#prediction .value")
        tab.locator("#away:visible").wait_for()
        assert page.text("#prediction .value") == seen


def test_nothing_is_served(tab):
    """A server without models has a face of its own."""
    with serving() as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open()
        tab.locator("#face-title", has_text="Nothing is served yet").wait_for()
        page.shot("empty")


def test_loading(tab, model):
    """While a version is fetched, the page says so."""
    held = []
    with serving(model) as (_, client), web(client, Settings(key=KEY)) as address:
        tab.route("**/api/weights*", lambda route: held.append(route))  # a function of ours: Playwright marks it
        page = browsing.Page(tab, address, KEY).open()
        tab.locator("#face-title", has_text="Loading").wait_for()
        page.shot("loading")
        eventually(lambda: (tab.evaluate("1"), held)[1])  # events of the browser come while it is asked something
        held.pop().continue_()
        page.ready()
        assert tab.locator("#face").is_hidden()


def test_a_version_that_is_refused(tab, model):
    """A version that the server refuses has a face with the reason, which leads to the one in service."""

    def load(*_):
        raise CorruptModelError("model.keras holds no config.json")

    with serving(model, load=load) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open(model="reference", version="5")
        tab.locator("#face-title", has_text="This version is refused").wait_for()
        assert "config.json" in page.text("#face-text")
        page.shot("refused")
        tab.locator("#face-action").click()
        page.ready()


def test_too_large(tab, model):
    """An input that is too large is answered in the server's words; where only a trace is, there is a prediction."""
    with serving(model, limits=Limits(computed=40)) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open().ready()
        tab.locator("#prediction-note", has_text="the limit is 40").wait_for()
        assert tab.locator("#unrolled").is_hidden()
    with serving(model, limits=Limits(timesteps=2)) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open()
        tab.locator("#face-title", has_text="too large").wait_for()
        page.shot("too-large")


def test_not_finite(tab, model):
    """Numbers that are not finite are shown as such, with a warning."""
    with serving(model) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open(model="reference", nudges=BIG, version="1").ready()
        tab.locator("#prediction-odd:visible").wait_for()
        assert any(text in page.text("#prediction .value.new") for text in ("∞", "NaN"))
        page.shot("not-finite")


def test_read_only(tab, model):
    """On a read-only page the buttons that change something say why they do not."""
    with serving(model) as (_, client), web(client, Settings(key=KEY, read_only=True)) as address:
        nudge = {"weight": "output/bias", "operation": "add", "value": 1, "ranges": [[0, 1]]}
        page = browsing.Page(tab, address, KEY).open(model="reference", version="1", nudges=[nudge]).ready()
        tab.locator("#commit-why", has_text="--read-only").wait_for()
        assert tab.locator("#commit").is_disabled()
        page.shot("read-only")


def test_what_a_browser_is_given(tab, versions):
    """A browser that showed the page holds neither the token of the page's process nor a cookie that scripts read."""
    token, seen = "operator-token-that-stays-in-this-process", []
    with (
        serving(entry("reference", "champion", v1=versions["r3-1"]), operator_token=token) as (_, plain),
        Client(plain.address, token=token) as client,
        web(client, Settings(key=KEY)) as address,
    ):
        tab.on("response", lambda answer: seen.append(answer) if "/api/watch" not in answer.url else None)
        page = browsing.Page(tab, address, KEY).open().ready()
        tab.locator("#versions-body tr").first.wait_for()
        texts = [f"{answer.url} {answer.all_headers()} {answer.body()}" for answer in seen]
        texts += [tab.content(), json.dumps(tab.context.storage_state()), tab.evaluate("JSON.stringify(localStorage)")]
        assert "override" in page.text("#badges")
        assert len(seen) > len(list((STATIC / "js").iterdir()))
        assert all(token not in text for text in texts)
        assert tab.evaluate("document.cookie") == ""


def test_hostile_names(tab, versions):
    """Whatever names and reasons from the registry hold, the page shows it as text."""
    hostile = "<img src=x onerror=alert(1)>"
    version = replace(versions["r3-1"], reason=hostile, actor=f"<script>{hostile}</script>")
    with serving(entry(hostile, "champion", v1=version)) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open().ready()
        tab.locator("#versions-body .reason", has_text=hostile).wait_for()
        assert tab.locator("#model").input_value() == hostile
        assert tab.locator("img, #versions-body script").count() == 0
        assert page.faults == []


@pytest.mark.parametrize("what", ["classes", "targets"])
def test_outputs_have_their_names(tab, tmp_path, what):
    """Classes are bars with their labels, and several targets lines with their names; both are asked about by name."""
    import keras

    names = ["cold", "mild", "hot & dry"]
    last = [keras.layers.Dense(3, activation="softmax", name="out")]
    if what == "targets":
        last = [keras.layers.Dense(6), keras.layers.Reshape((2, 3), name="out")]
    network = keras.Sequential([keras.Input((3, 2), name="x"), keras.layers.SimpleRNN(4, name="rnn"), *last])
    known = {"features": ["a", "b"], "target": "y", "window": 3, "horizon": 2, what: names}
    digest = keep(network, tmp_path / "version", np.ones((1, 3, 2), np.float32))
    version = VersionEntry("1", digest, str(tmp_path / "version"), data=json.dumps(known))
    with serving(entry("named", "champion", v1=version)) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open().ready()
        where = tab.locator("#prediction svg.chart title" if what == "classes" else "#prediction h4")
        where.nth(2).wait_for(state="attached")
        assert where.all_text_contents() == names
        tab.locator("#why-title").click()
        tab.locator("#why-attribution p").first.wait_for()
        assert tab.locator("#why-element option").all_text_contents() == names
        page.shot(what)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A version with weights of 256 × 1,024."""
    import keras

    folder = tmp_path_factory.mktemp("large") / "version"
    network = keras.Sequential([keras.Input((8, 256), name="x"), keras.layers.LSTM(256, name="lstm")])
    return VersionEntry(
        "0", keep(network, folder, np.zeros((1, 8, 256), np.float32)), str(folder), engines=("numpy",) * 2
    )


def test_a_large_weight(tab, large):
    """A weight of 256 × 1,024 is a picture that zooms and is read by keys, with a table behind it."""
    with serving(entry("large", "champion", v1=large)) as (_, client), web(client, Settings(key=KEY)) as address:
        page = browsing.Page(tab, address, KEY).open().ready()
        picture = tab.get_by_role("application", name="lstm/recurrent_kernel, 256 × 1024")
        picture.focus()
        picture.press("ArrowDown")
        picture.press("End")
        figure = tab.locator("figure", has=picture)
        expected = client.weights()["lstm/recurrent_kernel"][1, 1023]
        assert figure.locator("output").inner_text().startswith("h2, 256: ")
        shown = float(figure.locator("output").inner_text().partition(": ")[2].replace("\N{MINUS SIGN}", "-"))
        assert shown == pytest.approx(expected, rel=1e-2, abs=1e-4)
        figure.get_by_role("button", name="Zoom in").click()
        figure.get_by_text("Table of numbers").click()
        figure.locator("caption", has_text="rows 1–24 of 256").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.shot("large")
