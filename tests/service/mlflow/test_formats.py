"""MLflow's input formats as arrays, given as such and as `mlflow deployments predict` reads them out of a file."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from service.errors import InvalidArgumentError
from service.mlflow.formats import arrays

X = [[[1.5, 2.0], [2.0, 3.0], [3.0, 4.0]], [[5.0, 6.0], [6.0, 7.0], [7.0, 8.0]]]
IDS = [[1, 2, 3], [4, 5, 6]]
ONE = {
    "inputs": {"inputs": X},
    "inputs by name": {"inputs": {"x": X}},
    "instances": {"instances": X},
    "instances by name": {"instances": [{"x": x} for x in X]},
    "records": {"dataframe_records": [{"x": x} for x in X]},
    "split": {"dataframe_split": {"index": [7, 8], "columns": ["x"], "data": [[x] for x in X]}},
    "tensor": {"x": X},
    "records without a format": [{"x": x} for x in X],
    "nested list": X,
}
SEVERAL = {
    "inputs": {"inputs": {"x": X, "ids": IDS}},
    "instances": {"instances": [{"ids": i, "x": x} for i, x in zip(IDS, X, strict=True)]},
    "records": {"dataframe_records": [{"x": x, "ids": i} for i, x in zip(IDS, X, strict=True)]},
    "split": {"dataframe_split": {"columns": ["ids", "x"], "data": [[i, x] for i, x in zip(IDS, X, strict=True)]}},
    "tensors": {"ids": IDS, "x": X},
}


def as_frame(payload):
    """A payload as `mlflow deployments predict` hands it over."""
    return pd.read_json(io.StringIO(json.dumps(payload)))


@pytest.mark.parametrize("read", [lambda p: p, as_frame], ids=["payload", "file"])
@pytest.mark.parametrize("payload", ONE.values(), ids=ONE)
def test_one_input(payload, read):
    """Each format gives the array of the one input."""
    if isinstance(payload, list) and isinstance(payload[0], dict) and read is not as_frame:
        payload = {"dataframe_records": payload}
    found = arrays(read(payload), ["x"])
    assert list(found) == ["x"]
    assert np.array_equal(found["x"], X)


@pytest.mark.parametrize("read", [lambda p: p, as_frame], ids=["payload", "file"])
@pytest.mark.parametrize("payload", SEVERAL.values(), ids=SEVERAL)
def test_several_inputs(payload, read):
    """Each format gives the arrays of several inputs by name."""
    found = arrays(read(payload), ["ids", "x"])
    assert list(found) == ["ids", "x"]
    assert np.array_equal(found["x"], X)
    assert np.array_equal(found["ids"], IDS)


def test_arrays_and_frames_of_arrays():
    """Programs give arrays, arrays by name, and DataFrames whose cells are arrays."""
    x = np.array(X, np.float32)
    for given in (x, {"x": x}, pd.DataFrame({"x": list(x)})):
        assert np.array_equal(arrays(given, ["x"])["x"], x)
    table = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "b"])  # a network that takes rows
    assert np.array_equal(arrays(table, ["x"])["x"], table.to_numpy())


@pytest.mark.parametrize("read", [lambda p: p, as_frame], ids=["payload", "file"])
def test_texts(read):
    """Texts are an array of texts in each format."""
    expected = [["the cat"], ["sat"]]
    for payload in (
        {"inputs": expected},
        {"instances": [{"x": x} for x in expected]},
        {"dataframe_split": {"columns": ["x"], "data": [[x] for x in expected]}},
    ):
        assert arrays(read(payload), ["x"])["x"].tolist() == expected


def test_an_input_named_like_a_format():
    """An input may be called `inputs`; then that is its name."""
    for given in ({"inputs": X}, as_frame({"inputs": X}), pd.DataFrame({"inputs": X})):
        assert np.array_equal(arrays(given, ["inputs"])["inputs"], X)


@pytest.mark.parametrize(
    ("payload", "names", "said"),
    [
        ({"inputs": X}, ["x", "ids"], "several inputs, name them: x, ids"),
        (X, ["x", "ids"], "several"),
        ({"inputs": {"y": X}}, ["x"], "expected the input x, got y"),
        ({"y": X}, ["x"], "or one of inputs, instances, dataframe_split, dataframe_records, got y"),
        ({"inputs": X, "params": {}}, ["x"], "got inputs, params"),
        ({"inputs": [X[0], X[1][:2]]}, ["x"], "sequences of one length"),
        (as_frame({"inputs": [X[0], X[1][:2]]}), ["x"], "sequences of one length"),
        (pd.DataFrame({0: [[1, 2], [3, 4]], 1: [[1, 2], None]}), ["x"], "sequences of one length"),
        ({"inputs": [["a", 1]]}, ["x"], "expected numbers or texts"),
        ({"inputs": None}, ["x"], "expected numbers"),
        ({"dataframe_records": []}, ["x"], "there is no record"),
        ({"dataframe_records": [{"x": 1}, {"y": 1}]}, ["x"], "different names"),
        ({"dataframe_split": {"data": X}}, ["x"], "expected columns and data"),
        ({"dataframe_split": X}, ["x"], "expected columns and data"),
        (pd.DataFrame({"y": X}), ["x", "ids"], "expected the inputs x, ids, got columns y"),
    ],
)
def test_what_is_in_no_format(payload, names, said):
    """What makes no arrays for the network's inputs is refused with what was expected."""
    with pytest.raises(InvalidArgumentError, match=said):
        arrays(payload, names)
