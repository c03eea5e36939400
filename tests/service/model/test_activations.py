"""Activations by name: the same table, and the same numbers, as Keras."""

import numpy as np
import pytest

from service.model.activations import ACTIVATIONS, into
from service.model.composed import COMPOSED
from service.model.proof import difference

GRID = np.concatenate([np.linspace(-12, 12, 2002), [-90, -40, 40, 90, 0.0, -1, 1, 0.5, -0.5, 3]]).reshape(-1, 4)


@pytest.fixture(scope="module")
def activations():
    """Keras's activations."""
    from keras import activations

    return activations


@pytest.mark.usefixtures("activations")
def test_the_table_has_every_name_that_keras_has():
    """Every activation that Keras accepts by name is here, but for `threshold`, which wants arguments.

    Besides them there are those that Keras has no name for.
    """
    from keras.src.activations import ALL_OBJECTS_DICT

    assert ALL_OBJECTS_DICT.keys() - ACTIVATIONS.keys() == {"threshold"}
    assert ACTIVATIONS.keys() - ALL_OBJECTS_DICT.keys() == COMPOSED.keys()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS.keys() - COMPOSED))
def test_an_activation_gives_what_keras_gives(activations, name, dtype):
    """Each activation equals Keras's within the frozen bound over a grid from -90 to 90, and keeps its type."""
    x = GRID.astype(dtype)
    with np.errstate(all="ignore"):
        actual = ACTIVATIONS[name](x)
        expected = np.asarray(activations.get(name)(x))
        # Relative where large: an exponential of 90 is no measure for the rest.
        scale = np.maximum(1, np.abs(expected.astype(np.float64)))
        scale[~np.isfinite(scale)] = 1
        ours, keras = actual.astype(np.float64) / scale, expected.astype(np.float64) / scale
    assert actual.dtype == expected.dtype == x.dtype
    assert difference(ours.astype(dtype), keras.astype(dtype)) <= 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS.keys() - {"glu"}))
def test_an_activation_written_in_place_is_the_same(name, dtype):
    """Into columns, two gates of three units and five sequences: the bits of the activation of each gate's row."""
    x = np.random.default_rng(0).normal(0, 3, (6, 5)).astype(dtype)
    out = np.empty_like(x)
    into(name, x.dtype, 3)(x, out)
    for gate in (slice(0, 3), slice(3, 6)):
        assert np.array_equal(out[gate].T, ACTIVATIONS[name](np.ascontiguousarray(x[gate].T)))
