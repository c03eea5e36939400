"""Files of older releases of Keras 3 are read as the installed one reads them; those of Keras 2 are refused."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.check import check
from service.model.proof import allowed, difference
from tests.data.hostile import build

FILES = sorted((Path(__file__).parents[2] / "data" / "older_keras").glob("*.keras"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_an_older_keras(file):
    """Every output equals what the installed Keras makes of the same file, within the bound."""
    import keras

    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("metadata.json"))["keras_version"] == "3.0.5"
    network = keras_file.read(file)
    rng = np.random.default_rng(0)
    inputs = {}
    for spec in network.declared:
        shape = (2, *spec.shape[1:])
        values = rng.normal(size=shape) if spec.dtype.kind == "f" else rng.integers(0, 9, shape)
        inputs[spec.name] = values.astype(spec.dtype)
        inputs[spec.name][0, 2] = 0  # which some of them mask
    given = list(inputs.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # masks that layers destroy
        expected = keras.saving.load_model(file)(given if len(given) > 1 else given[0], training=False)
    actual = list(network.forward(inputs).outputs.values())
    expected = expected if isinstance(expected, list | tuple) else [expected]
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert difference(ours, np.asarray(theirs), allowed(network)) <= 1


def test_keras_2_is_refused_by_its_name(tmp_path):
    """What Keras 2 saved is refused for that, with no other reason; who says nothing is taken at the contents."""
    build.write(tmp_path / "m.keras", keras="2.15.0")
    with pytest.raises(UnsupportedModelError, match=r"saved by Keras 2\.15\.0; expected Keras 3: unroll convert"):
        keras_file.read(tmp_path / "m.keras")
    report = check(tmp_path / "m.keras")
    assert len(report.reasons) == 1
    assert not report.through_keras  # Keras 3 opens it no more
    build.write(tmp_path / "m.keras", keras="")
    assert check(tmp_path / "m.keras").supported
