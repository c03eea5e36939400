"""training.proving: what Keras says of a network, and what our own network makes of it."""

import numpy as np
import pytest

from service.model import gradient_proof, keras_file
from service.model import proof as proofs
from tests.training.networks import CLASSES, sequences
from training.options import Options


@pytest.mark.parametrize("options", [None, {"return_sequences": True, "units": (3,)}, {"dense_units": 0}, CLASSES])
def test_our_network_reproduces_the_proof(network, reference, options, tmp_path):
    """A saved network gives Keras's outputs, final states and gradients by inputs and weights, as its proof says."""
    model = reference[0] if options is None else network.build(Options(**options), 3, 2)
    inputs = sequences().inputs()
    from training import proving

    network.save(model, tmp_path / "model.keras")
    served = keras_file.read(tmp_path / "model.keras")
    proof = proving.proof(model, {"sequence": inputs}, served)
    assert list(proof.inputs) == ["sequence"]
    proof.save(tmp_path / "proof.npz")
    loaded = proofs.load(tmp_path / "proof.npz")
    assert 0 <= proofs.replay(served, loaded) <= 1
    trained = {f"weights/{name}" for name in served.weights if not name.startswith("normalization/")}
    assert loaded.gradients.keys() == {"inputs/sequence", *trained}
    assert 0 <= gradient_proof.replay(served, loaded) <= 1


def test_states_are_those_of_our_network(network, reference, tmp_path):
    """Keras's state after each timestep is the final state that our network has after so many timesteps."""
    from training import proving

    model, _, _ = reference
    inputs = sequences().inputs()
    network.save(model, tmp_path / "model.keras")
    served = keras_file.read(tmp_path / "model.keras")
    (name, states), *others = proving.states(model, {"sequence": inputs}).items()
    assert (name, others) == ("simpleRNN", [])
    assert states.over_time.shape == (3, 3, 4)
    for step in range(3):
        result = served.forward({"sequence": inputs[:, : step + 1]})
        assert set(result.final_state) == set(states.final) == {"simpleRNN/hidden_state"}
        np.testing.assert_allclose(result.final_state["simpleRNN/hidden_state"], states.over_time[:, step], atol=1e-5)
    np.testing.assert_array_equal(states.final["simpleRNN/hidden_state"], states.over_time[:, -1])
