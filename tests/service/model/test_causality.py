"""The chunk law: a sequence fed in any pieces, states carried, gives bit for bit what one call gives."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.model import keras_file
from tests.strategies import networks


def read(case, directory):
    """The network of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.build().save(directory / "model.keras")
    return keras_file.read(directory / "model.keras")


@pytest.mark.usefixtures("tensorflow_imported")
@settings(
    max_examples=25, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=networks(causal=True), data=st.data())
def test_any_chunking_gives_the_same_bits(tmp_path_factory, case, data):
    """Every output and state of a streamable network is the same, bit for bit, however its timesteps are cut."""
    network = read(case, tmp_path_factory.mktemp("case"))
    assert network.streamable, network.not_streamable_reason
    (spec,) = network.inputs
    x = case.inputs()
    whole = network.forward({spec.name: x})
    for _ in range(3):
        cuts = sorted(data.draw(st.sets(st.integers(1, case.timesteps - 1))))
        state, pieces = {}, []
        for piece in np.split(x, cuts, axis=1):
            network.check({spec.name: piece}, state)
            result = network.forward({spec.name: piece}, state)
            state = result.final_state
            pieces.append(result.outputs)
        for name, value in whole.final_state.items():
            assert value.tobytes() == state[name].tobytes(), name
        for output in network.outputs:
            expected = whole.outputs[output.name]
            if expected.ndim == 3:
                actual = np.concatenate([piece[output.name] for piece in pieces], axis=1)
            else:
                actual = pieces[-1][output.name]
            assert np.ascontiguousarray(actual).tobytes() == np.ascontiguousarray(expected).tobytes(), output.name


@pytest.fixture(scope="module")
def tensorflow_imported():
    """Imports TensorFlow once, outside what Hypothesis times."""
    import keras

    return keras


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_large_layers_keep_the_law(tensorflow_imported, tmp_path, kind, batch):
    """The law holds where BLAS chooses its kernels by size: 96 units, 40 timesteps, several batch sizes."""
    keras = tensorflow_imported
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((None, 33)), getattr(layers, kind)(96, return_sequences=True), layers.Dense(17, "softmax")]
    )
    model.save(tmp_path / "model.keras")
    network = keras_file.read(tmp_path / "model.keras")
    (spec,) = network.inputs
    (output,) = network.outputs
    x = np.random.default_rng(1).normal(size=(batch, 40, 33)).astype(np.float32)
    whole = network.forward({spec.name: x}).outputs[output.name]
    for size in (1, 7, 39):
        state, pieces = {}, []
        for start in range(0, 40, size):
            result = network.forward({spec.name: x[:, start : start + size]}, state)
            state = result.final_state
            pieces.append(result.outputs[output.name])
        assert np.ascontiguousarray(np.concatenate(pieces, axis=1)).tobytes() == np.ascontiguousarray(whole).tobytes()
