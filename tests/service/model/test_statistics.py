"""service.model.statistics: weights in a few numbers."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.errors import CancelledError
from service.model.statistics import PIECE, WeightStatistics, compare, describe


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


def test_pieces():
    """Figures of a weight of many pieces are those of the whole, whatever its pieces hold."""
    rng = np.random.default_rng(0)
    weight = rng.normal(3, 2, PIECE * 2 + 17).astype(np.float32)
    weight[::7], weight[5] = 0, np.nan
    good = weight[np.isfinite(weight)].astype(np.float64)
    s = describe("a/bias", weight)
    assert (s.min, s.max, s.non_finite) == (good.min(), good.max(), 1)
    assert s.zeros == np.count_nonzero(good == 0)
    assert (s.mean, s.standard_deviation, s.l2_norm) == pytest.approx((good.mean(), good.std(), np.linalg.norm(good)))
    other = np.where(np.isfinite(weight), weight, 0)[::-1]
    d, base = compare(other, other + 1), other.astype(np.float64)
    now = (other + 1).astype(np.float64)
    assert (d.max_change, d.changed) == (np.abs(now - base).max(), np.count_nonzero(now - base))
    assert d.relative_norm == pytest.approx(np.linalg.norm(now - base) / np.linalg.norm(base))
    assert d.cosine == pytest.approx(base @ now / np.linalg.norm(base) / np.linalg.norm(now))


def test_large_matrices_are_not_decomposed():
    """Of a matrix whose eigenvalues would take seconds the rest is computed, and the note says what was left out."""
    weight = np.ones((512, 2048), np.float32)
    recurrent, kernel = describe("a/recurrent_kernel", weight), describe("a/kernel", weight)
    assert (recurrent.spectral_radius, recurrent.largest_singular_value, recurrent.mean) == ((), None, 1)
    assert recurrent.note.startswith("spectral_radius and largest_singular_value are not computed")
    assert "512 by 2048" in kernel.note
    assert describe("a/recurrent_kernel", np.ones((4, 16), np.float32)).note == ""


class Weights:
    """Weights by name, and how often they were asked for."""

    def __init__(self, **weights):
        self._weights, self.asked = weights, 0

    @property
    def weights(self):
        self.asked += 1
        return self._weights


def test_computed_once():
    """However many threads ask, the statistics of a weight are computed once; an asker that has left computes none."""
    network = Weights(a=np.ones(PIECE * 2, np.float32))
    statistics = WeightStatistics(network)

    def gone():
        raise CancelledError("gone")

    with pytest.raises(CancelledError):
        statistics.of("a", gone)
    assert network.asked == 0
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(statistics.of, ["a"] * 32))
    assert network.asked == 1
    assert all(each is found[0] for each in found)


def test_computing_ends_with_the_caller():
    """A caller that leaves while statistics are computed ends that between two pieces; the next one begins anew."""
    statistics, calls = WeightStatistics(Weights(a=np.ones(PIECE * 4, np.float32))), []

    def leaves():
        calls.append(1)
        if len(calls) == 3:
            raise CancelledError("gone")

    with pytest.raises(CancelledError):
        statistics.of("a", leaves)
    assert len(calls) == 3
    assert statistics.of("a").mean == 1
