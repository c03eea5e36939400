"""service.model.statistics: weights in a few numbers."""

import math

import numpy as np
import pytest

from service.model.statistics import compare, describe


def test_known_matrix():
    """Figures of a rotation by 90 degrees times two are known: radius and largest singular value are 2."""
    s = describe("a/recurrent_kernel", np.array([[0, -2], [2, 0]], np.float32))
    assert (s.min, s.max, s.mean, s.zeros, s.non_finite) == (-2, 2, 0, 2, 0)
    assert s.standard_deviation == pytest.approx(math.sqrt(2))
    assert s.l2_norm == pytest.approx(math.sqrt(8))
    assert s.spectral_radius == pytest.approx((2.0,))
    assert s.largest_singular_value == pytest.approx(2.0)


def test_one_radius_for_each_gate():
    """A recurrent kernel of several gates is judged gate by gate, the largest first."""
    s = describe("a/forward/recurrent_kernel", np.hstack([np.eye(3) * k for k in (1, 4, 2)]))
    assert s.spectral_radius == pytest.approx((4, 2, 1))


def test_other_weights_have_no_radius():
    """A kernel has a singular value and no radius; a bias has neither."""
    assert describe("a/kernel", np.eye(3)).spectral_radius == ()
    assert describe("a/bias", np.zeros(3)).largest_singular_value is None


def test_non_finite():
    """Elements that are not finite are counted, and left out of the other figures."""
    s = describe("a/kernel", np.array([[1, np.nan], [np.inf, 3]]))
    assert (s.min, s.max, s.mean, s.non_finite) == (1, 3, 2, 2)
    assert s.largest_singular_value is None


def test_compare():
    """A doubled weight differs by its own norm and keeps its direction; a reversed one turns round."""
    weight = np.array([[3, 0], [0, 4]], np.float32)
    doubled, reverse, same = compare(weight, weight * 2), compare(weight, -weight), compare(weight, weight)
    assert (doubled.max_change, doubled.mean_change, doubled.relative_norm) == (4, 1.75, 1)
    assert (doubled.cosine, reverse.cosine, same.cosine) == pytest.approx((1, -1, 1))
    assert (doubled.changed, same.changed, same.relative_norm) == (2, 0, 0)


def test_compare_with_zero():
    """Against a base of zeros the relative norm is infinite, and zeros equal zeros."""
    zero, one = np.zeros(2), np.ones(2)
    assert (compare(zero, one).relative_norm, compare(zero, one).cosine) == (math.inf, 0)
    assert (compare(zero, zero).relative_norm, compare(zero, zero).cosine) == (0, 1)
