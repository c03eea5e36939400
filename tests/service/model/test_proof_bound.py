"""How tight a proof is: Keras in double precision lies well within its bound, and a wrong network far beyond it."""

import keras
import numpy as np
import pytest
from keras import layers

from service.errors import ProofError
from service.model import keras_file
from service.model.composed import COMPOSED, KERAS2_HARD_SIGMOID
from service.model.proof import Proof, replay
from tests.service.model.engines.networks import SEQUENCES, layer, network, recurrent

TIMESTEPS, FEATURES = 25, 4
MODELS = {
    "LSTM": lambda p: [layers.LSTM(48, return_sequences=True, **p), layers.LSTM(48, **p), layers.Dense(1, **p)],
    "GRU": lambda p: [layers.GRU(48, return_sequences=True, **p), layers.GRU(32, **p), layers.Dense(1, **p)],
    "SimpleRNN": lambda p: [layers.SimpleRNN(48, **p), layers.Dense(2, **p)],
    "both ways": lambda p: [
        layers.Bidirectional(layers.LSTM(32, return_sequences=True, **p), **p),
        layers.Bidirectional(layers.GRU(24, **p), **p),
        layers.Dense(3, activation="softmax", **p),
    ],
}


def made(kind, dtype):
    """A Keras model of a type."""
    policy = {"dtype": dtype}
    return keras.Sequential([keras.Input((TIMESTEPS, FEATURES), name="x", **policy), *MODELS[kind](policy)])


@pytest.mark.parametrize("kind", MODELS)
def test_the_truth_is_well_within_the_bound(tmp_path, kind):
    """What double precision gives, rounded, and what Keras gives use up less than half of what a proof allows."""
    single, double = made(kind, "float32"), made(kind, "float64")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        shapes = [w.shape for w in single.get_weights()]
        weights = [rng.normal(0, 1 / max(shape[0], 10) ** 0.5, shape).astype(np.float32) for shape in shapes]
        single.set_weights(weights)
        double.set_weights(weights)
        single.save(tmp_path / "m.keras")
        read = keras_file.read(tmp_path / "m.keras")
        x = rng.normal(size=(4, TIMESTEPS, FEATURES)).astype(np.float32)
        (name,) = (spec.name for spec in read.outputs)
        for y in (np.asarray(double(x)).astype(np.float32), np.asarray(single(x))):
            assert replay(read, Proof({"x": x}, {name: y}, {}, "keras")) < 0.5


GRU = {"use_bias": False}
WRONG = {  # a network, and what another reader might take it for
    "hard_sigmoid of the other Keras": (
        [recurrent("LSTM", "a", 16, recurrent_activation="hard_sigmoid")],
        [recurrent("LSTM", "a", 16, recurrent_activation=COMPOSED[KERAS2_HARD_SIGMOID])],
    ),
    "gates by sigmoid": (
        [recurrent("GRU", "a", 16, recurrent_activation="hard_sigmoid")],
        [recurrent("GRU", "a", 16)],
    ),
    "reset before": ([recurrent("GRU", "a", 16, **GRU)], [recurrent("GRU", "a", 16, reset_after=False, **GRU)]),
    "another activation": ([recurrent("LSTM", "a", 16)], [recurrent("LSTM", "a", 16, activation="softsign")]),
    "another direction": ([recurrent("LSTM", "a", 16)], [recurrent("LSTM", "a", 16, go_backwards=True)]),
    "another merge": tuple(
        [layer("Bidirectional", "a", merge_mode=mode, layer=recurrent("GRU", "i", 8))] for mode in ("sum", "ave")
    ),
    "another epsilon": tuple(
        [recurrent("LSTM", "a", 16, **SEQUENCES), layer("LayerNormalization", "n", epsilon=e), recurrent("GRU", "b")]
        for e in (1e-3, 1e-5)
    ),
    "no mask": ([layer("Masking", "m"), recurrent("LSTM", "a", 16)], [recurrent("LSTM", "a", 16)]),
}


@pytest.fixture
def x():
    """Sequences with some timesteps at zero."""
    found = np.random.default_rng(1).normal(size=(4, TIMESTEPS, 3)).astype(np.float32)
    found[:, ::7] = 0
    return {"input": found}


@pytest.mark.parametrize("name", WRONG)
def test_a_network_read_wrongly_is_refused(tmp_path, x, name):
    """Of the same weights, another network is not taken for the one that was proven."""
    right, wrong = (network(tmp_path, *config, layer("Dense", "y", units=1)) for config in WRONG[name])
    result = right.forward(x)
    proof = Proof(x, result.outputs, {}, "keras")
    assert replay(right, proof) == 0
    with pytest.raises(ProofError, match="output y differs from the proof by"):
        replay(wrong, proof)


CHANGES = {
    "a weight by a hundredth": lambda w: _moved(w, 0, 1.01),
    "a sign": lambda w: _moved(w, 3, -1),
    "two gates for one another": lambda w: np.concatenate([w[:, 16:32], w[:, :16], w[:, 32:]], axis=1),
    "half precision": lambda w: w.astype(np.float16).astype(np.float32),
    "rows for columns": lambda w: np.concatenate([part.T for part in np.split(w, 4, axis=1)], axis=1),
}


def _moved(weight, rank, factor):
    """A weight with its largest number but `rank` times a factor."""
    found = weight.copy()
    place = np.unravel_index(np.argsort(-np.abs(weight), axis=None)[rank], weight.shape)
    found[place] *= np.float32(factor)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_other_weights_are_refused(tmp_path, x, name):
    """One weight of a thousand by a hundredth is another network, and so is whatever changes more."""
    right = network(tmp_path, recurrent("LSTM", "a", 16), layer("Dense", "y", units=1))
    changed = CHANGES[name](right.weights["a/recurrent_kernel"])
    with pytest.raises(ProofError, match="output y differs"):
        replay(right.with_weights({"a/recurrent_kernel": changed}), Proof(x, right.forward(x).outputs, {}, "keras"))
