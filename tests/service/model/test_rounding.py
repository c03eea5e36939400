"""What rounding alone does to a network is measured, and a proof allows it: up to a limit, and nothing else."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from service.errors import ProofError
from service.model import keras_file
from service.model.proof import BOUNDS, MOST, Proof, Tolerance, difference, replay
from service.model.rounding import sensitivity
from training.proving import prove

ROUNDOFF = 2.0**-24
TIMESTEPS = 20


def saved(model, folder):
    """The network that the reader makes of a model, and its file."""
    model.save(folder / "m.keras")
    return keras_file.read(folder / "m.keras"), folder / "m.keras"


def amplifying(gain, timesteps, seed):
    """A network whose recurrent weights make a small change grow from timestep to timestep."""
    keras.utils.set_random_seed(seed)
    kept = keras.initializers.Orthogonal(gain)
    return keras.Sequential(
        [
            keras.Input((timesteps, 4), name="x"),
            layers.SimpleRNN(16, recurrent_initializer=kept, name="rnn"),
            layers.Dense(3, name="y"),
        ]
    )


def inputs(timesteps, seed=0):
    return {"x": np.random.default_rng(seed).normal(size=(4, timesteps, 4)).astype(np.float32)}


def proven(model, folder, x):
    """The network, and Keras's proof of it."""
    network, path = saved(model, folder)
    return network, prove(path, x, network)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A network of one product, y = x · w."""
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(1, use_bias=False, name="y")])
    return saved(model, tmp_path_factory.mktemp("product"))[0]


@given(st.lists(st.floats(-8, 8, width=32), min_size=6, max_size=6))
def test_a_product_is_as_sensitive_as_its_terms(product, numbers):
    """For y = x · w the sensitivity is at most u · Σ|x·w|, and with one term that is not 0 just so much."""
    x, w = np.float32([numbers[:3]]), np.float32(numbers[3:])[:, None]
    terms = np.abs(x[0] * w[:, 0]).astype(np.float64)
    outputs, states = sensitivity(product.with_weights({"y/kernel": w}), {"x": x})
    assert states == {}
    assert outputs["y"] <= ROUNDOFF * terms.sum() * 1.01 + 1e-12
    if (terms > 1e-3).sum() == 1 and terms.sum() == terms.max():
        assert outputs["y"] == pytest.approx(ROUNDOFF * terms.max(), rel=0.01)


def test_where_large_terms_cancel_more_is_allowed_up_to_a_limit(product):
    """10 - 10 may differ by what its terms round to, not by more; a million less a million by the limit only."""
    x = {"x": np.float32([[1, -1, 0]])}
    for size, least, most in ((1.0, 1.5, 2.0), (10.0, 15.0, 20.0), (1e6, MOST * 0.9, MOST * 1.1)):
        network = product.with_weights({"y/kernel": np.full((3, 1), size, np.float32)})
        below, above = (Proof(x, {"y": np.float32([[n * BOUNDS["float32"]]])}, {}, "keras") for n in (least, most))
        assert replay(network, below) <= 1
        with pytest.raises(ProofError, match="output y differs"):
            replay(network, above)


def test_keras_proves_networks_that_amplify_rounding(tmp_path):
    """Where a network carries rounding beyond the bound of others, Keras's proof of it holds."""
    beyond = 0
    for seed in range(8):
        network, proof = proven(amplifying(2.5, TIMESTEPS, seed), tmp_path, inputs(TIMESTEPS, seed))
        beyond += difference(network.forward(proof.inputs).outputs["y"], proof.outputs["y"]) > 1
        assert replay(network, proof) <= 1
    assert beyond > 0  # else this shows nothing


def test_another_weight_is_still_another_network(tmp_path):
    """Where rounding is amplified, so is a change of a weight by a thousandth, and the proof refuses it."""
    network, proof = proven(amplifying(2.5, TIMESTEPS, 0), tmp_path, inputs(TIMESTEPS))
    kernel = network.weights["rnn/kernel"].copy()
    kernel[0, 0] *= np.float32(1.001)
    with pytest.raises(ProofError, match="differs"):
        replay(network.with_weights({"rnn/kernel": kernel}), proof)


def test_chaos_is_not_proven(tmp_path):
    """A network of which no two libraries compute the same is refused."""
    network, proof = proven(amplifying(4.0, 60, 0), tmp_path, inputs(60))
    with pytest.raises(ProofError, match="differs"):
        replay(network, proof)


def test_masks_stay_as_they_are(tmp_path):
    """What is measured is the network with the same timesteps masked: a value that masks is not moved."""
    model = keras.Sequential(
        [keras.Input((4, 2), name="x"), layers.Masking(-1.0, name="m"), layers.SimpleRNN(2, name="rnn")]
    )
    network, _ = saved(model, tmp_path)
    x = {"x": np.full((1, 4, 2), -1, np.float32)}
    assert sensitivity(network, x) == ({"rnn": 0.0}, {"rnn/hidden_state": 0.0})


def test_nothing_is_measured_where_it_does_not_decide(product, monkeypatch):
    """A result within the bound, or far beyond all that rounding does, costs no further forward passes."""
    monkeypatch.setattr("service.model.proof.sensitivity", lambda *_: pytest.fail("measured"))
    tolerance = Tolerance(product, {"x": np.ones((1, 3), np.float32)})
    zero = np.zeros((1, 1), np.float32)
    assert tolerance.error("y", zero, zero) == 0
    assert tolerance.error("y", zero + 1, zero) > MOST
