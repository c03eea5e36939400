"""How the page follows a slider that moves 20 times a second in a real browser, and what its process needs.

A server of the reference network, the page's process and Chromium run on the same cores. For each move of the slider
that was drawn by itself, the time from the move until the next frame is taken. A move that came while an answer was on
its way is merged into the next one.
"""

import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.common import Figure, console, machine, python, show, timed
from benchmarks.servers import MEGABYTE, Place, free_address, unroll_server

MOVES, ROUNDS = 60, 3
MEDIAN_MS, P95_MS = 50, 120
# In the page: moves the slider of the first change, and collects milliseconds from a move to the frame that shows it.
MOVE = """(moves) => new Promise((done) => {
  const slider = document.querySelector("#changes-body input[type=range]"), drawn = [], { timing } = window.unroll;
  const push = timing.push.bind(timing), from = slider.valueAsNumber;
  timing.push = (ms) => {
    const begun = performance.now() - ms;
    requestAnimationFrame(() => drawn.push(performance.now() - begun));
    return push(ms);
  };
  let k = 0;
  const timer = setInterval(() => {
    if (k++ >= moves) {
      clearInterval(timer);
      setTimeout(() => { timing.push = push; done(drawn); }, 1000);
      return;
    }
    slider.value = from + 0.3 * Math.sin(k / 5);
    slider.dispatchEvent(new Event("input"));
  }, 50);
})"""


def main() -> None:
    """Measures and prints."""
    chromium = shutil.which("chromium")
    if chromium is None:
        console.print("no chromium is installed: apt-get install chromium. Nothing is measured.")
        return
    cores, notes = sorted(os.sched_getaffinity(0)), [machine()]
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores, cores[-1])
        console.print("registering a version …")
        timed(python("-m", "service.cli", "train", "--epochs=0"), place.env, place.folder)
        with unroll_server(place, free_address(), cores) as served:
            figures = _figures(served.address, chromium, place, notes)
    show("The page", figures, notes)


def _figures(address: str, chromium: str, place: Place, notes: list[str]) -> list[Figure]:
    from playwright.sync_api import sync_playwright

    begin = time.perf_counter()
    command = python("-m", "service.cli", "page", f"--address={address}", "--listen=127.0.0.1:0")
    with subprocess.Popen(command, env=place.env, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            url = page.stdout.readline().split()[-1]
            urllib.request.urlopen(f"http://{urlsplit(url).netloc}/healthz").read()
            notes.append(f"the page answers {time.perf_counter() - begin:.1f} s after its command was given")
            rounds = []
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                for _ in range(ROUNDS):
                    tab = browser.new_page()
                    tab.goto(f"{url}#model=reference")
                    tab.locator("#weights td[data-at]").first.click()
                    tab.locator("#changes-body input[type=range]").wait_for()
                    rounds.append(sorted(tab.evaluate(MOVE, MOVES)))
                    tab.close()
                browser.close()
            memory = psutil.Process(page.pid).memory_info().rss / MEGABYTE
        finally:
            page.terminate()
    drawn = " ".join(f"{len(times)}" for times in rounds)
    notes += [f"of {MOVES} moves in each round, drawn by themselves: {drawn}", f"memory of the page: {memory:.0f} MB"]
    return [
        Figure(
            f"a move until it is drawn, {name}",
            "page",
            "–",
            [times[int(len(times) * at)] for times in rounds],
            target,
            unit=" ms",
        )
        for name, at, target in (("median", 0.5, MEDIAN_MS), ("95 %", 0.95, P95_MS))
    ]


if __name__ == "__main__":
    main()
