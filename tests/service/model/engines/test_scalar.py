"""The scalar engine: the bits of one call in any pieces, and from bytes to bytes."""

import numpy as np
import pytest

from service.model.engines import choice as engines
from service.model.engines import scalar
from tests.service.model.engines.networks import NETWORKS, layer, network, recurrent


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scalar_engine_keeps_the_chunk_law(tmp_path, name):
    """Fed timestep by timestep, the scalar engine gives the bits of one call."""
    net = network(tmp_path, *NETWORKS[name])
    x = {"input": np.random.default_rng(1).normal(size=(1, 9, 3)).astype(np.float32)}
    assert engines.prove(scalar.make(net), net, x) == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_from_bytes_to_bytes_the_scalar_engine_gives_the_same_bits(tmp_path, name):
    """One sequence of any length as raw bytes gives shape and bytes of what it gives as an array."""
    engine = scalar.make(network(tmp_path, *NETWORKS[name]))
    for timesteps in (1, 2, 17):
        x = np.random.default_rng(timesteps).normal(size=(1, timesteps, 3)).astype(np.float32)
        (expected,) = engine.forward({"input": x}).outputs.values()
        assert engine.prepare(x.shape)(x.tobytes()) == (expected.tobytes(), None)


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (12,),
        (4, 3),
        (2, 2, 3),
        (1, 3, 4),
        (1, -4, -3),
        (1, 0, 3),
        (0, 0, 3),
        (1, 4, 3, 1),
        (0, 4, 3),
        (1, 10_000, 3),
    ],
)
def test_other_shapes_are_left_to_others(tmp_path, shape):
    """What is no sequence for the network, or a long one, does not go from bytes to bytes."""
    assert scalar.make(network(tmp_path, *NETWORKS["simple"])).prepare(shape) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_left_to_others(tmp_path, bad):
    """Where one number is not finite, the scalar engine declines."""
    x = np.ones((1, 4, 3), "<f4")
    x[0, 2, 1] = bad
    assert scalar.make(network(tmp_path, *NETWORKS["simple"])).prepare(x.shape)(x.tobytes()) is None


def test_an_overflow_is_infinity_as_in_single_precision(tmp_path):
    """Where the state outgrows single precision, the scalar engine answers what NumPy does."""
    net = network(tmp_path, recurrent("SimpleRNN", "a", activation="relu"), layer("Dense", "d", units=2))
    net = net.with_weights({"a/recurrent_kernel": np.full((3, 3), 2, np.float32)})
    engine = scalar.make(net)
    x = {"input": np.full((1, 4, 3), 3e38, np.float32)}
    actual, expected = engine.forward(x), net.forward(x)
    assert not np.isfinite(expected.outputs["d"]).all()
    assert np.array_equal(actual.outputs["d"], expected.outputs["d"], equal_nan=True)
    found, _ = engine.prepare((1, 4, 3))(x["input"].tobytes())
    assert np.array_equal(np.frombuffer(found, "<f4"), expected.outputs["d"][0], equal_nan=True)
