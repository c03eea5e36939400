"""Tensors of the standard protocol: types, contents, raw bytes, and what does not fit."""

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.service.oip.standard import ONE, infer

pytestmark = pytest.mark.usefixtures("edge")


METHOD = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize(("model", "dtype"), [(f"float{n}", f"float{n}") for n in (16, 32, 64)])
def test_floating_types(client, models, model, dtype):
    """Networks of each floating type take and give it."""
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(dtype)
    found = infer(client, x, model=model).as_numpy("rnn")
    assert found.dtype == dtype
    assert np.allclose(found, np.asarray(models[model][0](x)), atol=2e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_types(client, models, dtype):
    """Networks that read ids take them in the type they were made for."""
    x = np.array([[1, 2, 3], [9, 0, 4]], dtype)
    expected = np.asarray(models[dtype][0](x))
    assert np.allclose(infer(client, x, model=dtype, name="ids").as_numpy("rnn"), expected, atol=1e-6)


def raw_call(server, **fields):
    """A request made by hand, as clients without a library do."""
    request = service_pb2.ModelInferRequest(model_name=fields.pop("model", "reference"), **fields)
    with grpc.insecure_channel(server[1].address) as channel:
        call = channel.unary_unary(
            METHOD, service_pb2.ModelInferRequest.SerializeToString, service_pb2.ModelInferResponse.FromString
        )
        return call(request, timeout=10)


@pytest.mark.parametrize(
    ("model", "datatype", "contents", "values"),
    [
        ("float32", "FP32", "fp32_contents", [0.5, -1.0, 2.0, 0.25]),
        ("float64", "FP64", "fp64_contents", [0.1, -1.0, 2.0, 0.25]),
        ("int32", "INT32", "int_contents", [1, 9]),
        ("int64", "INT64", "int64_contents", [1, 9]),
    ],
)
def test_typed_contents(server, client, model, datatype, contents, values):
    """Elements in the field of their type are what raw ones are; the answer is raw all the same."""
    integers = datatype.startswith("INT")
    name, shape = ("ids", [1, 2]) if integers else ("x", [1, 2, 2])
    given = {"name": name, "datatype": datatype, "shape": shape, "contents": {contents: values}}
    answer = raw_call(server, model=model, inputs=[given])
    x = np.array(values, model).reshape(shape)
    assert answer.raw_output_contents[0] == infer(client, x, model=model, name=name).as_numpy("rnn").tobytes()
    assert not answer.outputs[0].HasField("contents")


def x_input(**changes):
    return {"name": "x", "datatype": "FP32", "shape": [1, 3, 2], **changes}


RAW = [ONE.tobytes()]


INVALID, MISSING, LIMIT = (
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED,
)  # fmt: skip


UNOFFERED = grpc.StatusCode.UNIMPLEMENTED
TEXT = {"string_param": "a"}


@pytest.mark.parametrize(
    ("status", "said", "fields"),
    [
        (MISSING, "no model 'other'", {"model": "other", "inputs": [x_input()], "raw_input_contents": RAW}),
        (MISSING, "no alias 'new'", {"model_version": "new", "inputs": [x_input()], "raw_input_contents": RAW}),
        (MISSING, "99", {"model_version": "99", "inputs": [x_input()], "raw_input_contents": RAW}),
        (INVALID, "x is missing", {}),
        (INVALID, "no input named 'y'", {"inputs": [x_input(name="y")], "raw_input_contents": RAW}),
        (INVALID, "no input named ''", {"inputs": [x_input(name="")], "raw_input_contents": RAW}),
        (INVALID, "given twice", {"inputs": [x_input(), x_input()], "raw_input_contents": RAW * 2}),
        (INVALID, "expected datatype FP32, got F", {"inputs": [x_input(datatype="FP64")], "raw_input_contents": RAW}),
        (INVALID, "expected datatype FP32, got none", {"inputs": [x_input(datatype="")], "raw_input_contents": RAW}),
        (INVALID, "expected shape", {"inputs": [x_input(shape=[1, 2, 3])], "raw_input_contents": RAW}),
        (INVALID, "expected shape", {"inputs": [x_input(shape=[3, 2])], "raw_input_contents": RAW}),
        (INVALID, "negative", {"inputs": [x_input(shape=[1, -3, -2])], "raw_input_contents": RAW}),
        (INVALID, "24 bytes of raw, got 20", {"inputs": [x_input()], "raw_input_contents": [RAW[0][4:]]}),
        (INVALID, "one for each of 1 inputs, got 2", {"inputs": [x_input()], "raw_input_contents": RAW * 2}),
        (INVALID, "no data", {"inputs": [x_input()]}),
        (INVALID, "both given", {"inputs": [x_input(contents={"fp32_contents": [1] * 6})], "raw_input_contents": RAW}),
        (INVALID, "read from fp32_contents, got int_c", {"inputs": [x_input(contents={"int_contents": [1] * 6})]}),
        (INVALID, "needs 6 values, got 5", {"inputs": [x_input(contents={"fp32_contents": [1] * 5})]}),
        (INVALID, "not a finite", {"inputs": [x_input(contents={"fp32_contents": [1, 2, 3, 4, 5, np.nan]})]}),
        (INVALID, "not a finite", {"inputs": [x_input()], "raw_input_contents": [np.full(6, np.inf, "<f4").tobytes()]}),
        (LIMIT, "the limit is", {"inputs": [x_input(shape=[2**40, 2**20, 2])], "raw_input_contents": RAW}),
        (INVALID, "no output named", {"inputs": [x_input()], "outputs": [{"name": "y"}], "raw_input_contents": RAW}),
        (INVALID, "twice", {"inputs": [x_input()], "outputs": [{"name": "output"}] * 2, "raw_input_contents": RAW}),
        (
            UNOFFERED, "shared memory",
            {"inputs": [x_input(parameters={"shared_memory_region": TEXT})], "raw_input_contents": RAW},
        ),
        (
            INVALID, "ModelStreamInfer",
            {"inputs": [x_input()], "raw_input_contents": RAW, "parameters": {"sequence_id": {"int64_param": 3}}},
        ),
        (
            INVALID, "expected datatype INT32",
            {"model": "int32", "inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 1]}],
             "raw_input_contents": [b"12345678"]},
        ),
        (
            INVALID, "travels in raw_input_contents only",
            {"model": "float16", "inputs": [x_input(datatype="FP16", contents={"fp32_contents": [1] * 6})]},
        ),
    ],
)  # fmt: skip
def test_bad_requests(server, status, said, fields):
    """A request that does not fit gets the status that clients expect, and a text that names what is wrong."""
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(server, **fields)
    assert (caught.value.code(), said in caught.value.details()) == (status, True), caught.value.details()
