"""Attribution, memory, dynamics, summaries and sums over networks of every recurrent kind."""

from dataclasses import replace

import numpy as np
import pytest

from service.model import keras_file
from service.model.gradients import Tape
from service.model.insight import dynamics
from service.model.insight.attribution import Method, Question, attribute
from service.model.insight.memory import SHARES, final_jacobians, parts, remember
from service.model.insight.summary import Summarizer
from service.model.insight.sums import written_out
from service.model.insight.target import Target
from service.model.layers.patch import Patch, PatchKind
from tests.strategies import randomize

RNG = np.random.default_rng(0)
STACKS = {
    "simple": lambda k, p: [k.SimpleRNN(3, name="rnn", **p)],
    "gru": lambda k, p: [k.GRU(3, name="rnn", **p)],
    "gru_before": lambda k, p: [k.GRU(3, name="rnn", reset_after=False, use_bias=False, **p)],
    "lstm": lambda k, p: [k.LSTM(3, name="rnn", **p)],
    "backwards": lambda k, p: [k.LSTM(3, name="rnn", go_backwards=True, **p)],
    "stacked": lambda k, p: [k.RNN(k.StackedRNNCells([k.LSTMCell(3, **p), k.GRUCell(2, **p)], **p), name="rnn", **p)],
    "both": lambda k, p: [k.Bidirectional(k.GRU(3, **p), name="rnn", **p)],
    "convolving": lambda k, p: [
        k.TimeDistributed(k.Reshape((2, 1), **p), **p),
        k.ConvLSTM1D(2, 2, padding="same", name="rnn", **p),
        k.Flatten(**p),
    ],
}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Gives the network of Keras layers in double precision, over sequences of 2 features or over ids."""

    def load(make, ids=0):
        import keras

        shape = (None,) if ids else (None, 2)
        policy = {"dtype": "float64"}
        source = keras.Input(shape, dtype="int32" if ids else "float64")
        model = keras.Sequential([source, *make(keras.layers, policy), keras.layers.Dense(2, name="head", **policy)])
        randomize(model, 4)
        path = tmp_path_factory.mktemp("model") / "model.keras"
        model.save(path)
        network = keras_file.read(path)
        return network, network.inputs[0].name

    return load


@pytest.mark.parametrize("stack", ["gru", "both"])
def test_scores_of_ids_are_those_of_their_embeddings(load, stack):
    """For ids, integrated gradients go from an embedding of zeros to that of the ids, and add up."""
    network, name = load(lambda k, p: [k.Embedding(9, 4, name="words", **p), *STACKS[stack](k, p)], ids=9)
    question = Question(network, {name: RNG.integers(0, 9, (3, 7))}, {}, Target(element=1))
    found = attribute(question, Method.INTEGRATED_GRADIENTS)
    assert found.scores["words"].shape == (3, 7, 4)
    assert found.residual.max() < 1e-6
    product = attribute(question, Method.GRADIENT_INPUT)
    tape = Tape(network, question.inputs)
    seed = np.zeros((3, 2))
    seed[:, 1] = 1
    embedded = tape.backward({"head": seed}).embedded["words"]
    assert product.scores["words"] == pytest.approx(embedded * tape.call("words").outputs[0], abs=1e-12)


@pytest.mark.parametrize("stack", sorted(STACKS))
def test_completeness(load, stack):
    """Integrated gradients of every kind of recurrent layer add up to the change from a given baseline."""
    network, name = load(STACKS[stack])
    question = Question(network, {name: RNG.normal(size=(2, 9, 2))}, {}, Target())
    found = attribute(question, Method.INTEGRATED_GRADIENTS, {name: np.array([0.3, -0.2])})
    assert found.residual.max() < 1e-6
    assert found.baseline_value[0] == pytest.approx(found.baseline_value[1])


@pytest.mark.parametrize("stack", sorted(STACKS))
def test_jacobians_are_central_differences(load, stack):
    """∂s_T/∂x_t and ∂s_T/∂s_t of every kind of layer, one element of each, against central differences."""
    network, name = load(STACKS[stack])
    x = RNG.normal(size=(1, 6, 2))
    for call in Tape(network, {name: x}).calls:
        for part in parts(call):
            by_states, by_inputs = final_jacobians(part)
            prefix = part.name
            states = [f"{prefix}/{state}" for state in part.layer.state_names]
            backwards = part.layer.backwards
            for t in (1, 4):
                moved = []
                for sign in (1, -1):
                    there = x.copy()
                    there[0, 5 - t if backwards else t, 1] += sign * 1e-6
                    final = network.forward({name: there}).final_state
                    moved.append(np.concatenate([final[state][0].ravel() for state in states]))
                assert by_inputs[t, :, 1] == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-7)
            assert by_states[-1] == pytest.approx(np.eye(len(by_states[-1])), abs=1e-12)
            if not backwards:
                carried = network.forward({name: x[:, :3]}).final_state
                moved = []
                for sign in (1, -1):
                    start = {key: value.copy() for key, value in carried.items()}
                    start[states[0]].reshape(1, -1)[0, 0] += sign * 1e-6
                    final = network.forward({name: x[:, 3:]}, start).final_state
                    moved.append(np.concatenate([final[state][0].ravel() for state in states]))
                assert by_states[2][:, 0] == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-7)


def test_horizons_are_where_the_singular_value_falls_for_good(load):
    """After so many timesteps back all values are below the share, and the one before is not."""
    network, name = load(STACKS["lstm"])
    (found,) = remember(network, {name: RNG.normal(size=(1, 60, 2))}, {})
    back = found.by_states[::-1]
    for share, horizon in zip(SHARES, found.horizons, strict=True):
        assert horizon > 0
        assert (back[horizon:] < share).all()
        assert back[horizon - 1] >= share


@pytest.mark.parametrize("stack", sorted(STACKS))
def test_one_step_and_its_jacobian(load, stack):
    """The step of the dynamics is the layer's own; its Jacobian is that of central differences."""
    network, name = load(STACKS[stack])
    for call in Tape(network, {name: RNG.normal(size=(2, 4, 2))}).calls:
        for part in parts(call):
            count = sum(state.units for state in part.layer.cell.states())
            x, states = RNG.normal(size=(3, *part.seen.x.shape[2:])), RNG.normal(size=(3, count))
            _, jacobians = dynamics.step(part, x, states)
            for j in range(count):
                shift = np.zeros(count)
                shift[j] = 1e-6
                difference = (
                    dynamics.step(part, x, states + shift)[0] - dynamics.step(part, x, states - shift)[0]
                ) / 2e-6
                assert jacobians[:, :, j] == pytest.approx(difference, abs=1e-7)


def patches_of(part):
    """A state that is scaled, one unit of it moved at one timestep, and a gate that is scaled, if there is one."""
    node, _, prefix = part.name.partition("/")
    first, prefix = part.layer.state_names[0], f"{prefix}/" if prefix else ""
    found = [
        Patch(node, f"{prefix}{first}", PatchKind.SCALE, np.array(0.5)),
        Patch(node, f"{prefix}{first}", PatchKind.ADD, np.array(0.1), timesteps=(3, 4), units=(1, 2)),
    ]
    gates = [name for name, _ in part.layer.cell.gates()]
    return found + [Patch(node, f"{prefix}{gate}", PatchKind.SCALE, np.array(0.9)) for gate in gates[:1]]


@pytest.mark.parametrize("stack", sorted(STACKS))
def test_jacobians_of_a_patched_layer(load, stack):
    """With patches ∂s_T/∂x_t, and the Jacobian of one step, are those of the patched network."""
    network, name = load(STACKS[stack])
    x = RNG.normal(size=(1, 6, 2))
    for plain in [part for call in Tape(network, {name: x}).calls for part in parts(call)]:
        patches = patches_of(plain)
        part = dynamics.layer_part(network, {name: x}, {}, plain.name, patches)
        _, by_inputs = final_jacobians(part)
        states = [f"{part.name}/{state}" for state in part.layer.state_names]
        moved = []
        for sign in (1, -1):
            there = x.copy()
            there[0, 3, 1] += sign * 1e-6
            final = network.patched({name: there}, {}, patches).final_state
            moved.append(np.concatenate([final[state][0].ravel() for state in states]))
        assert by_inputs[2 if part.layer.backwards else 3, :, 1] == pytest.approx(
            (moved[0] - moved[1]) / 2e-6, abs=1e-7
        )

        always, start = part.seen.hook.always(1), RNG.normal(size=(1, by_inputs.shape[1]))
        held = part.seen.x[:, 0]
        after, (jacobian,) = dynamics.step(part, held, start, always)
        assert not np.allclose(after, dynamics.step(part, held, start)[0])
        for j in range(start.shape[1]):
            shift = np.zeros_like(start)
            shift[0, j] = 1e-6
            up, down = (dynamics.step(part, held, start + sign * shift, always)[0] for sign in (1, -1))
            assert jacobian[:, j] == pytest.approx((up - down)[0] / 2e-6, abs=1e-7)


def test_fixed_points_of_a_patched_layer(load):
    """A patch of every timestep is a part of the system; one of some timesteps changes only where the search starts."""
    network, name = load(STACKS["lstm"])
    x = np.repeat(RNG.normal(size=(1, 1, 2)), 5, 1)
    silent = Patch("rnn", "hidden_state", PatchKind.SET, np.array(0.0), units=(0, 1))
    part = dynamics.layer_part(network, {name: x}, {}, "rnn", [silent])
    found = dynamics.find(part, None, [4])
    assert found.points
    for point in found.points:
        hidden, cell = np.split(point.state[None], 2, axis=1)
        state = {"rnn/hidden_state": hidden, "rnn/cell_state": cell}
        again = network.patched({name: x[:, :1]}, state, [silent]).final_state
        assert hidden[0, 0] == pytest.approx(0, abs=1e-12)
        assert again["rnn/cell_state"] == pytest.approx(cell, abs=1e-9)
    once = replace(silent, timesteps=(4, 5))
    part = dynamics.layer_part(network, {name: x}, {}, "rnn", [once])
    assert part.seen.hook.always(1) == []
    plain, touched = (
        dynamics.find(dynamics.layer_part(network, {name: x}, {}, "rnn", p), None, [4]) for p in ([], [once])
    )
    assert {np.round(point.state, 6).tobytes() for point in touched.points} == {
        np.round(point.state, 6).tobytes() for point in plain.points
    }
    assert touched.along[4] != plain.along[4]


def test_fixed_points_of_a_switch(load):
    """Two units that excite themselves have stable points on either side, and an unstable one between."""
    network, name = load(lambda k, p: [k.SimpleRNN(1, name="rnn", **p)])
    network = network.with_weights(
        {"rnn/kernel": np.zeros((2, 1)), "rnn/recurrent_kernel": np.full((1, 1), 2.0), "rnn/bias": np.zeros(1)}
    )
    state = {"rnn/hidden_state": np.linspace(-1, 1, 9)[:, None]}
    part = dynamics.layer_part(network, {name: np.zeros((9, 2, 2))}, state, "")
    found = dynamics.find(part, np.zeros(2), [])
    points = sorted((float(point.state[0]), point.stable) for point in found.points)
    assert [stable for _, stable in points] == [True, False, True]
    assert points[0][0] == pytest.approx(-0.95750402)
    assert points[1][0] == pytest.approx(0, abs=1e-9)
    assert found.lost == 0


def test_modes_of_a_rotation():
    """A rotation by a quarter that shrinks by a half: period 4, time constant 1/ln 2."""
    first, second = dynamics.modes(np.array([[0.0, -0.5], [0.5, 0.0]]))
    assert first.modulus == second.modulus == pytest.approx(0.5)
    assert first.period == pytest.approx(4)
    assert first.time_constant == pytest.approx(1 / np.log(2))


def test_masked_timesteps_are_left_out_of_a_summary(load):
    """Count and mean are those of the timesteps that are not masked."""
    network, name = load(lambda k, p: [k.Masking(**p), k.GRU(3, name="rnn", **p)])
    x = RNG.normal(size=(4, 5, 2))
    x[1, 2:] = 0
    x[3, :1] = 0
    summarizer = Summarizer(network)
    for i in range(0, 4, 2):
        summarizer.add({name: x[i : i + 2]})
    gates = next(t.tensors for t in network.trace({name: x}).layers if t.layer == "rnn")
    valid = (x != 0).any(axis=2)
    for summary in summarizer.summaries():
        values = gates[summary.tensor][valid]
        assert summary.count == valid.sum() == 16
        assert summary.mean == pytest.approx(values.mean(axis=0))
        assert summary.deviation == pytest.approx(values.std(axis=0))
        assert summary.histogram.sum(axis=1).tolist() == [16] * 3


@pytest.mark.parametrize(
    ("stack", "layer"),
    [
        ("simple", "rnn"), ("gru", "rnn"), ("gru_before", "rnn"), ("lstm", "rnn"), ("backwards", "rnn"),
        ("convolving", "rnn"),
        ("stacked", "rnn/cell_0"), ("stacked", "rnn/cell_1"), ("both", "rnn/forward"), ("both", "rnn/backward"),
    ],
)  # fmt: skip
def test_sums_add_up(load, stack, layer):
    """Every column of a pre-activation, at the first and at a later timestep, is the sum of its terms."""
    network, name = load(STACKS[stack])
    inputs = {name: RNG.normal(size=(2, 5, 2))}
    units = 2 if layer.endswith("cell_1") else 4 if stack == "convolving" else 3
    four = stack in {"lstm", "backwards", "convolving"} or layer.endswith("cell_0")
    columns = units * (1 if stack == "simple" else 4 if four else 3)
    wanted = [(layer, 1, t, column) for t in (0, 3) for column in range(columns)]
    for found in written_out(network, inputs, {}, (), wanted):
        assert sum(term.product for term in found.terms) == pytest.approx(found.total, abs=1e-12)
