"""service.web.static: the sum of a unit of every kind of layer, as the page writes it out and as a program."""

import subprocess
import sys

import numpy as np
import pytest

from service.snapshot import VersionEntry
from service.web.app import Settings
from tests.service.support import entry, keep, serving
from tests.service.web import browsing
from tests.service.web.support import KEY, web

pytestmark = pytest.mark.skipif(not browsing.CHROMIUM, reason="no chromium is installed: apt-get install chromium")
INPUTS = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A page of a network with a layer of each kind, and a client of its server."""
    import keras

    keras.utils.set_random_seed(0)
    bias = {"bias_initializer": "random_normal", "return_sequences": True}
    network = keras.Sequential(
        [
            keras.Input((4, 3), name="x"),
            keras.layers.SimpleRNN(3, name="rnn", activation="relu", **bias),
            keras.layers.GRU(2, name="after", **bias),
            keras.layers.GRU(2, name="before", reset_after=False, recurrent_activation="hard_sigmoid", **bias),
            keras.layers.Bidirectional(keras.layers.LSTM(2, **bias), name="both"),
            keras.layers.Dense(2, name="out", activation="softmax"),
        ]
    )
    folder = tmp_path_factory.mktemp("units") / "version"
    version = VersionEntry("0", keep(network, folder, INPUTS), str(folder), engines=("numpy", "numpy"))
    with (
        serving(entry("layers", "champion", v1=version)) as (_, client),
        web(client, Settings(key=KEY)) as address,
        browsing.chromium() as browser,
    ):
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        yield browsing.Page(tab, address, KEY).open().ready(), client.trace(INPUTS)


@pytest.mark.parametrize(
    ("name", "unit", "tensor", "column"),
    [
        ("rnn", "rnn 2 1", "hidden_state", 1),
        ("after", "after 3 1", "hidden_state", 1),
        ("before", "before 3 0", "hidden_state", 0),
        ("both/forward", "both/forward 2 1", "forward/hidden_state", 1),
        ("both/backward", "both/backward 1 0", "backward/hidden_state", 0),
    ],
)
def test_a_unit(opened, tmp_path, name, unit, tensor, column):
    """Every sum, gate and state of a unit agrees with what was served, and its program prints the same number."""
    page, trace = opened
    page.tab.locator("#unrolled-layer").select_option(name)
    page.tab.locator(f"[data-unit='{unit}']").click()
    page.tab.locator("#sum h3", has_text=f"{name}, timestep {int(unit.split()[1]) + 1}, unit {column + 1}").wait_for()
    assert page.tab.locator("#sum .tick").count() >= 2
    assert page.tab.locator("#sum .cross").count() == 0
    assert "not computed here" not in page.text("#sum")
    page.tab.locator("#sum button").click()
    page.tab.locator("#sum button", has_text="Copied").wait_for()
    program = tmp_path / "unit.py"
    program.write_text(page.tab.evaluate("navigator.clipboard.readText()"))
    printed = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True).stdout
    expected = trace.layers[name.partition("/")[0]].tensors[tensor][0, int(unit.split()[1]), column]
    assert float(printed) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_dense_unit(opened):
    """A unit of a softmax agrees, which needs the sums of all units."""
    page, _ = opened
    page.tab.locator("[data-unit='out 3 1']").click()
    page.tab.locator("#sum h3", has_text="out, timestep 4, unit 2").wait_for()
    assert (page.tab.locator("#sum .tick").count(), page.tab.locator("#sum .cross").count()) == (2, 0)
    assert page.faults == []
