"""service.web.rest.handlers, asked by tritonclient.http: every method that it has, and what each answers."""

import asyncio
import inspect

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.service.oip.standard import ANSWERED_CALLS as STANDARD_CALLS
from tests.service.oip.standard import UNOFFERED_CALLS
from tests.service.support import R3_INPUTS

ONE = R3_INPUTS[:1]


def tensor(name, array, *, binary=True):
    """An input of the standard client."""
    made = triton.InferInput(name, list(array.shape), triton_type(array))
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def triton_type(array):
    return {"float16": "FP16", "float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"}[
        array.dtype.name
    ]


# The whole surface of the client.

ANSWERED_CALLS = STANDARD_CALLS | {"infer": {"model_name": "reference", "inputs": [tensor("x", ONE)]}}
ELSEWHERE = {"close", "async_infer", "generate_request_body", "parse_response_body", "aio_infer"}


@pytest.mark.parametrize("kind", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_whole_surface(address, kind):
    """Every call that a standard client has is answered, or refused as not offered, with any header."""
    public = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
    assert public - ELSEWHERE - {"plugin", "register_plugin", "unregister_plugin"} == (
        UNOFFERED_CALLS.keys() | ANSWERED_CALLS.keys()
    )

    async def ask():
        client = kind(address)
        for name, arguments in (ANSWERED_CALLS | UNOFFERED_CALLS).items():
            try:
                answer = getattr(client, name)(**arguments, headers={"x-a": "b"})
                came = bool(await answer if inspect.isawaitable(answer) else answer)
            except InferenceServerException as error:
                came = error.status() if error.message() else "nothing said"
            assert came == ("501" if name in UNOFFERED_CALLS else True), name
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed

    asyncio.run(ask())


def test_what_is_there(client):
    """Liveness, readiness, metadata, configuration and the index say what they say over gRPC, numbers as numbers."""
    for version in ("", "1", "champion", "@champion"):
        assert client.is_model_ready("reference", version)
    assert not client.is_model_ready("reference", "77")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "unroll"
    found = client.get_model_metadata("two")
    assert (found["name"], found["versions"], found["platform"]) == ("two", ["1"], "unroll_keras")
    assert found["inputs"][0] == {"name": "ids", "datatype": "INT32", "shape": [-1, -1]}
    config = client.get_model_config("two")
    assert (config["input"][1]["dims"], config["input"][2]["optional"]) == ([-1, 2], True)
    assert config["parameters"]["streamable"] == {"string_value": "true"}
    assert {"name": "reference", "version": "2", "state": "READY", "reason": ""} in client.get_model_repository_index()
    assert client.get_trace_settings() == {"trace_level": ["OFF"]}
    assert client.get_log_settings()["log_info"] is True


def test_what_is_not_there(client):
    """An unknown model or version is 404, with the sentence of the server."""
    for call in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="no model 'other'") as caught:
            call("other")
        assert caught.value.status() == "404"


# Inference.


@pytest.mark.parametrize("version", ["", "1", "2", "champion", "@champion"])
@pytest.mark.parametrize("binary", [True, False])
def test_inference_is_prediction(client, server, version, binary):
    """The bits of an inference are those of our own protocol, binary or not; the answer names the version."""
    expected = server.predict(R3_INPUTS, model="reference", version=version)
    outputs = [triton.InferRequestedOutput("output", binary_data=binary)]
    found = client.infer(
        "reference", [tensor("x", R3_INPUTS, binary=binary)], version, outputs=outputs, request_id="seven"
    )
    assert found.as_numpy("output").tobytes() == expected.output.tobytes()
    assert (found.get_response()["model_version"], found.get_response()["id"]) == (expected.version, "seven")
    assert ("data" in found.get_output("output")) is not binary


def test_several_inputs_and_states(client):
    """Inputs go by name, binary and not in one request; a sequence cut in two gives the bits of one call."""
    rng = np.random.default_rng(1)
    numbers, x = rng.integers(0, 10, (2, 5)).astype(np.int32), rng.normal(size=(2, 5, 2)).astype(np.float32)
    states = {"lstm/final_state": "lstm/initial_state", "lstm/final_cell_state": "lstm/initial_cell_state"}
    states["last/final_state"] = "last/initial_state"
    wanted = [triton.InferRequestedOutput(name, binary_data=i % 2 == 0) for i, name in enumerate(["last", *states])]
    whole = client.infer("two", [tensor("x", x), tensor("ids", numbers, binary=False)], outputs=wanted)
    head = client.infer("two", [tensor("ids", numbers[:, :2]), tensor("x", x[:, :2], binary=False)], outputs=wanted)
    carried = [tensor(into, head.as_numpy(out)) for out, into in states.items()]
    tail = client.infer("two", [tensor("ids", numbers[:, 2:]), tensor("x", x[:, 2:]), *carried], outputs=wanted)
    for name in ("last", *states):
        assert tail.as_numpy(name).tobytes() == whole.as_numpy(name).tobytes()


@pytest.mark.parametrize("binary", [True, False])
def test_classes(client, binary):
    """Classes of an output come as texts, in binary form and in JSON."""
    numbers, x = np.ones((2, 4), np.int32), np.ones((2, 4, 2), np.float32)
    wanted = [triton.InferRequestedOutput("each", binary_data=binary, class_count=2)]
    found = client.infer("two", [tensor("ids", numbers), tensor("x", x)], outputs=wanted)
    assert found.get_output("each")["datatype"] == "BYTES"
    shown = found.as_numpy("each")
    assert shown.shape == (2, 4, 2)
    for one in shown.ravel():
        _, index, label = (one.decode() if isinstance(one, bytes) else one).split(":")
        assert label == ("no", "yes")[int(index)]


@pytest.mark.parametrize("name", ["float16", "float64", "int64"])
@pytest.mark.parametrize("binary", [True, False])
def test_types(client, server, name, binary):
    """Each type that networks take travels both ways; half precision has no JSON form in the client, only binary."""
    if name == "int64":
        x, into = np.array([[1, 2, 9]], np.int64), "ids"
    else:
        x, into = np.linspace(-1, 1, 6).reshape(1, 3, 2).astype(name), "x"
    expected = server.predict({into: x}, model=name).output
    outputs = None if binary else [triton.InferRequestedOutput(server_output(client, name), binary_data=False)]
    if name == "float16" and not binary:
        given = triton.InferInput(into, list(x.shape), "FP16")
        given._data = x.ravel().tolist()  # which the protocol allows
    else:
        given = tensor(into, x, binary=binary)
    found = client.infer(name, [given], outputs=outputs)
    assert found.as_numpy(server_output(client, name)).tobytes() == expected.tobytes()


def server_output(client, model):
    return client.get_model_metadata(model)["outputs"][0]["name"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client, server, algorithm):
    """Requests may be compressed, and answers are where the client accepts it and they are long enough."""
    x = np.repeat(R3_INPUTS, 300, axis=0)
    found = client.infer(
        "reference", [tensor("x", x)],
        request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
    )  # fmt: skip
    assert found.as_numpy("output").tobytes() == server.predict(x, model="reference").output.tobytes()
    plain = client.infer("reference", [tensor("x", ONE)], request_compression_algorithm=algorithm)
    assert plain.as_numpy("output").shape == (1, 1)


def test_asynchronous_calls(client, address, server):
    """The client's greenlets and its asyncio form get the same answer."""
    expected = server.predict(ONE, model="reference").output.tobytes()
    assert client.async_infer("reference", [tensor("x", ONE)]).get_result().as_numpy("output").tobytes() == expected

    async def talk():
        async with triton_aio.InferenceServerClient(address) as other:
            found = await asyncio.gather(*(other.infer("reference", [tensor("x", ONE)]) for _ in range(5)))
            with pytest.raises(InferenceServerException, match="no model 'other'"):
                await other.infer("other", [tensor("x", ONE)])
            return [one.as_numpy("output").tobytes() for one in found]

    assert asyncio.run(talk()) == [expected] * 5


def test_bodies_made_apart(address, server):
    """A body that the client makes without sending it is answered with one that it reads."""
    import http.client

    body, length = triton.InferenceServerClient.generate_request_body([tensor("x", ONE)])
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request(
        "POST", "/v2/models/reference/infer", body, {"Inference-Header-Content-Length": str(length)}
    )  # fmt: skip
    answer = connection.getresponse()
    header = int(answer.headers["Inference-Header-Content-Length"])
    found = triton.InferenceServerClient.parse_response_body(answer.read(), header_length=header)
    connection.close()
    assert found.as_numpy("output").tobytes() == server.predict(ONE, model="reference").output.tobytes()


def test_what_the_grpc_side_refuses(client):
    """Sequences, shared memory and what does not fit are refused with the server's own sentence."""
    x = [tensor("x", ONE)]
    shared = triton.InferInput("x", [1, 3, 2], "FP32")
    shared.set_shared_memory("region", 24)
    for status, match, arguments in (
        ("400", "a sequence keeps its states within one ModelStreamInfer", {"inputs": x, "sequence_id": 7}),
        ("400", r"outputs\[0\].parameters\[classification\]: expected a number of classes from 1, got -2", {
            "inputs": x, "outputs": [triton.InferRequestedOutput("output", class_count=-2)]
        }),
        ("501", "shared memory is not supported", {"inputs": [shared]}),
        ("400", r"expected datatype FP32, got FP64", {"inputs": [tensor("x", ONE.astype(np.float64))]}),
        ("400", "no input named 'y'", {"inputs": [tensor("y", ONE)]}),
        ("400", "not a finite number", {"inputs": [tensor("x", np.full_like(ONE, np.nan))]}),
    ):  # fmt: skip
        with pytest.raises(InferenceServerException, match=match) as caught:
            client.infer("reference", **arguments)
        assert caught.value.status() == status


def test_statistics(client):
    """Inferences are counted with those of gRPC; one version, one model, or all."""
    before = client.get_inference_statistics("two", "1")["model_stats"][0]["inference_count"]
    numbers, x = np.ones((3, 4), np.int32), np.ones((3, 4, 2), np.float32)
    client.infer("two", [tensor("ids", numbers), tensor("x", x)])
    (found,) = client.get_inference_statistics("two")["model_stats"]
    assert found["inference_count"] == before + 3
    assert found["inference_stats"]["success"]["ns"] > 0
    assert len(client.get_inference_statistics()["model_stats"]) == 7
