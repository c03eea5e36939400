"""service.web.plain: arrays and messages as JSON, and what the page sends."""

import base64

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.pb import unroll_pb2 as pb
from service.web import plain


def test_arrays():
    """Every number arrives as it was, NaN and infinities too."""
    values = np.array([[1.5, np.nan], [-np.inf, 3e-38]], np.float32)
    sent = plain.array(values)
    assert (sent["shape"], sent["type"]) == ((2, 2), "f4")
    assert base64.b64decode(sent["data"]) == values.tobytes()
    back = plain.read_arrays({"x": {"a": {**sent, "shape": list(sent["shape"])}}}, "x")["a"]
    np.testing.assert_array_equal(back, values)


def test_whole_numbers_stay_whole():
    """Ids of an Embedding are integers, and numbers with a fraction are not."""
    read = plain.read_arrays({"x": {"ids": [[1, 2]], "numbers": [[1, 2.5]]}}, "x")
    assert (read["ids"].dtype.kind, read["numbers"].dtype.kind) == ("i", "f")


def test_texts():
    """Texts arrive as they are, both ways; among numbers, or as the value of a change, they are refused."""
    given = [["a\x00", "日本"], ["", "1"]]
    read = plain.read_arrays({"inputs": {"x": given}}, "inputs")["x"]
    assert read.tolist() == given
    assert plain.array(read) == {"shape": (2, 2), "type": "text", "data": ["a\x00", "日本", "", "1"]}
    for document in ({"inputs": {"x": ["a", 1]}}, {"what_if": [{"weight": "a", "value": "a"}]}):
        with pytest.raises(InvalidArgumentError, match="expected numbers"):
            plain.read_subject(document)


def test_a_subject():
    """A request names a network, one sequence, changes of weights and patches."""
    about = plain.read_subject(
        {
            "model": "m",
            "inputs": {"x": [[[1, 2]]]},
            "what_if": [{"weight": "a/kernel", "operation": "add", "value": 2, "ranges": [[0, 1], [1, 2]]}],
            "patches": [{"layer": "a", "tensor": "hidden_state", "operation": "keep", "timesteps": [1, 3]}],
        }
    )
    assert about.inputs["x"].shape == (1, 1, 2)
    assert (about.what_if[0].operation, about.what_if[0].ranges) == ("add", [(0, 1), (1, 2)])
    assert (about.patches[0].timesteps, about.patches[0].units) == ((1, 3), (0, 0))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"model": 1}, "model"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {"x": [[1], [1, 2]]}}, "inputs.x"),
        ({"inputs": {"x": ["a", 1]}}, "inputs.x"),
        ({"inputs": {"x": {"type": "f4", "data": "?", "shape": [1]}}}, "inputs.x"),
        ({"what_if": [{"weight": "a", "value": None}]}, "what_if[0].value"),
        ({"what_if": [{"weight": "a", "value": 1, "ranges": [[1]]}]}, "ranges"),
        ({"what_if": [{}] * 5000}, "what_if"),
        ({"patches": ["x"]}, "patches[0]"),
    ],
)
def test_what_does_not_fit(document, field):
    """An error names the field."""
    with pytest.raises(InvalidArgumentError) as caught:
        plain.read_subject(document)
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_object(body):
    """A body that is no JSON object is refused in one sentence."""
    with pytest.raises(InvalidArgumentError, match="the body"):
        plain.read_object(body)


def test_messages():
    """Messages have the names of the proto, and numbers that JSON lacks as texts that `Number` reads."""
    assert plain.message(pb.Mode(real=1, period=float("inf")))["period"] == "Infinity"
    assert plain.message(pb.ModelVersion(base_version="3"))["base_version"] == "3"
