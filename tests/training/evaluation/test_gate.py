"""The gate: whether the alias moves."""

import numpy as np
import pytest

from service.model import keras_file
from training.data.layout import Layout
from training.data.windows import Windows
from training.evaluation import gate
from training.evaluation.errors import Measured, errors, predict
from training.options import Registration

MEASURED = Measured("rmse", {"rmse": 1.9}, {"last value": {"rmse": 2.5}, "mean": {"rmse": 4.0}})


@pytest.mark.parametrize(
    ("champion", "options", "promoted"),
    [
        (None, {}, True),
        (None, {"promote": "never"}, False),
        ((2.0, 1.9), {}, True),
        ((2.0, 2.0), {}, False),
        ((2.0, 2.1), {}, False),
        ((2.0, 2.1), {"promote": "always"}, True),
        ((2.0, 1.9), {"min_improvement": 0.1}, False),
        ((2.0, 1.7), {"min_improvement": 0.1}, True),
        ((0.0, 0.0), {}, False),
        ((float("nan"), 1.9), {"min_improvement": 0.1}, True),
        ((2.0, float("nan")), {}, False),
        ((None, None), {}, False),
    ],
)
def test_the_decision(champion, options, promoted):
    """The alias moves for a smaller error, smaller by enough, and where there is nobody to beat."""
    found = gate.Champion("7", *champion, "it is other") if champion else None
    decision = gate.decide(MEASURED, found, Registration(**options))
    assert decision.promoted is promoted
    assert decision.reason


@pytest.mark.parametrize(
    ("baselines", "promote", "promoted"),
    [
        ({"last value": 244.0, "mean": 5000.0}, "better", False),
        ({"last value": 244.0, "mean": 5000.0}, "always", True),
        ({"last value": 3253.0, "mean": 5000.0}, "better", True),
    ],
)
def test_a_first_version_has_to_beat_its_baselines(baselines, promote, promoted):
    """Where there is no champion yet, a version that a baseline beats is promoted only where that is asked for."""
    measured = Measured("rmse", {"rmse": 3253.0}, {name: {"rmse": error} for name, error in baselines.items()})
    decision = gate.decide(measured, None, Registration(promote=promote))
    assert decision.promoted is promoted
    if not promoted:
        assert "the baseline 'last value' is better: held-out error 244" in decision.reason


def test_where_nothing_is_held_out_the_alias_moves_unless_told_otherwise():
    """The reference network is not measured: its alias moves, and stays with `never`."""
    assert gate.decide(None, None, Registration()).promoted
    assert not gate.decide(None, None, Registration(promote="never")).promoted


@pytest.fixture(scope="module")
def wave():
    """Held-out windows of 6 timesteps over a noisy wave, with the next two values as targets."""
    noise = np.random.default_rng(0).normal(size=400)
    values = (np.sin(np.arange(400) / 5) + 0.1 * noise).astype(np.float32)
    starts = np.arange(300, 390)
    return Windows(values[:, None], values, starts, starts + 6, 6, 2, 1, np.zeros(400, np.int32))


def network(tmp_path, timesteps, outputs, seed):
    """A network with random weights, as it serves: it takes sequences of any length."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = [keras.Input((timesteps, 1)), keras.layers.SimpleRNN(5), keras.layers.Dense(outputs)]
    keras.Sequential(layers).save(tmp_path / f"{timesteps}-{outputs}.keras")
    return keras_file.read(tmp_path / f"{timesteps}-{outputs}.keras")


def layout(window, horizon=2):
    """What such a network was trained with."""
    return Layout(("y",), "y", window, horizon)


@pytest.mark.parametrize("window", [12, 6, 3])
def test_a_champion_is_judged_with_its_own_window(wave, tmp_path, window):
    """Whatever window a challenger has, the champion gets the window that it was trained with, on the same targets."""
    champion = network(tmp_path, 24, 2, seed=1)
    challenger = network(tmp_path, window, 2, seed=2)
    test = wave.reaching_back(window)[0]
    found = gate.compare(challenger, layout(window), champion, layout(24), "1", test)
    own = wave.reaching_back(24)[0]
    assert found.error == errors(predict(champion, own), own.expected(), 0)["rmse"]
    assert found.challenger_error == errors(predict(challenger, test), test.expected(), 0)["rmse"]


def test_a_champion_that_names_no_window_is_judged_as_its_file_says(wave, tmp_path):
    """Without a layout the file's own timesteps count; where they are open, the two cannot be compared."""
    challenger = network(tmp_path, 6, 2, seed=2)
    champion = network(tmp_path, 24, 2, seed=1)
    own = wave.reaching_back(24)[0]
    found = gate.compare(challenger, layout(6), champion, None, "1", wave)
    assert found.error == errors(predict(champion, own), own.expected(), 0)["rmse"]
    found = gate.compare(challenger, layout(6), network(tmp_path, None, 2, seed=1), None, "1", wave)
    assert found.error is None
    assert "number of timesteps open" in found.reason


def test_of_two_horizons_the_steps_are_compared_that_both_have(wave, tmp_path):
    """A champion that gives four values is compared with a challenger that gives two, on these two."""
    challenger, champion = network(tmp_path, 6, 2, seed=2), network(tmp_path, 6, 4, seed=1)
    found = gate.compare(challenger, layout(6), champion, layout(6, 4), "1", wave)
    assert found.error == errors(predict(champion, wave)[:, :2], wave.expected(), 0)["rmse"]


@pytest.mark.parametrize(
    ("network_errors", "champion_folds", "promoted", "said"),
    [
        ([2.0, 2.0], (), True, "over 2 folds nothing is better: mean error 2"),
        ([1.0, 4.1], (), False, "the baseline 'last value' is better: mean error 2.5, the network's is 2.55"),
        ([float("nan"), 1.0], (), False, "the baseline 'last value' is better"),
        ([2.0, 2.0], ((1.5, 2.0), (2.5, 2.0)), True, "nothing is better"),
        ([2.0, 2.0], ((1.5, 2.0), (2.4, 2.0)), False, "the champion, version 7, is better: mean error 1.95"),
    ],
)
def test_over_folds_nobody_may_be_better_on_average(network_errors, champion_folds, promoted, said):
    """A version that is promoted for its error on everything also has to be as good over folds as all others are."""
    folds = {"network": network_errors, "last value": [3.0, 2.0]}
    measured = Measured("rmse", {"rmse": 1.9}, {"last value": {"rmse": 2.5}}, folds=folds)
    champion = gate.Champion("7", 2.0, 1.9, folds=champion_folds) if champion_folds else None
    decision = gate.decide(measured, champion, Registration(gate_folds=2))
    assert decision.promoted is promoted
    assert said in decision.reason


def test_both_are_judged_in_each_fold(wave, tmp_path):
    """The errors of champion and challenger in a fold are those on its targets alone, each with its own window."""
    challenger, champion = network(tmp_path, 6, 2, seed=2), network(tmp_path, 24, 2, seed=1)
    folds = [wave.some(slice(0, 30)), wave.some(slice(30, 90))]
    found = gate.compare(challenger, layout(6), champion, layout(24), "1", wave, folds)
    for fold, (theirs, mine) in zip(folds, found.folds, strict=True):
        own = fold.reaching_back(24)[0]
        assert theirs == errors(predict(champion, own), own.expected(), 0)["rmse"]
        assert mine == errors(predict(challenger, fold), fold.expected(), 0)["rmse"]
