"""Patches of states, gates and outputs: equal to what can be had by other means, and their gradients."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model.changes import Change, ChangeKind, apply
from service.model.gradients import Tape
from service.model.layers.patch import Patch, PatchKind
from service.model.patches import shifted
from tests.strategies import randomize

SET, ADD, SCALE, KEEP = PatchKind.SET, PatchKind.ADD, PatchKind.SCALE, PatchKind.KEEP
ZERO = np.zeros(())


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Gives the network of Keras layers over 3 features, random weights, in a type."""

    def load(dtype, make):
        import keras

        model = keras.Sequential([keras.Input((None, 3), dtype=dtype), *make(keras.layers, {"dtype": dtype})])
        randomize(model, 7)
        path = tmp_path_factory.mktemp("model") / "model.keras"
        model.save(path)
        network = keras_file.read(path)
        rng = np.random.default_rng(1)
        return network, {network.inputs[0].name: rng.normal(size=(4, 20, 3)).astype(dtype)}

    return load


@pytest.fixture(scope="module")
def lstm(load):
    """An LSTM of 6 units with a Dense on top, in single precision."""
    return load("float32", lambda k, p: [k.LSTM(6, name="rnn", **p), k.Dense(2, name="head", **p)])


def test_states_set_equal_a_sequence_resumed(lstm):
    """Both states set after step 12 of 20 give, to the bit, the sequence split there and resumed from those states."""
    network, inputs = lstm
    ((name, x),) = inputs.items()
    states = {s.name: np.random.default_rng(5).normal(size=(4, 6)).astype("f4") for s in network.states}
    expected = network.forward({name: x[:, 12:]}, states)
    patches = [
        Patch("rnn", full.split("/")[1], SET, value[:, None], timesteps=(11, 12)) for full, value in states.items()
    ]
    found = network.patched(inputs, None, patches)
    assert np.array_equal(found.outputs["head"], expected.outputs["head"])
    for state in states:
        assert np.array_equal(found.final_state[state], expected.final_state[state])


def test_a_silenced_unit_equals_one_without_outgoing_weights(lstm):
    """A hidden unit at zero at every timestep is a unit whose outgoing weights are zero; a trace shows it at zero."""
    network, inputs = lstm
    patch = Patch("rnn", "hidden_state", SET, ZERO, units=(3, 4))
    changes = [
        Change(weight, ChangeKind.SET, ((3, 4), (0, 0)), np.float32(0))
        for weight in ("rnn/recurrent_kernel", "head/kernel")
    ]
    found = network.trace(inputs, patches=[patch])
    assert (found.layers[0].tensors["hidden_state"][:, :, 3] == 0).all()
    np.testing.assert_allclose(
        found.outputs["head"], apply(network, changes).forward(inputs).outputs["head"], atol=1e-6
    )


def test_a_gate_held_open_equals_a_large_bias(lstm):
    """The forget gate at 1 is the forget gate with 60 added to its bias."""
    network, inputs = lstm
    found = network.patched(inputs, None, [Patch("rnn", "forget_gate", SET, np.ones(()))]).outputs["head"]
    biased = apply(network, [Change("rnn/bias", ChangeKind.ADD, ((6, 12),), np.float32(60))])
    assert np.array_equal(found, biased.forward(inputs).outputs["head"])


def test_patches_touch_what_they_name_only(lstm):
    """Other sequences, units and earlier timesteps keep their bits; a patch that does nothing changes nothing."""
    network, inputs = lstm
    plain = network.trace(inputs)
    patch = Patch("rnn", "cell_state", ADD, np.ones(()), sequences=(1, 2), timesteps=(8, 10), units=(2, 3))
    found = network.trace(inputs, patches=[patch])
    before, after = (trace.layers[0].tensors["cell_state"] for trace in (plain, found))
    assert np.array_equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert np.array_equal(after[1, :8], before[1, :8])
    assert np.flatnonzero(after[1, 8] != before[1, 8]).tolist() == [2]
    assert after[1, 8, 2] == before[1, 8, 2] + 1
    nothing = [Patch("rnn", "hidden_state", SCALE, np.ones(())), Patch("head", "output", ADD, ZERO)]
    assert np.array_equal(network.patched(inputs, None, nothing).outputs["head"], plain.outputs["head"])


def test_keep_holds_a_state(lstm):
    """A state kept over some timesteps stays at what it was before them."""
    network, inputs = lstm
    found = network.trace(inputs, patches=[Patch("rnn", "cell_state", KEEP, ZERO, timesteps=(5, 9), units=(1, 3))])
    state = found.layers[0].tensors["cell_state"]
    assert (state[:, 5:9, 1:3] == state[:, 4:5, 1:3]).all()
    assert (state[:, 5:9, 3:] != state[:, 4:5, 3:]).any()


def test_outputs_are_patched(lstm):
    """An output set is what the network answers."""
    network, inputs = lstm
    found = network.patched(inputs, None, [Patch("head", "output", SET, np.full(2, 7.0))])
    assert (found.outputs["head"] == 7).all()


def test_timesteps_are_those_of_a_trace_in_both_directions(load):
    """In a Bidirectional, timestep t of the backward layer is the one that a trace shows as t."""
    network, inputs = load(
        "float32", lambda k, p: [k.Bidirectional(k.GRU(4, return_sequences=True, **p), name="both", **p)]
    )
    found = network.trace(inputs, patches=[Patch("both", "backward/hidden_state", SET, ZERO, timesteps=(3, 4))])
    plain = network.trace(inputs)
    shown, before = (t.layers[0].tensors["backward/hidden_state"] for t in (found, plain))
    assert (shown[:, 3] == 0).all()
    assert np.array_equal(shown[:, 4:], before[:, 4:])
    assert (shown[:, :3] != before[:, :3]).any()


def test_a_patch_of_an_output_leaves_timesteps_as_they_are(load):
    """Beside a patch of an output that is no sequence, timesteps of states are still counted over the sequence."""
    network, inputs = load("float32", lambda k, p: [k.Bidirectional(k.GRU(4, **p), name="both", **p)])
    state = Patch("both", "backward/hidden_state", SET, ZERO, timesteps=(3, 4))
    alone, beside = (
        network.patched(inputs, None, patches).outputs["both"]
        for patches in ([state], [state, Patch("both", "output", ADD, ZERO)])
    )
    assert np.array_equal(alone, beside)
    assert not np.array_equal(alone, network.forward(inputs).outputs["both"])


@pytest.mark.parametrize("split", [1, 7, 9, 10])
def test_a_stream_is_patched_as_one_call(lstm, split):
    """A sequence in two pieces with patches counted from its beginning gives the bits of one call."""
    network, inputs = lstm
    ((name, x),) = inputs.items()
    values = np.random.default_rng(2).normal(size=(1, 6, 6)).astype("f4")
    patches = [
        Patch("rnn", "hidden_state", SET, values, timesteps=(5, 11)),
        Patch("rnn", "cell_state", KEEP, ZERO, timesteps=(6, 12)),
        Patch("rnn", "input_gate", SCALE, np.full((), 0.5)),
    ]
    whole = network.patched(inputs, None, patches)
    state, begun = None, 0
    for piece in (x[:, :split], x[:, split:]):
        found = network.patched({name: piece}, state, shifted(patches, begun, piece.shape[1]))
        state, begun = found.final_state, begun + piece.shape[1]
    assert np.array_equal(found.outputs["head"], whole.outputs["head"])


@pytest.mark.parametrize(
    ("patch", "field", "said"),
    [
        (Patch("no", "output", SET, ZERO), "layer", "no layer named 'no'"),
        (Patch("rnn", "update_gate", SET, ZERO), "tensor", "no tensor 'update_gate' that can be patched"),
        (Patch("head", "pre_activation", SET, ZERO), "tensor", "there are: output"),
        (Patch("rnn", "input_gate", KEEP, ZERO), "operation", "KEEP needs a state"),
        (Patch("rnn", "hidden_state", SET, ZERO, timesteps=(18, 21)), "timesteps", "18:21 is not within 0:20"),
        (Patch("rnn", "hidden_state", SET, ZERO, units=(6, 7)), "units", "6:7 is not within 0:6"),
        (Patch("rnn", "hidden_state", SET, ZERO, sequences=(-1, 2)), "sequences", "-1:2 is not within 0:4"),
        (Patch("rnn", "hidden_state", SET, np.zeros(5)), "value.shape", "does not broadcast"),
        (Patch("rnn", "hidden_state", SET, np.zeros((1, 1, 1, 6))), "value.shape", "does not broadcast"),
    ],
)
def test_patches_that_do_not_fit_are_refused(lstm, patch, field, said):
    """The error names the field, what was expected and what arrived."""
    network, inputs = lstm
    with pytest.raises(InvalidArgumentError, match=said) as error:
        network.patched(inputs, None, [patch])
    assert error.value.field == f"patches.{field}"


PATCHES = [
    ("hidden_state", SET), ("hidden_state", ADD), ("hidden_state", SCALE), ("hidden_state", KEEP),
    ("cell_state", SET), ("cell_state", SCALE), ("cell_state", KEEP),
    ("input_gate", SET), ("forget_gate", SCALE), ("candidate", ADD), ("output_gate", SCALE),
    ("update_gate", SCALE), ("reset_gate", SET), ("candidate", SCALE), ("output", SCALE), ("output", SET),
]  # fmt: skip
CELLS = {
    "simple": lambda k, p: [k.SimpleRNN(3, name="rnn", return_sequences=True, **p)],
    "lstm": lambda k, p: [k.LSTM(3, name="rnn", return_sequences=True, **p)],
    "gru": lambda k, p: [k.GRU(3, name="rnn", return_sequences=True, **p)],
    "gru_before": lambda k, p: [k.GRU(3, name="rnn", reset_after=False, return_sequences=True, **p)],
    "convolving": lambda k, p: [
        k.TimeDistributed(k.Reshape((3, 1), **p), **p),
        k.ConvLSTM1D(2, 2, padding="same", name="rnn", return_sequences=True, **p),
        k.TimeDistributed(k.Flatten(**p), **p),
    ],
    "masked": lambda k, p: [k.Masking(**p), k.LSTM(3, name="rnn", return_sequences=True, **p)],
}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_gradients_go_through_patches(load, cell):
    """With every kind of patch, gradients by the input are central differences of the patched network."""
    network, inputs = load("float64", lambda k, p: [*CELLS[cell](k, p), k.GRU(2, name="top", **p)])
    ((name, x),) = inputs.items()
    x = x[:2, :6].copy()
    if cell == "masked":
        x[0, 2] = x[1, 5] = 0
    direction = np.ones((2, 2))
    tensors = next(t.tensors for t in network.trace({name: x}).layers if t.layer == "rnn")
    tried = [(tensor, kind) for tensor, kind in PATCHES if tensor in tensors]
    if cell == "convolving":  # whose output has more axes than a patch selects of
        tried = [(tensor, kind) for tensor, kind in tried if tensor != "output"]
    assert tried
    for tensor, kind in tried:
        patch = Patch("rnn", tensor, kind, np.full((), 0.4), timesteps=(2, 4), units=(0, 2))
        found = Tape(network, {name: x}, None, [patch]).backward({"top": direction}).inputs[name]
        step = 1e-6
        for place in [(0, 0, 1), (0, 3, 0), (1, 2, 2), (1, 4, 1)]:
            if not x[place[:2]].any():
                continue  # a masked timestep is on a kink
            moved = []
            for sign in (1, -1):
                there = x.copy()
                there[place] += sign * step
                moved.append(network.patched({name: there}, None, [patch]).outputs["top"].sum())
            expected = (moved[0] - moved[1]) / (2 * step)
            assert found[place] == pytest.approx(expected, abs=1e-8), (tensor, kind, place)


def test_gradients_go_through_patches_of_stacked_cells(load):
    """A cell takes what the one below gives before its state is patched; so do gradients."""
    network, inputs = load(
        "float64",
        lambda k, p: [k.RNN(k.StackedRNNCells([k.LSTMCell(3, **p), k.GRUCell(2, **p)], **p), name="rnn", **p)],
    )
    ((name, x),) = inputs.items()
    x = x[:2, :5]
    patches = [
        Patch("rnn", "cell_0/hidden_state", SET, np.full((), 0.3), timesteps=(1, 3), units=(0, 2)),
        Patch("rnn", "cell_1/update_gate", SCALE, np.full((), 0.5), timesteps=(2, 4)),
    ]
    found = Tape(network, {name: x}, None, patches).backward({"rnn": np.ones((2, 2))}).inputs[name]
    for place in [(0, 0, 1), (0, 2, 0), (1, 3, 2)]:
        moved = []
        for sign in (1, -1):
            there = x.copy()
            there[place] += sign * 1e-6
            moved.append(network.patched({name: there}, None, patches).outputs["rnn"].sum())
        assert found[place] == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-8), place
