"""service.serving.fast_path: what the fast path takes, and what it leaves to the slow one."""

import numpy as np
import pytest

from service.config import Limits
from service.serving.fast_path import FastPath
from service.serving.host import Host
from tests.service.support import entry, show


@pytest.fixture(scope="module")
def version(versions):
    """The reference network, loaded."""
    host = Host()
    show(host, entry("reference", "champion", v1=versions["r3-1"]))
    return host.resolve("reference", "")


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_answers_as_the_slow_path(version, batch):
    """Bytes that go in give the bits of the slow path, for one sequence and for many."""
    x = np.random.default_rng(0).normal(size=(batch, 3, 2)).astype("<f4")
    found, _ = version.fast_path.prepare(x.shape)(x.tobytes())
    assert found == version.forward({"x": x}).outputs[version.fast_path.output].tobytes()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite(version, batch, number):
    """They are left to the slow path, which says which one it is."""
    x = np.full((batch, 3, 2), number, "<f4")
    assert version.fast_path.prepare(x.shape)(x.tobytes()) is None


def test_only_what_admission_need_not_count(versions):
    """There is a fast path only for inputs that are quick to compute."""
    host, limits = Host(), Limits(computed=256 * 50)
    show(host, entry("linear", "champion", v1=versions["r2"]))
    version = host.resolve("linear", "")
    path = FastPath(version.network, version.computes, limits)
    most = limits.quick // version.network.cost(((1, 2),))
    assert path.prepare((1, most, 2)) is not None
    assert path.prepare((2, most, 2)) is None
    assert path.prepare((1, most + 1, 2)) is None
