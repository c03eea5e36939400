"""The three reference networks: the smallest, the one set by hand, and the one that is trained."""

import numpy as np
import pytest

from service.model import keras_file
from service.model.proof import difference


@pytest.fixture
def save(tmp_path):
    """Saves a Keras model of the given layers, its weights random, and gives it with the network read from it."""
    import keras

    def save(*layers):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3, 2)), *layers])
        model.save(tmp_path / "model.keras")
        return model, keras_file.read(tmp_path / "model.keras")

    return save


def test_r1_the_smallest_network_has_22_parameters(save):
    """Input (3, 2), SimpleRNN(3), Dense(1) have 18 + 4 parameters, as Keras counts them."""
    from keras import layers

    model, network = save(layers.SimpleRNN(3), layers.Dense(1))
    assert network.parameter_count == model.count_params() == 22
    assert [layer.parameter_count for layer in network.layers] == [18, 4]


def test_r2_weights_set_by_hand_give_exactly_the_matrix(save):
    """The linear network with weights set by hand gives the integers of the reference, exactly."""
    from keras import layers

    _, network = save(layers.SimpleRNN(3, activation=None, return_sequences=True, name="rnn"))
    network = network.with_weights(
        {
            "rnn/kernel": np.float32([[1, 0, 2], [2, 1, 3]]),
            "rnn/recurrent_kernel": np.float32([[1, 2, 1], [1, 0, 1], [0, 1, 0]]),
            "rnn/bias": np.float32([0, 0, 1]),
        }
    )
    (name,) = (spec.name for spec in network.inputs)
    result = network.forward({name: np.float32([[[1, 3], [1, 1], [2, 3]]])})
    assert result.outputs["rnn"].tolist() == [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]
    assert result.final_state["rnn/hidden_state"].tolist() == [[48, 45, 54]]


def test_r3_the_architecture_that_is_trained(save):
    """SimpleRNN(4) and Dense(1) have 28 + 5 parameters in Keras's order and orientation, and give what Keras gives."""
    from keras import layers

    model, network = save(layers.SimpleRNN(4, name="simpleRNN"), layers.Dense(1, name="output"))
    assert {name: weight.shape for name, weight in network.weights.items()} == {
        "simpleRNN/kernel": (2, 4),
        "simpleRNN/recurrent_kernel": (4, 4),
        "simpleRNN/bias": (4,),
        "output/kernel": (4, 1),
        "output/bias": (1,),
    }
    assert network.parameter_count == 33
    x = np.float32([[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]])
    (spec,) = network.inputs
    assert spec.shape == (None, None, 2)
    assert difference(network.forward({spec.name: x}).outputs["output"], np.asarray(model(x))) <= 1
    assert network.streamable
