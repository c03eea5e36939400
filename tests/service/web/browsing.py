"""A real browser: Debian's Chromium, driven by Playwright, on pages of which no request may leave the origin."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

CHROMIUM = shutil.which(os.environ.get("UNROLL_CHROMIUM", "chromium"))
SCREENSHOTS = os.environ.get("UNROLL_SCREENSHOTS", "")  # a folder for what the tests saw; CI may keep it


class Page:
    """A tab with the page of a web server."""

    def __init__(self, tab, address, key):
        self.tab, self.address, self.key = tab, address, key
        self.left, self.faults = [], []
        tab.on("request", lambda request: self._requested(request.url))
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("console", lambda message: self.faults.append(message.text) if self._is_fault(message) else None)

    def _requested(self, url):
        if not url.startswith((f"http://{self.address}/", "blob:", "data:")):
            self.left.append(url)

    @staticmethod
    def _is_fault(message):
        # That a request was refused is written by the browser itself; what the page makes of it is tested.
        return message.type == "error" and not message.text.startswith("Failed to load resource")

    def open(self, **look):
        """Opens the page with a look in its address, and waits for an answer of the server."""
        texts = {name: one if isinstance(one, str) else json.dumps(one) for name, one in look.items()}
        self.tab.goto("about:blank")
        self.tab.goto(f"http://{self.address}/?key={self.key}#" + "&".join(f"{n}={quote(t)}" for n, t in texts.items()))
        return self

    def ready(self):
        """Waits until a prediction is shown."""
        self.tab.locator("#prediction-body > *").first.wait_for()
        return self

    def text(self, selector):
        """The text of the first element."""
        return self.tab.locator(selector).first.inner_text()

    def shot(self, name):
        """Keeps a picture of the whole page, if somebody wants it."""
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            self.tab.evaluate("scrollTo(0, 0)")  # what sticks to the top stands there
            self.tab.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


def keep_sections(tab, folder):
    """Keeps a picture of the header and of each section, if somebody wants them."""
    if SCREENSHOTS:
        for part in tab.locator("header, main section:visible").all():
            name = part.get_attribute("id") or "top"
            part.screenshot(path=Path(SCREENSHOTS, folder, f"{name}.png"))


def paste(element, text):
    """Pastes a text into an element; whether that is left to the browser, which puts it where the cursor is."""
    return element.evaluate(
        """(element, text) => { const data = new DataTransfer(); data.setData("text", text);
        const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        return element.dispatchEvent(event); }""",
        text,
    )


def drop(element, text, name):
    """Drops a file of a name with a text on an element."""
    element.evaluate(
        """(element, [text, name]) => { const data = new DataTransfer(); data.items.add(new File([text], name));
        element.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })); }""",
        [text, name],
    )


@contextmanager
def chromium():
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which containers do not allow: it opens nothing but our own page.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
