"""service.web.rest.tensors: documents that are wrong, and the place that the error names."""

import json
from http.client import HTTPConnection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError
from service.web.rest.tensors import read_request
from tests.service.web.rest.test_routes import BODY, INFER, ask

X = BODY["inputs"][0]


def changed(**fields):
    """The document with an input that differs."""
    return {"inputs": [{**X, **fields}]}


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        ([], "the body: expected a JSON object, got a list"),
        ({"inputs": {}}, "inputs: expected a list of objects"),
        ({"inputs": [1]}, "inputs: expected a list of objects"),
        ({"inputs": [X], "outputs": 7}, "outputs: expected a list of objects"),
        ({"inputs": [X], "id": 7}, "id: expected a text, got a number"),
        ({"inputs": [X], "id": "\ud800"}, "id: the text is not Unicode"),
        ({"inputs": [X], "parameters": []}, "parameters: expected an object, got a list"),
        ({"inputs": [X], "parameters": {"a": None}}, "parameters.a: expected a number, a text"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: expected true or"),
        ({"inputs": [X], "outputs": [{"parameters": {"binary_data": "no"}}]}, "outputs[0].parameters.binary_data: exp"),
        (changed(name=1), "inputs[0].name: expected a text, got a number"),
        (changed(shape=None), "inputs[0].shape: expected a list of at most 32 extents, got nothing"),
        (changed(shape=[1] * 33), "inputs[0].shape: expected a list of at most 32"),
        (changed(shape=[1, 3, True]), "inputs[0].shape: expected extents of 0 or more, got True"),
        (changed(shape=[1, 3, -2]), "inputs[0].shape: expected extents of 0 or more, got -2"),
        (changed(shape=[1, 3, 3]), "inputs[0].data: 6 elements, but the shape [1, 3, 3] has 9"),
        (changed(data=None), "inputs[0].data: expected a list of elements, or binary_data_size, got nothing"),
        (changed(data=[[1, 2], [3]]), "inputs[0].data: the lists have different lengths"),
        (changed(data=["a"] * 6), "inputs[0].data: not all elements are of the type FP32"),
        (changed(data=[1, 2, 3, 4, 5, None]), "inputs[0].data: not all elements are of the type FP32"),
        (changed(data=[True] * 6), "inputs[0].data: not all elements are of the type FP32"),
        (changed(datatype="INT32", data=[1.5] * 6), "inputs[0].data: not all elements are of the type INT32"),
        (changed(datatype="INT32", data=[2**31] * 6), "inputs[0].data: an element does not fit into INT32"),
        (changed(datatype="BF16"), "expected datatype FP32, got BF16"),
        (changed(datatype="BYTES", data=["a"] * 6), "expected datatype FP32, got BYTES"),
        (changed(datatype="BYTES"), "inputs[0].data: expected a text, got a number"),
        (changed(datatype="BYTES", data=[["a"], ["b", "c"]]), "inputs[0].data: 3 elements, but the shape [1, 3, 2]"),
        (changed(datatype="BYTES", data=["\ud800"] * 6), "inputs[0].data: the text is not Unicode"),
        (changed(data=[1, 2, 3, 4, 5, 1e39]), "element [0, 2, 1] is inf, not a finite"),
        (changed(parameters={"binary_data_size": 4}), "data and binary_data_size are both given"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"} | {"parameters": {"binary_data_size": 24}}]},
         "inputs[0].parameters.binary_data_size: expected a number from 0 to 0"),
        ({"inputs": []}, "missing"),
    ],
)  # fmt: skip
def test_wrong_documents(address, document, match):
    """What is wrong with a document is said with its place, and is the caller's fault."""
    status, found = ask(address, INFER, document)
    assert status == 400
    assert match in found["error"]


@pytest.mark.parametrize(
    ("header", "body", "match"),
    [
        ("0", b"{}", "expected a number from 1 to 2, got '0'"),
        ("3", b"{}", "expected a number from 1 to 2, got '3'"),
        ("-1", b"{}", "expected a number from 1 to 2, got '-1'"),
        ("9" * 5000, b"{}", "expected a number from 1 to 2"),
        ("2", b"{}1234", "4 bytes follow that belong to no input"),
    ],
)
def test_wrong_binary_forms(address, header, body, match):
    """A length of the document that cannot be, and bytes that nothing speaks of, are refused."""
    status, found = ask(address, INFER, body, **{"Inference-Header-Content-Length": header})
    assert (status, match in found["error"]) == (400, True), found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*X, "inputs", "outputs", "parameters", "id", "binary_data_size"]), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=50)
@given(JSON | st.builds(lambda x: {"inputs": [x]}, JSON) | st.builds(lambda x: changed(data=x), JSON), st.binary())
def test_any_document_is_read_or_refused(document, rest):
    """Whatever a body holds, it is a request or an error of ours."""
    head = json.dumps(document).encode()
    try:
        request, _ = read_request(head + rest, str(len(head)), "m", "")
    except ServiceError:
        return
    assert len(request.raw_input_contents) == len(request.inputs)


def test_numbers_that_json_does_not_have(address, monkeypatch):
    """An answer with as many elements as JSON may hold is given; a longer one has to be asked for in binary form."""
    monkeypatch.setattr("service.web.rest.tensors.MOST_IN_JSON", 0)
    status, found = ask(address, INFER, BODY)
    assert (status, "ask for it in binary form" in found["error"]) == (400, True)
    connection = HTTPConnection(address, timeout=60)
    connection.request("POST", INFER, json.dumps({**BODY, "parameters": {"binary_data_output": True}}))
    answer = connection.getresponse()
    assert (answer.status, answer.headers.get_content_type()) == (200, "application/octet-stream")
    answer.read()
    connection.close()
