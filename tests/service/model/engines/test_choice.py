"""Engines: each gives what the reference gives, keeps the chunk law where it serves, and is chosen by batch size."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model.engines import choice as engines
from service.model.engines import onnx_runtime, scalar
from service.model.engines.choice import OwnEngine
from service.model.proof import Proof, difference
from service.model.results import Result
from tests.data.hostile import build
from tests.service.model.engines.networks import NETWORKS, SEQUENCES, layer, network, recurrent, saved


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("make", "batch"),
    [(scalar.make, 1), (onnx_runtime.make, 1), (onnx_runtime.make, 4)],
    ids=["scalar", "onnxruntime", "onnxruntime, batch of 4"],
)
def test_an_engine_gives_what_the_reference_gives(tmp_path, name, make, batch):
    """Outputs and final states equal NumPy's within the bound, from zero and from given states."""
    net = network(tmp_path, *NETWORKS[name])
    engine = make(net)
    x = {"input": np.random.default_rng(1).normal(size=(batch, 6, 3)).astype(np.float32)}
    state = {}
    for _ in range(2):
        actual, expected = engine.forward(x, state), net.forward(x, state)
        for ours, theirs in ((actual.outputs, expected.outputs), (actual.final_state, expected.final_state)):
            assert ours.keys() == theirs.keys()
            assert all(difference(ours[key], theirs[key]) <= 1 for key in theirs)
        state = expected.final_state


def test_what_makes_much_is_tried_with_few(tmp_path):
    """Engines are tried with as many sequences as make no more than a call should, and never with fewer than two."""
    for features, sequences in ((5, 32), (50, 3), (200, 2)):
        found = engines.sample(saved(tmp_path, build.multiplying(features)), None, engines.MANY)
        assert found["x"].shape == (sequences, features)


@pytest.mark.parametrize("engine", ["numpy", "onnxruntime"])
def test_from_bytes_to_bytes_any_engine_gives_the_same_bits(tmp_path, engine):
    """One sequence as raw bytes gives shape and bytes of what it gives as an array, and only where it is one."""
    choice = engines.assemble(network(tmp_path, *NETWORKS["lstm"]), None, engine, engine)
    x = np.random.default_rng(0).normal(size=(1, 7, 3)).astype(np.float32)
    expected = choice.forward({"input": x}).outputs["b"]
    forward = choice.prepare(x.shape)
    assert forward(x.tobytes()) == (expected.tobytes(), None)
    for wrong in (np.full_like(x, np.nan), np.full_like(x, np.inf)):
        assert forward(wrong.tobytes()) is None
    for shape in (x[0].shape, (1, 0, 3), (1, 7, 2), (2, 7, 3), (1, 3, 7)):
        assert choice.prepare(shape) is None


def test_what_an_engine_does_not_cover_is_left_to_numpy(tmp_path):
    """Other layers that go by masks, other directions, options and types: both engines decline, and NumPy serves."""
    for layers in (
        [layer("Masking", "m"), recurrent("LSTM", "a", **SEQUENCES), layer("Softmax", "s")],
        [recurrent("LSTM", "a", go_backwards=True, return_sequences=True)],
        [recurrent("GRU", "a", activation="mish")],
        [recurrent("LSTM", "a", dtype="float64")],
        [recurrent("LSTM", "a", **SEQUENCES), layer("LayerNormalization", "n", scale=False)],
        [recurrent("LSTM", "a", **SEQUENCES), layer("MaxPooling1D", "p")],  # of too few timesteps it would make nothing
        [layer("Conv1D", "c", filters=2, kernel_size=[1], padding="same", strides=[2]), recurrent("LSTM", "a")],
        [layer("TimeDistributed", "t", layer=layer("Flatten", "f")), recurrent("LSTM", "a")],
        [layer("RNN", "a", cell=layer("StackedRNNCells", "s", cells=[recurrent("GRUCell", "b")]))],
    ):
        net = network(tmp_path, *layers)
        assert scalar.make(net) is None
        assert onnx_runtime.make(net) is None
        assert engines.select(net).name == "numpy"


def test_a_fixed_engine_serves_where_it_can(tmp_path):
    """A name fixes the engine; one that does not exist, or cannot compute the network, is an error."""
    net = network(tmp_path, *NETWORKS["gru"])
    assert engines.select(net, fixed="numpy").name == "numpy"
    assert engines.select(net, fixed="scalar").name == "scalar (batch 1), numpy"
    with pytest.raises(InvalidArgumentError, match="no engine"):
        engines.select(net, fixed="abacus")
    other = network(tmp_path, recurrent("LSTM", "a", activation="mish"))
    with pytest.raises(InvalidArgumentError, match="cannot compute"):
        engines.select(other, fixed="onnxruntime")


def test_the_proof_decides(tmp_path):
    """The inputs of the proof are what engines are compared on, at both batch sizes."""
    net = network(tmp_path, *NETWORKS["lstm"])
    x = {"input": np.random.default_rng(1).normal(size=(3, 5, 3)).astype(np.float32)}
    result = net.forward(x)
    proof = Proof(x, result.outputs, result.final_state, "unroll")
    assert engines.sample(net, proof, 1)["input"].tobytes() == x["input"][:1].tobytes()
    assert engines.sample(net, proof, 32)["input"].shape == (32, 5, 3)
    reference = OwnEngine(net)
    for batch in (1, 32):
        assert engines.prove(reference, net, engines.sample(net, proof, batch), proof) == ""
    wrong = Proof(x, {name: value + 1 for name, value in result.outputs.items()}, {}, "unroll")
    assert "differs from the proof" in engines.prove(reference, net, engines.sample(net, wrong, 1), wrong)
    choice = engines.select(net, proof)
    for batch in (1, 2):
        given = engines.sample(net, None, batch)
        (name,) = net.forward(given).outputs
        assert difference(choice.forward(given).outputs[name], net.forward(given).outputs[name]) <= 1


@pytest.mark.parametrize(
    ("declared", "kernel", "timed"), [(None, 3, 20), (None, 30, 100), (None, 5000, 1000), (250, 3, 250)]
)
def test_inputs_of_chance_are_long_enough(tmp_path, declared, kernel, timed):
    """Engines are chosen on as many timesteps as the file has, or a convolution needs; where none do, NumPy serves."""
    layers = [layer("Conv1D", "c", filters=4, kernel_size=[kernel]), recurrent("LSTM", "a", 4)]
    net = network(tmp_path, *layers, time=declared)
    assert engines.sample(net, None, 2)["input"].shape == (2, timed, 3)
    choice = engines.select(net, fixed="numpy")
    assert choice.name == "numpy"
    assert bool(choice.timings) == (kernel < timed)


def test_a_long_sequence_is_timed_by_its_beginning(tmp_path):
    """Of a file made for many timesteps some are enough to choose engines by, where they may come in pieces."""
    net = network(tmp_path, *NETWORKS["lstm"], time=5000)
    assert engines.sample(net, None, 2)["input"].shape == (2, engines.MOST_TIMESTEPS, 3)


def test_an_engine_that_cannot_be_made_does_not_keep_a_version_from_serving(tmp_path, monkeypatch, caplog):
    """Where making an engine fails the others serve, and the failure is said beside the timings."""

    def make(network):
        raise AttributeError(network.name)

    monkeypatch.setitem(engines.KINDS, "broken", engines.Kind(make, (1, 32)))
    net = network(tmp_path, *NETWORKS["simple"])
    choice = engines.select(net)
    x = {"input": np.ones((2, 3, 3), np.float32)}
    assert difference(choice.forward(x).outputs["d"], net.forward(x).outputs["d"]) <= 1
    assert [t.refused for t in choice.timings if t.engine == "broken"] == ["failed: AttributeError"] * 2
    assert "Traceback" in caplog.text
    assert "AttributeError" in caplog.text


def test_another_engine_has_to_be_clearly_quicker(tmp_path):
    """An engine serves in place of the one that serves otherwise only if it takes less than a share of its time."""
    net = network(tmp_path, *NETWORKS["lstm"])
    numpy, onnx = both = OwnEngine(net), onnx_runtime.make(net)
    for taken, gain, instead_of_numpy, instead_of_onnx in (
        ((100, 50), 0.9, onnx, onnx),
        ((100, 95), 0.9, numpy, onnx),
        ((95, 100), 0.9, numpy, onnx),
        ((80, 100), 0.9, numpy, numpy),
        ((80, 100), 0.7, numpy, onnx),
        ((50, 100), 0.7, numpy, numpy),
    ):
        assert engines.fastest(both, taken, numpy, gain) is instead_of_numpy
        assert engines.fastest(both, taken, onnx, gain) is instead_of_onnx


def test_engines_chosen_elsewhere_are_put_together_by_name(tmp_path):
    """The named engines compute, proven anew at both batch sizes; one that cannot compute the network is an error."""
    net = network(tmp_path, *NETWORKS["gru"])
    assert engines.assemble(net, None, "scalar", "onnxruntime").name == "scalar (batch 1), onnxruntime"
    assert engines.assemble(net, None, "numpy", "numpy").name == "numpy"
    for name in ("abacus", "onnxruntime"):
        other = network(tmp_path, recurrent("LSTM", "a", activation="mish"))
        with pytest.raises(InvalidArgumentError, match="cannot compute"):
            engines.assemble(other, None, "numpy", name)


class Wrong:
    """An engine that is wrong in one way."""

    name = "wrong"

    def __init__(self, net, way):
        self.net, self.way = net, way

    def forward(self, inputs, initial_state=None):
        result = self.net.forward(inputs, None if self.way == "forgets" else initial_state)
        if self.way == "fails":
            raise RuntimeError
        shift = {"off": 1e-3, "bits": 1e-9 * inputs["input"].shape[1]}.get(self.way, 0.0)
        return Result(
            {k: (v.astype(np.float64) * (1 + shift * 60)).astype(np.float32) for k, v in result.outputs.items()},
            result.final_state,
        )


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("off", "more than is allowed"),
        ("forgets", "more than is allowed"),
        ("fails", "RuntimeError"),
        ("bits", "other bits"),
    ],
)
def test_a_wrong_engine_does_not_serve(tmp_path, way, reason):
    """An engine that is off, forgets states, fails, or gives other bits for pieces is refused, and the reason said."""
    net = network(tmp_path, *NETWORKS["gru"])
    x = {"input": np.random.default_rng(1).normal(size=(1, 9, 3)).astype(np.float32)}
    assert engines.prove(OwnEngine(net), net, x) == ""
    assert reason in engines.prove(Wrong(net, way), net, x)
