"""Truth values as an input: the mask of a recurrent layer, over both protocols, beside Keras."""

import numpy as np
import pytest
import tritonclient.grpc as triton

from service.config import DEFAULT_LIMITS
from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model.engines.choice import chance
from service.oip import tensors
from service.oip.messages import pb as standard_pb
from service.pb import unroll_pb2 as pb
from service.serving.loaded import MODEL_FILE
from service.snapshot import VersionEntry
from tests.service.oip.standard import tensor
from tests.service.support import entry, serving
from tests.service.web.rest.test_routes import ask
from tests.service.web.support import web

X = np.random.default_rng(5).normal(size=(2, 4, 2)).astype(np.float32)
MASK = np.array([[True, False, True, True], [True, True, False, False]])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A network that takes a mask, served: our own network of it, a client, and what Keras computes."""
    from keras import Input, Model, layers, utils

    utils.set_random_seed(2)
    x, mask = Input((None, 2), name="x"), Input((None,), dtype="bool", name="mask")
    model = Model([x, mask], layers.LSTM(3, name="lstm")(x, mask=mask))
    folder = tmp_path_factory.mktemp("masked")
    model.save(folder / MODEL_FILE)
    version = VersionEntry("1", "masked", str(folder), engines=("numpy", "numpy"))
    with serving(entry("masked", "a", v1=version)) as (_, client):
        yield keras_file.read(folder / MODEL_FILE), client, np.asarray(model([X, MASK]))


def test_our_protocol(served):
    """Truth values go in as such, or as 0 and 1; the description says what is wanted, and other numbers are refused."""
    _, client, expected = served
    for mask in (MASK, MASK.tolist(), MASK.astype(int)):
        np.testing.assert_allclose(client.predict({"x": X, "mask": mask}).output, expected, atol=1e-6)
    wanted = {spec.name: spec.data_type for spec in client.model("masked").versions[0].inputs}
    assert wanted["mask"] == pb.DATA_TYPE_BOOL
    with pytest.raises(InvalidArgumentError, match=r"inputs\[1\]: expected values of bool"):
        client.predict({"x": X, "mask": MASK * 2})


def test_in_pieces(served):
    """A stream gives, after each piece with its part of the mask, what one call gives."""
    _, client, expected = served
    pieces = [{"x": X[:, t : t + 1], "mask": MASK[:, t : t + 1]} for t in range(4)]
    *_, last = client.stream(pieces)
    np.testing.assert_allclose(last.output, expected, atol=1e-6)


def test_the_standard_protocol(served):
    """BOOL goes in raw, typed, and in JSON; bytes other than 0 and 1 are refused."""
    network, client, expected = served
    with triton.InferenceServerClient(client.address) as standard:
        found = standard.infer("masked", [tensor("x", X), tensor("mask", MASK)])
        np.testing.assert_allclose(found.as_numpy("lstm"), expected, atol=1e-6)
    typed = standard_pb.ModelInferRequest()
    typed.inputs.add(name="x", datatype="FP32", shape=X.shape).contents.fp32_contents.extend(X.ravel().tolist())
    typed.inputs.add(name="mask", datatype="BOOL", shape=MASK.shape).contents.bool_contents.extend(
        MASK.ravel().tolist()
    )
    inputs, _ = tensors.decode(typed, network, DEFAULT_LIMITS)
    assert np.array_equal(inputs["mask"], MASK)
    document = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": X.shape, "data": X.tolist()},
            {"name": "mask", "datatype": "BOOL", "shape": MASK.shape, "data": MASK.tolist()},
        ]
    }
    with web(client) as address:
        status, answer = ask(address, "/v2/models/masked/infer", document)
    assert status == 200
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], expected.shape), expected, atol=1e-6)
    raw = standard_pb.ModelInferRequest(raw_input_contents=[X.tobytes(), b"\1\2" * 4])
    raw.inputs.add(name="x", datatype="FP32", shape=X.shape)
    raw.inputs.add(name="mask", datatype="BOOL", shape=MASK.shape)
    with pytest.raises(InvalidArgumentError, match="expected bytes of 0 or 1"):
        tensors.decode(raw, network, DEFAULT_LIMITS)


def test_inputs_by_chance(served):
    """Random inputs, of which proofs are made, have both values."""
    network, _, _ = served
    assert set(chance(network, 3)["mask"].ravel().tolist()) == {True, False}
