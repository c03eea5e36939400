"""service.api.examples: inputs to begin with, and what training recorded of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError
from service.serving.loaded import MODEL_FILE
from service.snapshot import VersionEntry
from tests.service.support import R2_INPUTS, R3_INPUTS, entry, serving
from training.data.layout import Layout

pytestmark = pytest.mark.usefixtures("edge")
LAYOUT = Layout(
    ("temperature [K]", "p (hPa)", "f(x)"), "load [MW]", 24, 3, ("low", "high"), step=3600.0,
    ranges=((250.0, 310.5), (0.1, 2.0), (-1.0, 1.0)),
)  # fmt: skip


def test_inputs_of_the_proof(client):
    """The sequences are those of the proof, and give what the version gives."""
    found = client.examples(model="reference", version="2")
    assert (found.model, found.version, found.sequences) == ("reference", "2", 3)
    np.testing.assert_array_equal(found.inputs["x"], R3_INPUTS)
    assert client.predict(found.inputs, model="reference", version="2").output.shape == (3, 1)
    assert (found.columns, found.target, found.window) == ((), None, 0)  # nothing was recorded
    np.testing.assert_array_equal(client.examples(model="reference", sequences=2).inputs["x"], R3_INPUTS[:2])
    np.testing.assert_array_equal(client.examples(model="linear", sequences=9).inputs["x"], R2_INPUTS)


def test_a_negative_number_of_sequences(client):
    """Fewer than none is refused."""
    with pytest.raises(InvalidArgumentError, match="sequences: expected 0 or more, got -1"):
        client.examples(model="reference", sequences=-1)


def test_what_training_recorded(versions):
    """Names, units and ranges of the columns are those of training; a record of somebody else's is left out."""
    described = dataclasses.replace(versions["r3-1"], data=LAYOUT.dumps())
    foreign = [dataclasses.replace(versions["r3-1"], data=text) for text in ("[", "7", '{"features": [1]}')]
    several = dataclasses.replace(LAYOUT, targets=("load [MW]", "p (hPa)"), classes=())
    several = dataclasses.replace(versions["r3-1"], data=several.dumps())
    with serving(entry("m", "a", v1=described, v2=foreign[0], v3=foreign[1], v4=foreign[2], v5=several)) as (_, client):
        found = client.examples(sequences=1)
        columns = [(column.name, column.unit, column.min, column.max) for column in found.columns]
        assert columns == [
            ("temperature [K]", "K", 250.0, 310.5), ("p (hPa)", "hPa", 0.1, 2.0), ("f(x)", "", -1.0, 1.0)
        ]  # fmt: skip
        assert (found.target.name, found.target.unit, found.target.HasField("min")) == ("load [MW]", "MW", False)
        assert (found.classes, found.window, found.horizon, found.step) == (("low", "high"), 24, 3, 3600.0)
        assert list(found.targets) == [found.target]
        found = client.examples(version="5")
        assert [(column.name, column.unit) for column in found.targets] == [("load [MW]", "MW"), ("p (hPa)", "hPa")]
        assert found.target == found.targets[0]
        for number in ("2", "3", "4"):
            found = client.examples(version=number)
            assert (found.columns, found.target, found.window, len(found.inputs)) == ((), None, 0, 1)


def test_a_version_without_a_proof(versions, tmp_path):
    """There is nothing to show, and that is no error."""
    kept = tmp_path / MODEL_FILE
    kept.write_bytes((Path(versions["r3-1"].directory) / MODEL_FILE).read_bytes())
    with serving(entry("m", "a", v1=VersionEntry("1", "0", str(tmp_path)))) as (_, client):
        assert (client.examples().inputs, client.examples().sequences) == ({}, 0)


def test_bounds(versions):
    """As many sequences are given as the bound on a tensor allows; one that is too large is refused by its size."""
    model = entry("m", "a", v1=versions["r3-1"])
    with serving(model, limits=Limits(elements=13)) as (_, client):
        found = client.examples()
        assert (len(found.inputs["x"]), found.sequences) == (2, 3)
    with (
        serving(model, limits=Limits(elements=5)) as (_, client),
        pytest.raises(LimitExceededError, match="sequences: one has 6 elements, the limit is 5"),
    ):
        client.examples()
