"""service.serving.fast_path: what the fast path takes, and what it leaves to the slow one."""

import numpy as np
import pytest

from service.config import Limits
from service.serving.fast_path import FastPath, most_bytes
from service.serving.host import Host
from tests.service.support import entry, show


@pytest.fixture(scope="module")
def version(versions):
    """The reference network, loaded."""
    host = Host()
    show(host, entry("reference", "champion", v1=versions["r3-1"]))
    return host.resolve("reference", "")


def test_answers_as_the_slow_path(version):
    """What the fast path answers has the bits of the slow one."""
    x = np.random.default_rng(0).normal(size=(1, 3, 2)).astype("<f4")
    path = version.fast_path
    found = path.forward(x.tobytes(), x.shape)
    assert (path.input, path.output) == ("x", "output")
    assert found.shape == (1, 1)
    assert found.raw == version.forward({"x": x}).outputs["output"].tobytes()


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.ones((2, 3, 2)), (2, 3, 2)),
        (np.ones((1, 3, 2)), (3, 2)),
        (np.ones((1, 3, 2)), (1, 3, 2, 1)),
        (np.ones((1, 3, 2)), (1, 2, 3)),
        (np.ones((1, 3, 2)), (1, 4, 2)),
        (np.full((1, 3, 2), np.nan), (1, 3, 2)),
        (np.ones(0), ()),
        (np.ones(0), (1, 0, 2)),
    ],
)
def test_left_to_the_slow_path(version, x, shape):
    """Batches, other shapes, and numbers that are not finite are not for the fast path."""
    assert version.fast_path.forward(x.astype("<f4").tobytes(), shape) is None


def test_only_what_is_certain_to_be_within_the_bounds(versions):
    """A sequence is for the fast path only where it is quick: longer ones are counted by admission."""
    host, limits = Host(), Limits(computed=256 * 50)
    show(host, entry("linear", "champion", v1=versions["r2"]))
    version = host.resolve("linear", "")
    path, network = FastPath(version.network, version.computes, limits), version.network
    most = most_bytes(network, limits) // 8  # of a network that gives sequences
    assert 0 < most < 50
    assert network.cost(((most, 2),)) <= limits.quick < network.cost(((2 * most + 1, 2),))
    fits, longer = (np.ones((1, count, 2), "<f4") for count in (most, most + 1))
    assert path.forward(fits.tobytes(), fits.shape) is not None
    assert path.forward(longer.tobytes(), longer.shape) is None
    assert most_bytes(network, Limits(computed=255)) == 0
