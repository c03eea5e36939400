"""Every layer and operation that is read, served: what can be loaded can be asked everything."""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

from service.client import to_array
from service.errors import InvalidArgumentError, LimitExceededError, NotReadyError, ServiceError
from service.model import keras_file
from service.model.engines import choice as engines
from service.model.proof import Proof, allowed, difference
from service.model.tensors import STRING
from service.pb import unroll_pb2 as pb
from service.pb.unroll_pb2_grpc import PredictionServiceStub
from service.serving.loaded import MODEL_FILE, PROOF_FILE
from service.snapshot import VersionEntry
from tests.data.hostile import build
from tests.fuzz import targets
from tests.service.support import entry, serving

NUMPY = ("numpy", "numpy")


def calls(network):
    """Inputs that a network takes, of two sequences and of one; none where what chance makes is nothing it takes."""
    inputs = engines.chance(network, 2)
    try:
        network.forward(inputs)
    except ServiceError:
        return []
    return [inputs, {name: array[1:] for name, array in inputs.items()}]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model with its proof for each layer and operation, one of nearly all, and one with outputs of several types."""
    half = build.layer("GRU", "h", units=2, dtype="float16")
    greater = build.layer("Greater", "g", module="keras.src.ops.numpy")
    parts = targets.called(half, targets.tensor("x")), targets.called(greater, targets.tensor("x"), 0.5)
    typed = build.functional(*parts, outputs=[["g", 0, 0], ["h", 0, 0]])
    models = []
    for number, config in enumerate([targets.rich(), typed, *targets.one_of_each()]):
        folder = tmp_path_factory.mktemp(f"model{number}")
        build.write(folder / MODEL_FILE, config, targets.fitting_weights(config))
        try:
            network = keras_file.read(folder / MODEL_FILE)
        except LimitExceededError:  # sizes of chance
            continue
        for inputs in calls(network)[:1]:
            result = network.forward(inputs)
            Proof(inputs, result.outputs, result.final_state, "unroll").save(folder / PROOF_FILE)
        models.append(entry(f"m{number}", "a", v1=VersionEntry("1", f"{number:064}", str(folder), engines=NUMPY)))
    with serving(*models) as (host, client):
        yield [host.resolve(model.name, "") for model in models], client


def check(found, wanted, name):
    """Arrays by name, of the same types and values."""
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert found[key].dtype == wanted[key].dtype
        assert np.array_equal(found[key], wanted[key], equal_nan=True), (name, key)


def test_everything_can_be_asked(served):
    """Predictions, traces, weights and descriptions of any network are answers, of the types that it declares."""
    versions, client = served
    asked = 0
    with grpc.insecure_channel(client.address) as channel:
        stub = PredictionServiceStub(channel)
        for version in versions:
            network, name = version.network, version.model
            assert client.model(name).versions[0].version == "1"
            client.get_weights(model=name, values=True)
            for inputs in calls(network):
                asked += 1
                expected = network.forward(inputs)
                check(client.predict(inputs, model=name).outputs, expected.outputs, name)
                answer = client.predict(inputs, model=name, return_state=True)
                check(answer.outputs, expected.outputs, name)
                check(answer.final_state, expected.final_state, name)
                tensors = [
                    pb.Tensor(
                        name=key, shape=x.shape, **{"strings" if x.dtype == STRING else "values": x.ravel().tolist()}
                    )
                    for key, x in inputs.items()
                ]
                request = pb.PredictRequest(model=name, inputs=tensors, encoding=pb.TENSOR_ENCODING_VALUES)
                spelled = stub.Predict(request).outputs
                check({tensor.name: to_array(tensor) for tensor in spelled}, expected.outputs, name)
                traced = client.trace(inputs, model=name)
                for layer in network.trace(inputs).layers:
                    check(traced.layers[layer.layer].tensors, layer.tensors, name)
    assert asked > 1.8 * len(versions)


def test_what_a_call_computes_is_known_before(served):
    """The shape of every layer's output follows from those of the inputs, of any number of timesteps that is taken."""
    versions, _ = served
    asked = 0
    for version in versions:
        network = version.network
        for inputs in calls(network)[:1]:
            for timesteps in (1, 2, 3, 20):
                longer = {
                    spec.name: np.resize(array, (2, timesteps, *array.shape[2:])) if spec.shape[1] is None else array
                    for spec, array in zip(network.inputs, inputs.values(), strict=True)
                }
                try:
                    traced = network.trace(longer)
                except InvalidArgumentError:  # too few for a window
                    continue
                asked += 1
                targets.check_demand(network, longer, traced)
    assert asked > 3 * len(versions)


def test_everything_that_can_be_fed_in_pieces_is(served):
    """A stream of single timesteps ends with the states, and gives the bits, of one call; what cannot says why."""
    versions, client = served
    fed = 0
    for version in versions:
        network = version.network
        for inputs in calls(network)[:1]:
            timesteps = max(array.shape[1] for array in inputs.values() if array.ndim > 1)
            chunks = [{name: array[:, t : t + 1] for name, array in inputs.items()} for t in range(timesteps)]
            stream = client.stream(chunks, model=version.model, return_state=True)
            if not network.streamable:
                with pytest.raises(NotReadyError, match="cannot be fed piecewise"):
                    next(stream)
                continue
            fed += 1
            *_, last = answers = list(stream)
            expected = network.forward(inputs)
            check(last.final_state, expected.final_state, version.model)
            for spec in network.outputs:
                pieces = [answer.outputs[spec.name] for answer in answers]
                sequence = spec.shape[1:2] == (None,)
                found = np.concatenate(pieces, axis=1) if sequence else pieces[-1]
                assert np.array_equal(found, expected.outputs[spec.name], equal_nan=True), version.model
    assert fed > 15


def test_engines_are_chosen_for_everything(served):
    """Of each network something is chosen that computes it, whatever the engines cover."""
    versions, _ = served
    for version in versions:
        network = version.network
        choice = engines.select(network)
        for inputs in calls(network):
            expected = network.forward(inputs).outputs
            actual = choice.forward(inputs).outputs
            assert all(difference(actual[key], expected[key], allowed(network)) <= 1 for key in expected)


def test_standard_clients_can_ask_everything(served):
    """So they are in the Open Inference Protocol."""
    versions, client = served
    with triton.InferenceServerClient(client.address) as standard:
        for version in versions:
            network, name = version.network, version.model
            described = {tensor.name for tensor in standard.get_model_metadata(name).outputs}
            assert described == {tensor.name for tensor in standard.get_model_config(name).config.output}
            assert described >= {spec.name for spec in network.outputs}
            for inputs in calls(network):
                given = []
                for key, array in inputs.items():
                    given.append(triton.InferInput(key, array.shape, np_to_triton_dtype(array.dtype)))
                    given[-1].set_data_from_numpy(array)
                answer = standard.infer(name, given)
                expected = network.forward(inputs).outputs
                check({key: answer.as_numpy(key) for key in expected}, expected, name)


def test_every_weight_can_be_changed(served, tmp_path):
    """A file with all its weights changed gives the network that was wanted, and its own predictions."""
    versions, _ = served
    changed = 0
    for version in versions:
        weights = {name: -value for name, value in version.network.weights.items()}
        changed += len(weights)
        target = tmp_path / f"{version.model}.keras"
        keras_file.rewrite(f"{version.entry.directory}/{MODEL_FILE}", target, weights)
        found, wanted = keras_file.read(target), version.network.with_weights(weights)
        assert found.digest == wanted.digest
        for inputs in calls(version.network):
            check(found.forward(inputs).outputs, wanted.forward(inputs).outputs, version.model)
    assert changed > 30
