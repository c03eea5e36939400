"""Texts as inputs, over both protocols: strings of ours and BYTES of the standard one, and their bounds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from service.config import DEFAULT_LIMITS
from service.errors import InvalidArgumentError, LimitExceededError
from service.model import keras_file
from service.oip import tensors
from service.oip.messages import pb as standard_pb
from service.pb import unroll_pb2 as pb
from service.serving.loaded import MODEL_FILE
from tests.service.support import TEXTS, entry, serving


@pytest.fixture(scope="module")
def served(texts):
    """The network of texts, and a client of a server of it."""
    with serving(entry("texts", "a", v1=texts)) as (_, client):
        yield keras_file.read(Path(texts.directory, MODEL_FILE)), client


def test_a_client_sends_texts_as_they_are(served):
    """Lists and arrays of str are inputs of Predict and Trace; the description says what is wanted."""
    network, client = served
    expected = network.forward({"x": TEXTS}).outputs["y"]
    for given in (TEXTS.tolist(), TEXTS, TEXTS.astype(str)):
        assert np.array_equal(client.predict(given).outputs["y"], expected)
    traced = client.trace(TEXTS)
    assert traced.layers["words"].tensors["output"].tolist()[0] == [2, 3, 0, 0]
    (wanted,) = client.model("texts").versions[0].inputs
    assert wanted.data_type == pb.DATA_TYPE_STRING
    with pytest.raises(InvalidArgumentError, match="text is given in strings alone"):
        client.predict([[1.0]])


def test_a_text_may_be_long_and_there_may_be_many(served):
    """A text is longer than a name may be, and a batch has more texts than a list of names."""
    network, client = served
    given = np.array([["the cat sat " * 500]] * 5_000, object)
    found = client.predict(given[:20]).outputs["y"]
    assert np.array_equal(found, network.forward({"x": given[:20]}).outputs["y"])
    assert client.predict(given[:, :1].astype("U7").astype(object)).outputs["y"].shape == (5_000, 2)


def test_standard_clients_send_bytes(served):
    """BYTES, raw, is text in UTF-8."""
    network, client = served
    with triton.InferenceServerClient(client.address) as standard:
        assert standard.get_model_metadata("texts").inputs[0].datatype == "BYTES"
        given = triton.InferInput("x", TEXTS.shape, "BYTES")
        given.set_data_from_numpy(np.array([[text.encode()] for (text,) in TEXTS], object))
        found = standard.infer("texts", [given]).as_numpy("y")
    assert np.array_equal(found, network.forward({"x": TEXTS}).outputs["y"])


@pytest.mark.parametrize(
    ("raw", "error"),
    [(b"\5\0\0\0abc", "beyond the end"), (b"\2\0\0\0\xff\xfe", "not UTF-8"), (b"", "needs 1 strings, got 0")],
)
def test_bytes_that_are_no_text_are_refused(served, raw, error):
    """Damaged lengths, other encodings and a wrong number of elements are errors that name the input."""
    network, _ = served
    request = standard_pb.ModelInferRequest(raw_input_contents=[raw])
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
    with pytest.raises(InvalidArgumentError, match=rf"inputs\[0\] \(x\).*{error}"):
        tensors.decode(request, network, DEFAULT_LIMITS)


def test_text_is_bounded(served):
    """The characters of a tensor have a limit, which the error names."""
    network, _ = served
    request = standard_pb.ModelInferRequest(raw_input_contents=[b"\6\0\0\0abcdef"])
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
    with pytest.raises(LimitExceededError, match="6 characters of text, the limit is 5"):
        tensors.decode(request, network, dataclasses.replace(DEFAULT_LIMITS, characters=5))
