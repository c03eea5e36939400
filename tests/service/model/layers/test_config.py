"""service.model.layers.config: class, name, type and shape out of a config."""

import numpy as np
import pytest

from service.errors import CorruptModelError, UnsupportedModelError
from service.model.layers.config import layer_policy, parse_shape, unwrap
from tests.data.hostile.build import layer


def test_a_layer_of_keras():
    """Name, class and options are taken out of what Keras writes."""
    name, class_name, config = unwrap(layer("LSTM", "a", units=3), "layer 0")
    assert (name, class_name, config["units"]) == ("a", "LSTM", 3)


@pytest.mark.parametrize(
    "document", [None, [], {"class_name": "LSTM"}, layer("LSTM", ""), layer("LSTM", "a\n"), layer("LSTM", "a" * 257)]
)
def test_what_is_no_layer(document):
    """Something else than a layer, and a name that is none, is damage."""
    with pytest.raises(CorruptModelError, match=r"^layer 0: "):
        unwrap(document, "layer 0")


@pytest.mark.parametrize("change", [{"module": "os"}, {"module": "kerasx.layers"}, {"registered_name": "mine>LSTM"}])
def test_a_foreign_class(change):
    """A class that is not Keras's own is refused by the layer's name: it would be code."""
    with pytest.raises(UnsupportedModelError, match=r"layer a \(LSTM\).*custom layers are code") as caught:
        unwrap({**layer("LSTM", "a"), **change}, "layer 0")
    assert caught.value.details["layer"] == "a"


def test_shapes():
    """The batch is set free, whatever it was; extents are numbers from 1 that fit, or open."""
    assert parse_shape([7, None, 2], "x") == (None, None, 2)
    for wrong in (None, [], [None, 0], [None, -1], [None, True], [None, 2.0], [None, 1 << 40], [None] * 40):
        with pytest.raises(CorruptModelError, match="is not a shape"):
            parse_shape(wrong, "x")


def test_types():
    """A dtype policy is a name, or an object around one; none is single precision."""
    assert layer_policy(None, "x").compute == np.float32
    mixed = layer_policy({"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}, "x")
    assert (mixed.compute, mixed.variable) == (np.float16, np.float32)
    with pytest.raises(UnsupportedModelError, match=r"dtype=int8 is not supported; expected one of float16"):
        layer_policy("int8", "x")
