"""Derivatives of the activations, next to TensorFlow's, kinks included."""

import numpy as np
import pytest

from service.model.activations import ACTIVATIONS
from service.model.composed import COMPOSED
from service.model.gradients.activations import COUPLED, SLOPES, through

KINKS = [-6.0, -3.0, -2.5, 2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0]


def test_every_activation_has_a_derivative():
    """No activation is without one, and no table has one of an activation that does not exist."""
    assert SLOPES.keys() | COUPLED.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_derivatives_are_tensorflows(name, dtype):
    """On a grid, at random places, and at every kink, dL/dx is what GradientTape gives."""
    import keras
    import tensorflow as tf

    if name in COMPOSED and dtype != "float32":
        pytest.skip("its document is of single precision")
    rng = np.random.default_rng(0)
    values = np.concatenate((KINKS, np.linspace(-8, 8, 33), rng.normal(0, 2, 36)))
    x = values.reshape(-1, 8).astype(dtype)
    with tf.GradientTape() as tape:
        given = tf.constant(x)
        tape.watch(given)
        y = keras.activations.get(COMPOSED.get(name, name))(given)
        above = rng.normal(size=y.shape).astype(dtype)
        loss = tf.reduce_sum(y * above)
    expected = np.asarray(tape.gradient(loss, given))
    found = through(name, above, x, ACTIVATIONS[name](x))
    assert found.dtype == x.dtype
    bound = {"float32": 4e-6, "float64": 4e-15}[dtype]
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)
