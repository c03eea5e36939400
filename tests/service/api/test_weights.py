"""service.api.weights: what reading weights costs, and whom it keeps waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from service.config import Limits
from service.serving.admission import COMPUTING
from tests.service.support import entry, eventually, serving

LIMITS = Limits(computed=30)  # the reference network has 33 weights, and makes 5 numbers of a timestep
X = np.ones((10, 3, 2), np.float32)


@pytest.fixture(scope="module")
def model(versions):
    """The reference network, two versions of it."""
    return entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"])


def test_weights_within_the_bound(model):
    """Weights that are too many for one answer can be had some at a time; their statistics are never too many."""
    with serving(model, limits=LIMITS) as (_, client):
        assert len(client.get_weights().weights) == 5
        for name in ("simpleRNN/kernel", "simpleRNN/recurrent_kernel"):
            (weight,) = client.get_weights(names=[name], values=True).weights
            assert weight.value.raw
        assert client.compare_weights("1", "2", names=["output/kernel"]).differences[0].changed == 4


@contextmanager
def taken(slots):
    """While a block runs, others compute in all slots."""
    begun, done = threading.Semaphore(0), threading.Event()

    def compute():
        with slots:
            begun.release()
            done.wait(60)

    with ThreadPoolExecutor(COMPUTING) as pool:
        computing = [pool.submit(compute) for _ in range(COMPUTING)]
        try:
            assert all(begun.acquire(timeout=10) for _ in computing)
            yield
        finally:
            done.set()


def test_reading_weights_keeps_nobody_waiting(model):
    """While calls that read weights wait for others to finish, the one thread for calls answers others."""
    with serving(model, unary_threads=1) as (host, client), ThreadPoolExecutor(3) as pool:
        with taken(host.admission.slots):
            waiting = [
                pool.submit(client.get_weights),
                pool.submit(client.get_weights, values=True),
                pool.submit(client.compare_weights, "1", "2"),
            ]
            eventually(lambda: len(host.admission.slots._line) == 3)
            assert client.model().name == "reference"
            assert client.predict(X).version == "1"
            assert not any(call.done() for call in waiting)
        for call in waiting:
            call.result(60)
        with taken(host.admission.slots):
            assert client.get_weights().weights[0].statistics.note == ""  # known by now, so it waits for nobody
