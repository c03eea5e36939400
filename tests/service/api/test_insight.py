"""InsightService and patches over a real socket."""

import itertools
import warnings

import grpc
import numpy as np
import pytest

from service.client import Patch, WeightChange
from service.client.insight import Target
from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError
from service.model import keras_file
from service.model.gradients import Tape
from service.pb import unroll_pb2 as pb
from service.serving.loaded import MODEL_FILE
from tests.service.support import R2_INPUTS, R3_INPUTS, entry, serving

ONE = R3_INPUTS[:1]


@pytest.fixture(scope="module")
def client(versions):
    """A server of the reference network and of the linear one, which gives an output at every timestep."""
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, entry("linear", "champion", v1=versions["r2"])) as (_, client):
        yield client


@pytest.fixture(scope="module")
def network(versions):
    """The reference network itself."""
    from pathlib import Path

    return keras_file.read(Path(versions["r3-1"].directory) / MODEL_FILE)


def test_gradients_are_those_of_the_network(client, network):
    """Everything that can be asked for arrives, named and shaped as documented, and equal to the numerics' own."""
    by = ["inputs", "initial_state", "states", "pre_activations", "weights"]
    answer = client.gradients(R3_INPUTS, by=by, model="reference")
    expected = Tape(network, {"x": R3_INPUTS}).backward({"output": np.ones((3, 1), np.float32)})
    assert (answer.model, answer.version, answer.what_if, answer.patched) == ("reference", "1", False, False)
    assert np.array_equal(answer.inputs["x"], expected.inputs["x"])
    assert answer.weights.keys() == network.weights.keys()
    for name, weight in answer.weights.items():
        assert np.array_equal(weight, expected.weights[name])
    assert np.array_equal(
        answer.initial_state["simpleRNN/hidden_state"], expected.initial_state["simpleRNN/hidden_state"]
    )
    assert set(answer.layers["simpleRNN"].tensors) == {"hidden_state", "pre_activation"}
    assert answer.layers["output"].tensors["pre_activation"].shape == (3, 1)
    assert np.allclose(answer.value, client.predict(R3_INPUTS, model="reference").output[:, 0])


def test_only_what_is_asked_for_is_sent(client):
    """Without `by` the inputs alone are differentiated."""
    answer = client.gradients(R3_INPUTS, model="reference")
    assert answer.inputs.keys() == {"x"}
    assert not any((answer.weights, answer.layers, answer.initial_state))


def test_targets(client):
    """An element at a timestep, a direction and a loss are three ways to one number for each sequence."""
    x = R2_INPUTS
    plain = client.predict(x, model="linear").output
    at = client.gradients(x, Target(timestep=1, element=2), model="linear")
    assert at.value == pytest.approx([plain[0, 1, 2]], rel=1e-5)
    assert (at.inputs["x"][0, 2] == 0).all()  # what comes later has no influence
    direction = np.zeros((3, 3))
    direction[1, 2] = 1
    same = client.gradients(x, Target(direction=direction), model="linear")
    assert np.array_equal(same.inputs["x"], at.inputs["x"])
    loss = client.gradients(x, Target(loss="mean_squared_error", expected=plain + 1), model="linear")
    assert loss.value == pytest.approx([1.0])


def test_losses_are_keras_own(client, versions):
    """Loss and gradient by the inputs are Keras's, for each of the losses."""
    import keras
    import tensorflow as tf

    model = keras.saving.load_model(f"{versions['r3-1'].directory}/{MODEL_FILE}")
    x = tf.constant(ONE)
    y = np.asarray(model(x))
    for name, expected in (("mean_squared_error", y + 0.3), ("binary_crossentropy", np.full_like(y, 0.25))):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = keras.losses.get(name)(expected, model(x))
        answer = client.gradients(ONE, Target(loss=name, expected=expected), model="reference")
        assert answer.value == pytest.approx(np.asarray(value), rel=1e-5)
        assert np.allclose(answer.inputs["x"], np.asarray(tape.gradient(value, x)), atol=1e-5)


def test_what_if_and_patches_compose(client):
    """Gradients of a network with changed weights, patched: the answer says that both took part."""
    answer = client.gradients(
        ONE,
        model="reference",
        what_if=[WeightChange("output/kernel", 2.0, "scale")],
        patches=[Patch("simpleRNN", "hidden_state", 0.0, timesteps=(1, 2))],
    )
    assert (answer.what_if, answer.patched) == (True, True)
    assert (answer.inputs["x"][0, :2] == 0).all()  # nothing gets past a state that is set
    assert answer.inputs["x"][0, 2].any()


@pytest.mark.parametrize("method", ["gradient_input", "integrated_gradients"])
def test_attribution_adds_up(client, method):
    """Scores have the shape of the input; integrated gradients add up to the change from the baseline."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = client.attribute(R3_INPUTS / 10, method=method, model="reference")
    assert answer.scores["x"].shape == R3_INPUTS.shape
    total = answer.scores["x"].sum(axis=(1, 2))
    if method == "integrated_gradients":
        assert total == pytest.approx(answer.value - answer.baseline_value, rel=1e-5)
        assert (answer.residual < 1e-5).all()


def test_attribution_of_a_linear_network_is_exact(client):
    """All methods agree on a linear network, where each timestep's share is a product."""
    x = R2_INPUTS
    target = Target(timestep=2, element=0)
    product = client.attribute(x, target, method="gradient_input", model="linear")
    integrated = client.attribute(x, target, model="linear", points=1)
    occluded = client.attribute(x, target, method="occlude_timesteps", model="linear")
    assert product.scores["x"] == pytest.approx(integrated.scores["x"])
    assert occluded.scores["x"] == pytest.approx(product.scores["x"].sum(axis=2))


def test_too_few_points_are_warned_of(client):
    """A residual above 1 % is a warning of the client."""
    with pytest.warns(UserWarning, match="take more points"):
        client.attribute(R3_INPUTS[2:], points=1, model="reference")


def test_occlusion_and_ablation_are_predictions(client):
    """Each score is the difference that a prediction shows: with a feature at the baseline, with a unit silent."""
    plain = client.predict(R3_INPUTS, model="reference").output[:, 0]
    features = client.attribute(
        R3_INPUTS, method="occlude_features", baseline={"x": np.full(2, 0.5)}, model="reference"
    ).scores["x"]
    covered = R3_INPUTS.copy()
    covered[:, :, 1] = 0.5
    assert features[:, 1] == pytest.approx(plain - client.predict(covered, model="reference").output[:, 0], abs=1e-6)
    units = client.attribute(R3_INPUTS, method="ablate_units", model="reference").scores["simpleRNN/hidden_state"]
    silent = client.predict(
        R3_INPUTS, model="reference", patches=[Patch("simpleRNN", "hidden_state", 0.0, units=(2, 3))]
    )
    assert units.shape == (3, 4)
    assert units[:, 2] == pytest.approx(plain - silent.output[:, 0], abs=1e-6)


def test_integrated_gradients_near_shapley_values(client):
    """Where all orders can be enumerated, scores by timestep add up as Shapley values do, and are near them."""
    x = ONE / 10

    def value(present):
        covered = x * np.array(present, np.float32)[None, :, None]
        return float(client.predict(covered, model="reference").output[0, 0])

    shapley = np.zeros(3)
    for order in itertools.permutations(range(3)):
        present = [0, 0, 0]
        for t in order:
            before = value(present)
            present[t] = 1
            shapley[t] += (value(present) - before) / 6
    answer = client.attribute(x, model="reference")
    by_time = answer.scores["x"][0].sum(axis=1)
    assert shapley.sum() == pytest.approx(by_time.sum(), abs=1e-6)
    assert by_time == pytest.approx(shapley, abs=0.05 * np.abs(shapley).max() + 1e-3)


@pytest.mark.parametrize("method", ["gradient_input", "integrated_gradients", "occlude_timesteps", "ablate_units"])
def test_each_sequence_has_its_own_direction(client, method):
    """A batch with a direction for each sequence gives what the sequences give one by one."""
    directions = np.array([[1.0], [-2.0], [0.5]])
    x = R3_INPUTS / 5
    whole = client.attribute(x, Target(direction=directions), method=method, model="reference")
    for i in range(3):
        one = client.attribute(x[i : i + 1], Target(direction=directions[i]), method=method, model="reference")
        for name, scores in one.scores.items():
            assert whole.scores[name][i] == pytest.approx(scores[0], abs=1e-5)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlude_features", "ablate_units"])
def test_patches_of_one_sequence_stay_with_it(client, method):
    """A patch of the second sequence changes the scores of the second alone."""
    x = R3_INPUTS / 5
    patch = Patch("simpleRNN", "hidden_state", 0.3, "add", sequences=(1, 2), timesteps=(0, 1))
    plain, patched = (
        client.attribute(x, method=method, model="reference", patches=patches) for patches in ([], [patch])
    )
    for name, scores in plain.scores.items():
        assert patched.scores[name][[0, 2]] == pytest.approx(scores[[0, 2]], abs=1e-5)
        assert np.abs(patched.scores[name][1] - scores[1]).max() > 1e-4


def test_memory_of_a_linear_network_is_a_power(client):
    """What the last state owes to an earlier one is a power of the recurrent kernel, known exactly."""
    kernel = client.weights(model="linear", names=["rnn/recurrent_kernel"])["rnn/recurrent_kernel"]
    found = client.remember(R2_INPUTS, model="linear").layers["rnn"]
    expected = [np.linalg.norm(np.linalg.matrix_power(kernel.astype(float), k), 2) for k in (2, 1, 0)]
    assert found.by_states == pytest.approx(expected, rel=1e-5)
    assert found.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(kernel)).max(), rel=1e-5)
    assert found.class_name == "SimpleRNN"


def test_fixed_points_are_fixed(client, network):
    """A fixed point maps to itself; its modes are those of the Jacobian; every start is accounted for."""
    found = client.find_fixed_points(R3_INPUTS / 5, held_input=[0.1, 0.2], timesteps=[0, 2], model="reference")
    assert found.points
    assert sum(point.starts for point in found.points) + found.lost <= 9
    w = network.layer_weights("simpleRNN")
    for point in found.points:
        state = np.array(point.state)
        after = np.tanh(np.array([0.1, 0.2]) @ w["kernel"] + state @ w["recurrent_kernel"] + w["bias"])
        assert np.abs(after - state).max() < 1e-4
        jacobian = (1 - after**2)[:, None] * w["recurrent_kernel"].T
        expected = sorted(np.abs(np.linalg.eigvals(jacobian)), reverse=True)
        assert [mode.modulus for mode in point.modes] == pytest.approx(expected, abs=1e-3)
        assert point.stable == (expected[0] < 1)
    assert [step.timestep for step in found.along] == [0, 2]


def test_memory_and_fixed_points_of_a_changed_network(client):
    """What-ifs, patches and initial states compose with both calls, and the answers say so."""
    what_if = [WeightChange("rnn/recurrent_kernel", 0.5, "scale")]
    kernel = client.weights(model="linear", names=["rnn/recurrent_kernel"])["rnn/recurrent_kernel"] / 2
    patches = [Patch("rnn", "hidden_state", 0.0, timesteps=(1, 2))]
    changed = {"model": "linear", "what_if": what_if, "patches": patches}
    changed["initial_state"] = {"rnn/hidden_state": np.ones((1, 3))}
    found = client.remember(R2_INPUTS, **changed)
    assert found.what_if
    assert found.patched
    assert found.layers["rnn"].by_states == pytest.approx([0, np.linalg.norm(kernel, 2), 1])
    points = client.find_fixed_points(R2_INPUTS, timesteps=[1, 2], **changed)
    assert points.what_if
    assert points.patched
    at_patch, after = (step.modes for step in points.along)
    assert [mode.modulus for mode in at_patch] == [0, 0, 0]
    assert max(mode.modulus for mode in after) == pytest.approx(np.abs(np.linalg.eigvals(kernel)).max(), rel=1e-5)


def test_summary_of_a_changed_network(client):
    """A summary takes changes of weights and patches for the whole stream; a later message cannot bring others."""
    patches = [Patch("simpleRNN", "hidden_state", 0.25, units=(1, 2))]
    what_if = [WeightChange("simpleRNN/kernel", 0.0, "scale")]
    found = client.summarize([R3_INPUTS, R3_INPUTS], model="reference", what_if=what_if, patches=patches)
    traced = client.trace(R3_INPUTS, model="reference", what_if=what_if, patches=patches)
    states = traced.layers["simpleRNN"].tensors["hidden_state"].reshape(-1, 4)
    assert (found.what_if, found.patched, found.sequences) == (True, True, 6)
    assert found.tensors[0].mean == pytest.approx(states.mean(axis=0), abs=1e-6)
    assert found.tensors[0].mean[1] == pytest.approx(0.25)
    late = [pb.SummarizeRequest(model="reference"), pb.SummarizeRequest(patches=[pb.Patch(layer="simpleRNN")])]
    with pytest.raises(InvalidArgumentError, match="patches: only the first message may set it"):
        list(client._answers(3, "Summarize", late))


def test_batches_that_fail(client):
    """Where reading the batches fails, the caller sees that error, not that of a stream that was cut."""

    def batches():
        yield np.zeros((1, 3, 2), np.float32)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        client.summarize(batches(), model="reference")


def test_summary_over_batches_is_that_of_all_at_once(client, network):
    """Means, deviations, ranges and histograms of three batches are NumPy's over all states together."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(n, 3, 2)).astype(np.float32) for n in (4, 1, 7)]
    found = client.summarize(batches, model="reference")
    trace = network.trace({"x": np.concatenate(batches)})
    states = trace.layers[0].tensors["hidden_state"].reshape(-1, 4)
    (summary,) = found.tensors
    assert (found.sequences, found.timesteps, summary.tensor, summary.count) == (12, 36, "hidden_state", 36)
    assert summary.mean == pytest.approx(states.mean(axis=0), abs=1e-6)
    assert summary.standard_deviation == pytest.approx(states.std(axis=0), abs=1e-6)
    assert summary.max == pytest.approx(states.max(axis=0))
    histogram = np.array(summary.histogram).reshape(4, summary.bins)
    expected = [np.histogram(unit, summary.bins, (-1, 1))[0] for unit in states.T]
    assert histogram.tolist() == np.array(expected).tolist()
    assert summary.saturated == pytest.approx((np.abs(states) > 0.9).mean(axis=0))


def test_patches_reach_predictions_traces_and_streams(client):
    """A prediction, a trace and a stream in pieces with the same patch agree, and say that they were patched."""
    patches = [Patch("simpleRNN", "hidden_state", [0.1, 0.2, 0.3, 0.4], timesteps=(1, 2))]
    plain = client.predict(ONE, model="reference")
    answer = client.predict(ONE, model="reference", patches=patches)
    trace = client.trace(ONE, model="reference", patches=patches)
    *_, last = client.stream([ONE[:, :1], ONE[:, 1:]], model="reference", patches=patches)
    assert not plain.patched
    assert all((answer.patched, trace.patched, last.patched))
    assert not np.array_equal(plain.output, answer.output)
    assert np.array_equal(answer.output, trace.outputs["output"])
    assert np.array_equal(answer.output, last.output)
    assert np.allclose(trace.layers["simpleRNN"].tensors["hidden_state"][0, 1], [0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(client.predict(ONE, model="reference").output, plain.output)


def test_sums_are_written_out(client):
    """The products of a pre-activation add up to it, and name where each factor comes from."""
    trace = client.trace(ONE, model="reference", sums=[("simpleRNN", 0, 1, 2), ("output", 0, 0, 0)])
    first, second = trace.sums
    pre = trace.layers["simpleRNN"].tensors["pre_activation"][0, 1, 2]
    assert first.total == pytest.approx(pre)
    assert sum(term.product for term in first.terms) == pytest.approx(pre, abs=1e-5)
    assert [term.source for term in first.terms] == [
        *(f"hidden_state[{i}]" for i in range(4)),
        "input[0]",
        "input[1]",
        "1",
    ]
    assert first.terms[0].weight == "simpleRNN/recurrent_kernel[0, 2]"
    assert sum(term.product for term in second.terms) == pytest.approx(trace.outputs["output"][0, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda c: c.gradients(ONE, by=["gates"]), InvalidArgumentError, "by: no 'gates'"),
        (lambda c: c.gradients(ONE, by=[]), InvalidArgumentError, "say what to differentiate by"),
        (lambda c: c.gradients(ONE, Target(output="no")), InvalidArgumentError, "no output 'no'"),
        (lambda c: c.gradients(ONE, Target(element=1)), InvalidArgumentError, "1 is not within the 1 elements"),
        (lambda c: c.gradients(ONE, Target(direction=[1, 2])), InvalidArgumentError, r"expected shape \[1\]"),
        (lambda c: c.gradients(ONE, Target(loss="mean_squared_error")), InvalidArgumentError, "a loss needs values"),
        (lambda c: c.gradients(ONE, version="9"), NotFoundError, "version 9"),
        (lambda c: c.gradients(ONE, patches=[Patch("no", "output")]), InvalidArgumentError, "no layer named 'no'"),
        (lambda c: c.attribute(ONE, points=257), InvalidArgumentError, "points: expected 0 to 256, got 257"),
        (lambda c: c.attribute(ONE, baseline="training_mean"), InvalidArgumentError, "no input goes into a Normal"),
        (lambda c: c.attribute(ONE, baseline={"x": np.zeros(3)}), InvalidArgumentError, "does not broadcast"),
        (lambda c: c.remember(R3_INPUTS), InvalidArgumentError, "expected one sequence, got 3"),
        (lambda c: c.remember(ONE, layers=["output"]), NotFoundError, "no recurrent layer 'output'"),
        (lambda c: c.find_fixed_points(ONE, layer="no"), InvalidArgumentError, "no recurrent layer 'no'"),
        (lambda c: c.find_fixed_points(ONE, held_input=[1.0]), InvalidArgumentError, "held_input: expected shape"),
        (lambda c: c.find_fixed_points(ONE, timesteps=[3]), InvalidArgumentError, "3 is not within 0:3"),
        (lambda c: c.trace(ONE, sums=[("no", 0, 0, 0)]), NotFoundError, "no layer 'no'"),
        (lambda c: c.trace(ONE, sums=[("simpleRNN", 0, 3, 0)]), InvalidArgumentError, "timestep 3 is not within 0:3"),
    ],
)
def test_bad_requests_are_refused(client, call, error, said):
    """The error says what is wrong, what there is, and has the right class."""

    class One:
        """The client, asking for the reference network."""

        def __getattr__(self, name):
            return lambda *given, **named: getattr(client, name)(*given, model="reference", **named)

    with pytest.raises(error, match=said):
        call(One())


def test_cost_is_bounded(versions):
    """Gradients count as two traces, integrated gradients as many; beyond the bound they are refused."""
    limits = Limits(computed=4_000)
    with serving(entry("reference", "champion", v1=versions["r3-1"]), limits=limits) as (_, client):
        client.gradients(np.repeat(ONE, 10, 0))
        with pytest.raises(LimitExceededError):
            client.gradients(np.repeat(ONE, 40, 0))
        with pytest.raises(LimitExceededError):
            client.attribute(np.repeat(ONE, 10, 0))


def test_a_stream_of_summaries_reports_when_asked(client):
    """A message may ask for the summary so far; naming the model again is refused."""
    import queue

    messages = queue.Queue()
    with grpc.insecure_channel(client.address) as channel:
        from service.pb import unroll_pb2_grpc

        call = unroll_pb2_grpc.InsightServiceStub(channel).Summarize(iter(messages.get, None))
        tensor = pb.Tensor(shape=[1, 3, 2], values=ONE.ravel())
        messages.put(pb.SummarizeRequest(model="reference", inputs=[tensor], report=True))
        assert next(call).sequences == 1
        messages.put(pb.SummarizeRequest(inputs=[tensor], report=True))
        assert next(call).sequences == 2
        messages.put(pb.SummarizeRequest(model="reference"))
        with pytest.raises(grpc.RpcError) as error:
            next(call)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        messages.put(None)
