"""service.model.gradient_proof: gradients in a proof, replayed, missing, and wrong."""

from dataclasses import replace

import numpy as np
import pytest

from service.model import gradient_proof, keras_file, proof
from tests.data.hostile import build


@pytest.fixture
def network(tmp_path):
    """The harmless network, its weights small enough that nothing saturates."""
    build.write(
        tmp_path / "m.keras", weights=build.h5(weights={k: v * np.float32(0.1) for k, v in build.WEIGHTS.items()})
    )
    return keras_file.read(tmp_path / "m.keras")


@pytest.fixture
def good(network):
    """A proof of it with gradients."""
    x = {"input": np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)}
    result = network.forward(x)
    along = gradient_proof.directions(result.outputs)
    slopes = gradient_proof.gradients(network, x, along)
    return proof.Proof(x, result.outputs, result.final_state, "keras", along, slopes)


def test_gradients_survive_the_file(network, good, tmp_path):
    """What was saved is loaded, and reproduced exactly."""
    good.save(tmp_path / "proof.npz")
    loaded = proof.load(tmp_path / "proof.npz")
    assert loaded.gradients.keys() == {"inputs/input", *(f"weights/{name}" for name in network.weights)}
    assert gradient_proof.replay(network, loaded) == 0
    assert proof.replay(network, loaded) == 0


def test_a_proof_of_an_earlier_release_has_none(network, good, tmp_path):
    """A proof without gradients is read as before; they are then not proven, and nothing is refused."""
    replace(good, directions={}, gradients={}).save(tmp_path / "proof.npz")
    loaded = proof.load(tmp_path / "proof.npz")
    assert proof.replay(network, loaded) == 0
    assert gradient_proof.replay(network, loaded) is None


@pytest.mark.parametrize("name", ["inputs/input", "weights/rnn/recurrent_kernel"])
def test_other_gradients_are_found(network, good, name):
    """A gradient that is off by more than is allowed is above 1; one by what the network does not have is infinite."""
    off = {**good.gradients, name: good.gradients[name] + np.float32(1e-3)}
    assert gradient_proof.replay(network, replace(good, gradients=off)) > 1
    other = {**good.gradients, "weights/no/kernel": np.zeros(1, np.float32)}
    assert gradient_proof.replay(network, replace(good, gradients=other)) == float("inf")


def test_directions_of_another_network(network, good):
    """Directions that do not fit the outputs prove nothing."""
    for name, shape in (("output", (2, 7)), ("other", (2, 1))):
        wrong = replace(good, directions={name: np.zeros(shape, np.float32)})
        assert gradient_proof.replay(network, wrong) == float("inf")
