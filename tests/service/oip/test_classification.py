"""service.oip.classification: the classes of an output, asked by the standard client."""

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.service.oip.standard import ONE, Stream, tensor
from tests.service.support import R3_INPUTS

pytestmark = pytest.mark.usefixtures("edge")
IDS, X = np.arange(6, dtype=np.int32).reshape(2, 3), R3_INPUTS[:2]
TWO = [tensor("ids", IDS), tensor("x", X)]
LABELS = ("no", "yes")


def classes(name, count):
    """An output of which classes are requested."""
    return triton.InferRequestedOutput(name, class_count=count)


def test_classes_take_the_place_of_an_output(client):
    """Elements are `SCORE:INDEX:LABEL`, the largest score first, for each sequence or timestep; other outputs stay."""
    whole = client.infer("two", TWO)
    found = client.infer("two", TWO, outputs=[classes("last", 2), classes("each", 1)])
    for name, count in (("last", 2), ("each", 1)):
        scores, shown = whole.as_numpy(name), found.as_numpy(name)
        assert found.get_output(name).datatype == "BYTES"
        assert shown.shape == (*scores.shape[:-1], count)
        for place in np.ndindex(shown.shape):
            score, index, label = shown[place].decode().split(":")
            best = int(np.argsort(-scores[place[:-1]], kind="stable")[place[-1]])
            assert (int(index), label, np.float32(score)) == (best, LABELS[best], scores[place[:-1]][best])
    mixed = client.infer("two", TWO, outputs=[triton.InferRequestedOutput("each"), classes("last", 1)])
    assert mixed.as_numpy("each").tobytes() == whole.as_numpy("each").tobytes()


def test_as_many_classes_as_there_are(client):
    """As in Triton, a number beyond the classes of an output means all of them; without labels there are two parts."""
    assert client.infer("two", TWO, outputs=[classes("last", 1000)]).as_numpy("last").shape == (2, 2)
    for _ in range(3):  # however often either form was asked before
        (only,) = client.infer("reference", [tensor("x", ONE)], outputs=[classes("output", 5)]).as_numpy("output")[0]
        plain = client.infer("reference", [tensor("x", ONE)], outputs=[triton.InferRequestedOutput("output")])
        score, index = only.decode().split(":")
        assert (np.float32(score), index) == (plain.as_numpy("output")[0, 0], "0")


def test_classes_in_a_stream(server):
    """A stream answers with classes, too."""
    with Stream(server[1].address) as stream:
        stream.send(ONE, outputs=[classes("output", 1)])
        result, error = stream.receive()
        assert error is None
        assert result.as_numpy("output").shape == (1, 1)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (-1, r"outputs\[0\].parameters\[classification\]: expected a number of classes from 1, got -1"),
        ("3", "got string_param"),
    ],
)
def test_numbers_of_classes_that_there_are_not(client, count, said):
    """What is no number from 1 is refused by its place."""
    output = classes("last", 1)
    parameter = output._get_tensor().parameters["classification"]
    setattr(parameter, "string_param" if isinstance(count, str) else "int64_param", count)
    with pytest.raises(InferenceServerException, match=said) as refused:
        client.infer("two", TWO, outputs=[output])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_labels_are_shown(client):
    """The configuration of a version has its labels, one on each line, and the server names the extension."""
    assert client.get_model_config("two").config.parameters["labels"].string_value == "no\nyes"
    assert "labels" not in client.get_model_config("reference").config.parameters
    assert "classification" in client.get_server_metadata().extensions
