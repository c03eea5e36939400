"""service.web.static: what people see and do on the page, in a real browser, with a real server and registry."""

import re
import subprocess
import sys

import numpy as np
import pytest

from service.web.app import Settings
from tests.service.support import R3_INPUTS, Server, eventually
from tests.service.web import browsing
from tests.service.web.support import KEY, web

pytestmark = pytest.mark.skipif(not browsing.CHROMIUM, reason="no chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def served(registry, tmp_path_factory):
    """A server process that serves two models, and a client of it."""
    from service.client import Client

    registry.register("reference", "r3-1", "champion")
    registry.register("reference", "r3-2")
    cache = tmp_path_factory.mktemp("cache")
    server = Server("models:/reference@champion", cache=cache, env=registry.env, workers=1)
    try:
        with Client(server.address) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture(scope="module")
def context(served):
    """The browser with the page of that server, and the page's address."""
    with web(served, Settings(key=KEY)) as address, browsing.chromium() as browser:
        yield browser.new_context(viewport={"width": 1400, "height": 1000}), address


@pytest.fixture
def page(context):
    """A tab; at its end, nothing left the origin and no script failed."""
    browser, address = context
    tab = browser.new_page()
    tab.set_default_timeout(20_000)
    made = browsing.Page(tab, address, KEY)
    yield made
    tab.close()
    assert (made.left, made.faults) == ([], [])


def number(text):
    """A number as the page shows it."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


def predicted(page):
    """The prediction that is shown, with the changes where there are some."""
    return number(page.text("#prediction .value.new, #prediction .value:not(.old)"))


def nudged(page, row, column):
    """Picks an element of simpleRNN/kernel."""
    cell = page.tab.locator(f"[aria-label='simpleRNN/kernel'] td[data-at='{row},{column}']")
    cell.click()
    page.tab.locator("#changes-body li").first.wait_for()
    return cell


def test_own_example(page, served):
    """The page begins with the version's own example and shows what the client predicts."""
    page.open().ready()
    assert predicted(page) == pytest.approx(served.predict(R3_INPUTS[:1]).output[0, 0], rel=1e-4)
    assert page.tab.locator("#input-body input").count() == 6
    assert "proof by Keras" in page.text("#badges")
    assert "key=" not in page.tab.url
    page.shot("reference")


def test_cells_by_keyboard(page, served):
    """Cells of the input are edited and left with keys alone."""
    page.open(model="reference").ready()
    page.tab.get_by_label("x2, timestep 1").focus()
    page.tab.keyboard.press("ArrowUp")
    page.tab.keyboard.type("7.5")
    page.tab.keyboard.press("ArrowRight")
    changed = R3_INPUTS[:1].copy()
    changed[0, 0, 0] = 7.5
    expected = served.predict(changed).output[0, 0]
    eventually(lambda: predicted(page) == pytest.approx(expected, rel=1e-4), 30)
    assert page.tab.evaluate("document.activeElement.getAttribute('aria-label')") == "x1, timestep 2"


@pytest.mark.parametrize("text", ["a;b\n1,5;2\n3;4\n5;6\n", "[[1.5, 2], [3, 4], [5, 6]]", "1.5\t2\n3\t4\n5\t6"])
def test_paste(page, text):
    """CSV and JSON out of the clipboard become the input."""
    page.open(model="reference").ready()
    browsing.paste(page.tab.get_by_label("x1, timestep 1"), text)
    page.tab.locator("#input-note", has_text="Took").wait_for()
    assert page.tab.get_by_label("x1, timestep 1").input_value() == "1.5"
    assert page.tab.get_by_label("x2, timestep 3").input_value() == "6"


def test_windows_of_a_file(page, served):
    """A dropped file gives windows as long as the version's example, of the columns after its times."""
    page.open(model="reference").ready()
    rows = np.arange(20.0).reshape(10, 2) / 4
    text = "time,a,b\n" + "\n".join(f"{i},{a},{b}" for i, (a, b) in enumerate(rows))
    browsing.drop(page.tab.locator("#input"), text, "week.csv")
    page.tab.locator("#window-text", has_text="rows 1–3 of 10 in week.csv").wait_for()
    page.tab.locator("#window").press("End")
    page.tab.locator("#window-text", has_text="rows 8–10 of 10").wait_for()
    expected = served.predict(rows[None, 7:].astype(np.float32)).output[0, 0]
    eventually(lambda: predicted(page) == pytest.approx(expected, rel=1e-4), 30)


def test_a_unit_written_out(page, served, tmp_path):
    """A unit's sum is written out, agrees with what was served, and runs as NumPy."""
    page.open(model="reference").ready()
    page.tab.locator("[data-unit='simpleRNN 1 2']").click()
    page.tab.locator("#sum .tick").nth(1).wait_for()
    assert page.tab.locator("#sum .cross").count() == 0
    page.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.tab.get_by_role("button", name="Copy as NumPy").click()
    page.tab.get_by_role("button", name="Copied").wait_for()
    program = tmp_path / "unit.py"
    program.write_text(page.tab.evaluate("navigator.clipboard.readText()"))
    printed = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True).stdout
    hidden = served.trace(R3_INPUTS[:1]).layers["simpleRNN"].tensors["hidden_state"]
    assert float(printed) == pytest.approx(hidden[0, 1, 2], rel=1e-5)


def test_nudge_and_undo(page, served):
    """A nudge by keys changes the prediction and its own cell; undo takes it back."""
    page.open(model="reference").ready()
    before, weight = predicted(page), served.weights()["simpleRNN/kernel"][0, 1]
    cell = nudged(page, 0, 1)
    assert number(page.text("#changes-body .hint").removeprefix("was ")) == pytest.approx(weight, rel=1e-5)
    assert "-" not in page.text("#changes-body .hint")  # a minus sign, as everywhere on the page
    page.tab.locator("[aria-label='simpleRNN/kernel[0, 1], new value']").fill(str(weight + 0.5))
    page.tab.keyboard.press("Enter")
    page.tab.locator("#prediction .value.new").wait_for()
    expect = served.predict(R3_INPUTS[:1], what_if=[change(0, 1, weight + 0.5)]).output[0, 0]
    eventually(lambda: predicted(page) == pytest.approx(expect, rel=1e-4), 30)
    assert number(cell.inner_text()) == pytest.approx(weight + 0.5, abs=0.01)
    assert "marked" in cell.get_attribute("class")
    page.tab.locator("#undo").click()
    page.tab.locator("#undo").click()
    page.tab.locator("#changes-none:visible").wait_for()
    assert predicted(page) == before


def change(row, column, value):
    """A nudge as the client makes it."""
    from service.client import WeightChange

    return WeightChange("simpleRNN/kernel", value, ranges=((row, row + 1), (column, column + 1)))


def test_an_address_holds_the_look(page, context):
    """An address that was sent to somebody shows them the same input and nudges."""
    nudge = {"weight": "output/bias", "operation": "add", "value": 2, "ranges": [[0, 1]]}
    look = {"version": "2", "input": {"x": [[3, 2], [1, 2, 3, 4, 5, 6]]}, "nudges": [nudge]}
    page.open(model="reference", **look).ready()
    page.tab.locator("#prediction .value.new").wait_for()
    assert page.tab.locator("#version").input_value() == "2"
    assert "difference +2" in page.text("#prediction .difference")
    page.tab.get_by_label("x1, timestep 1").fill("9")
    page.tab.wait_for_url(re.compile("9%2C2%2C3"))
    url = page.tab.url
    other = context[0].new_page()
    other.goto(url)
    other.locator("#prediction .value.new").wait_for()
    assert other.get_by_label("x1, timestep 1").input_value() == "9"
    assert other.locator("#prediction .value.new").inner_text() == page.text("#prediction .value.new")
    other.close()


def test_states_and_patches(page):
    """A cell of a state can be changed while the network computes."""
    page.open(model="reference").ready()
    before = predicted(page)
    page.tab.locator("#states td[data-at='0,2']").click()
    page.tab.locator("#patch-form input").fill("0")
    page.tab.get_by_role("button", name="Patch for this page").click()
    page.tab.locator("#prediction .value.new").wait_for()
    assert page.tab.locator("#states td[data-at='0,2']").inner_text() == "0"
    assert predicted(page) != before
    assert page.tab.locator("#commit").is_disabled()


def test_step_by_step(page):
    """A sequence is played through a stream, and goes on from the states in which it ended."""
    page.open(model="reference").ready()
    for step in (1, 2, 3):
        page.tab.locator("#step").click()
        page.tab.locator("#play-text", has_text=f"After timestep {step} of 3").wait_for()
    last = page.text("#play-text").split("answered")[1]
    page.tab.locator("#carry").click()
    page.tab.locator("#play-text", has_text="run 2").wait_for()
    assert page.text("#play-text").split("answered")[1] != last


def test_why(page):
    """Attribution, gradients, memory and eigenvalues come with a sentence each."""
    page.open(model="reference").ready()
    page.tab.locator("#why-title").click()
    for place in ("attribution", "gradients", "memory", "modes"):
        page.tab.locator(f"#why-{place} p").first.wait_for()
        assert page.tab.locator(f"#why-{place} .bad").count() == 0
    page.shot("why")


def test_put_into_service(page, served):
    """A nudge is put into service with a reason; an address of before meets a conflict and may be applied anew."""
    page.open(model="reference").ready()
    other = browsing.Page(page.tab.context.new_page(), page.address, KEY).open(model="reference").ready()
    for one in (page, other):
        nudged(one, 0, 0)
        one.tab.locator("[aria-label='simpleRNN/kernel[0, 0], new value']").fill("0.25")
        one.tab.keyboard.press("Enter")
        one.tab.locator("#prediction .value.new").wait_for()
    other.tab.locator("#commit").click()  # before the other one is through
    other.tab.locator("#commit-reason").fill("too late")
    page.tab.locator("#commit").click()
    page.tab.locator("#commit-reason").fill("sensor 7 <b>reads</b> low")
    page.tab.locator("#commit-send").click()
    page.tab.locator("#news-text", has_text="Version 3 is in service now; reason: sensor 7 <b>reads</b> low").wait_for()
    assert served.model().default_version == page.tab.locator("#version").input_value() == "3"
    assert served.weights()["simpleRNN/kernel"][0, 0] == np.float32(0.25)
    other.tab.locator("#commit-send").click()
    other.tab.get_by_role("button", name="Apply the nudges to version 3").click()
    eventually(lambda: other.tab.locator("#version").input_value() == "3", 30)
    other.tab.locator("#changes-body li").first.wait_for()
    other.tab.close()
    page.tab.locator("#versions-body tr", has_text="sensor 7 <b>reads</b> low").wait_for()  # as text
    page.shot("versions")
    page.tab.get_by_role("button", name="Serve this version 1").click()
    page.tab.locator("#serve-reason").fill("it was a test")
    page.tab.locator("#serve-send").click()
    page.tab.locator("#news-text", has_text="Version 1 is in service").wait_for()
    assert served.model().default_version == "1"


def test_compare(page):
    """Two versions are compared: their weights, and the same input through both."""
    page.open(model="reference").ready()
    page.tab.get_by_role("button", name="Compare version 1").click()
    page.tab.get_by_role("button", name="Compare version 2").click()
    page.tab.locator("#compare h3", has_text="Version 2 compared with version 1").wait_for()
    assert page.tab.locator("#compare figure").count() == 5
    assert page.tab.locator("#compare table.numbers tbody tr").count() == 1


def test_a_version_that_is_gone(page):
    """A version that does not exist has a face that leads to the one in service."""
    page.open(model="reference", version="77")
    page.tab.locator("#face-title", has_text="gone").wait_for()
    page.shot("gone")
    page.tab.locator("#face-action").click()
    page.ready()


def test_no_key(context):
    """A browser without the key sees that it needs one."""
    browser, address = context
    with_out = browser.browser.new_context()
    tab = with_out.new_page()
    assert tab.goto(f"http://{address}/").status == 401
    assert "needs its key" in tab.inner_text("h1")
    with_out.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("dark", 400), ("light", 2560)])
def test_accessible(page, scheme, width):
    """axe-core has nothing against it, light and dark, on a phone and on a wide screen, and nothing is too wide."""
    from axe_playwright_python.sync_playwright import Axe

    page.tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.tab.set_viewport_size({"width": width, "height": 900})
    page.open(model="reference").ready()
    nudged(page, 0, 0)
    page.tab.locator("[data-unit='simpleRNN 1 2']").click()
    page.tab.locator("#sum table").first.wait_for()
    page.tab.locator("#why-title").click()
    page.tab.locator("#why-modes svg").wait_for()
    page.tab.locator("#versions-body tr").first.wait_for()
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page.tab)
    assert found.response["violations"] == [], found.generate_report()
    page.shot(f"{scheme}-{width}")
    browsing.keep_sections(page.tab, f"{scheme}-{width}")
