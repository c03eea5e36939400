"""service.web.static: typing inputs that are texts, ids, or several, in a real browser."""

import json

import numpy as np
import pytest

from service.web.app import Settings
from tests.service.oip.conftest import saved, two_ways
from tests.service.support import entry, eventually, serving
from tests.service.web import browsing
from tests.service.web.support import KEY, web

pytestmark = pytest.mark.skipif(not browsing.CHROMIUM, reason="no chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def opened(texts, tmp_path_factory):
    """A tab with the page of a network of texts and of one with two inputs, and a client of their server."""
    two = saved(tmp_path_factory.mktemp("two") / "version", two_ways())
    with (
        serving(entry("texts", "a", v1=texts), entry("two", "a", v1=two)) as (_, client),
        web(client, Settings(key=KEY)) as address,
        browsing.chromium() as browser,
    ):
        tab = browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()
        tab.set_default_timeout(20_000)
        page = browsing.Page(tab, address, KEY)
        yield page, client
        assert (page.left, page.faults) == ([], [])


def shown(page):
    """The numbers of the first output."""
    texts = page.tab.locator("#prediction svg text.strong").all_text_contents()
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]


def agrees(page, expected):
    """Waits until the page shows some numbers."""
    eventually(lambda: shown(page) == pytest.approx(list(expected), rel=1e-2, abs=1e-4), 30)


def test_a_text_is_typed(opened):
    """A text begins as the version's own example, is typed as it is, and stands in the address."""
    page, client = opened
    page.open(model="texts").ready()
    field = page.tab.get_by_label("x, text")
    assert field.input_value() == "The cat!"
    field.fill("Sat, the 日本: 1, 2; [3]")
    agrees(page, client.predict([["Sat, the 日本: 1, 2; [3]"]], model="texts").output[0])
    page.tab.wait_for_url("**%E6%97%A5%E6%9C%AC**")
    url = page.tab.url
    page.tab.goto("about:blank")
    page.tab.goto(url)
    page.ready()
    assert field.input_value() == "Sat, the 日本: 1, 2; [3]"
    page.shot("text")


def test_a_text_is_pasted(opened):
    """What is pasted into a text goes into it as it is; JSON that names the input, and a file, become the input."""
    page, client = opened
    page.open(model="texts").ready()
    field = page.tab.get_by_label("x, text")
    assert browsing.paste(field, "the [cat], sat")
    assert not browsing.paste(field, json.dumps({"x": [["sat sat"]]}))
    assert field.input_value() == "sat sat"
    card = page.tab.locator("#input")
    browsing.drop(card, "cat, the cat\n", "a.txt")
    page.tab.locator("#input-note", has_text="Took a.txt").wait_for()
    assert field.input_value() == "cat, the cat"
    agrees(page, client.predict([["cat, the cat"]], model="texts").output[0])
    browsing.drop(card, json.dumps({"x": ["a", "b"]}), "b.json")
    page.tab.locator("#input-note", has_text="x takes 1 text, this has 2").wait_for()


def test_why_of_a_text(opened):
    """What cannot be said of a text says so; what can comes."""
    page, _ = opened
    page.open(model="texts").ready()
    page.tab.locator("#why-title").click()
    for place in ("attribution", "gradients", "memory", "modes"):
        page.tab.locator(f"#why-{place} p").first.wait_for()
    page.shot("text-why")


def test_several_inputs(opened):
    """Each input has cells of its own, ids take whole numbers only, and all change the prediction."""
    page, client = opened
    page.open(model="two").ready()
    page.tab.get_by_label("ids, timestep 1").fill("3")
    page.tab.get_by_label("x2, timestep 4").fill("0.5")
    given = {"ids": np.array([[3, 0, 0, 0, 0]]), "x": np.zeros((1, 5, 2))}
    given["x"][0, 3, 1] = 0.5
    agrees(page, client.predict(given, model="two").outputs["last"][0])
    cell = page.tab.get_by_label("ids, timestep 2")
    cell.fill("1.5")
    assert cell.get_attribute("aria-invalid") == "true"
    cell.press("Tab")
    assert cell.input_value() == "0"
    page.shot("several-inputs")
