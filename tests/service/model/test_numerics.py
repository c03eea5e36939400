"""service.model.numerics: products whose bits do not depend on what is computed with them."""

import numpy as np
import pytest

from service.model.numerics import product, time_major


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_timestep_has_the_bits_it_has_alone(dtype):
    """The product of a whole sequence is, bit for bit, that of each of its timesteps."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 33, 7)).astype(dtype), rng.normal(size=(7, 12)).astype(dtype)
    whole = product(x, w)
    assert (whole.shape, whole.dtype) == ((5, 33, 12), dtype)
    for t in range(33):
        assert product(x[:, t : t + 1], w).tobytes() == np.ascontiguousarray(whole[:, t : t + 1]).tobytes()


def test_half_precision_is_summed_in_single():
    """A sum of many half-precision terms is rounded once, at its end."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 4096)).astype(np.float16), rng.normal(size=(4096, 32)).astype(np.float16)
    exact = np.float64(x) @ np.float64(w)
    assert (np.abs(product(x, w) - exact) <= np.spacing(np.abs(exact).astype(np.float16))).all()


def test_time_first():
    """Batch and time change places, and what results lies in one piece."""
    x = np.arange(24).reshape(2, 3, 4)
    assert time_major(x).tolist() == x.swapaxes(0, 1).tolist()
    assert time_major(x).flags.c_contiguous
