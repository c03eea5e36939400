"""The quick recurrent layers, held next to the equations of the papers."""

import numpy as np
import pytest

from service.model.layers import make_layer
from service.model.tensors import Tensor, Time
from tests.service.model.layers import textbook


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "options", "cell"),
    [
        ("SimpleRNN", {}, textbook.simple_rnn),
        ("GRU", {"reset_after": False}, textbook.gru),
        ("GRU", {}, textbook.gru_reset_after),
        ("LSTM", {}, textbook.lstm),
    ],
)
def test_layers_compute_the_equations(kind, options, cell, seed):
    """Outputs, every state and the final states of a batch are those of the textbook, to rounding in float64."""
    rng = np.random.default_rng(seed)
    batch, timesteps, features, units = rng.integers(1, 6, 4)
    config = {"name": "rnn", "units": int(units), "return_sequences": True, "dtype": "float64", **options}
    layer = make_layer({"class_name": kind, "config": config})
    built = layer.build([Tensor((None, None, int(features)), np.dtype("f8"), Time.SEQUENCE)])
    weights = {spec.name: rng.normal(0, 0.7, spec.shape) for spec in built.weights}
    x = rng.normal(size=(batch, timesteps, features))
    states = tuple(rng.normal(size=(batch, units)) for _ in built.states)
    record = {}
    (output,), final = layer.run(layer.prepare(weights), x, None, states, record)
    for i in range(batch):
        expected = textbook.run(cell, x[i], tuple(state[i] for state in states), weights)
        np.testing.assert_allclose(output[i], expected[0], rtol=0, atol=1e-13)
        for name, value, last in zip(layer.state_names, expected, final, strict=True):
            np.testing.assert_allclose(record[name][i], value, rtol=0, atol=1e-13)
            np.testing.assert_allclose(last[i], value[-1], rtol=0, atol=1e-13)
