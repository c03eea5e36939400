"""The Open Inference Protocol over a real socket, asked by its standard client."""

import asyncio
import dataclasses
import inspect
import queue
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from service.config import Limits
from service.oip.messages import SERVICE
from service.serving.host import MODEL_FILE
from service.snapshot import VersionEntry
from tests.service.support import R3_INPUTS, entry, serving, show

pytestmark = pytest.mark.usefixtures("edge")

ONE = R3_INPUTS[:1]
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def saved(folder, model):
    """A Keras model as a version without a proof."""
    folder.mkdir()
    model.save(folder / MODEL_FILE)
    return VersionEntry("0", folder.name, str(folder))


def two_ways():
    """A network with two inputs, one of ids, and two outputs."""
    from keras import Input, Model, layers

    ids, x = Input((None,), dtype="int32", name="ids"), Input((None, 2), name="x")
    both = layers.Concatenate(name="both")([layers.Embedding(10, 3, name="embedding")(ids), x])
    sequence = layers.LSTM(3, return_sequences=True, name="lstm")(both)
    return Model([ids, x], [layers.Dense(2, name="each")(sequence), layers.GRU(2, name="last")(sequence)], name="two")


def typed(dtype):
    """A network that computes in a type."""
    from keras import Input, Sequential, layers

    rnn = layers.SimpleRNN(3, return_sequences=True, dtype=dtype, name="rnn")
    return Sequential([Input((None, 2), dtype=dtype, name="x"), rnn])


def ids(dtype):
    """A network that reads ids of an integer type."""
    from keras import Input, Sequential, layers

    rnn = layers.SimpleRNN(3, name="rnn")
    return Sequential([Input((None,), dtype=dtype, name="ids"), layers.Embedding(10, 3, name="e"), rnn])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Keras models by name, as they were saved."""
    root = tmp_path_factory.mktemp("models")
    made = {"two": two_ways(), "int32": ids("int32"), "int64": ids("int64")}
    made |= {dtype: typed(dtype) for dtype in ("float16", "float32", "float64")}
    return {name: (model, saved(root / name, model)) for name, model in made.items()}


@pytest.fixture(scope="module")
def server(versions, models, edge):  # noqa: ARG001 - it must be there before
    """A server of all of them, the reference network in versions 1 to 3: its host and our own client."""
    reference = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"], v3=versions["r3-3"])
    others = [entry(name, "champion", v1=version) for name, (_, version) in models.items()]
    with serving(reference, entry("linear", "champion", v1=versions["r2"]), *others) as served:
        yield served


@pytest.fixture(scope="module")
def client(server):
    """The standard client."""
    with triton.InferenceServerClient(server[1].address) as client:
        yield client


def tensor(name, array, datatype=None):
    """An input of the standard client."""
    made = triton.InferInput(name, list(array.shape), datatype or triton.np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def infer(client, x, model="reference", name="x", **options):
    return client.infer(model, [tensor(name, x)], **options)


def test_numbers_are_the_protocols():
    """Every message, field, number and type of ours is that of the standard client; what is left out is not sent."""
    theirs = {m.full_name: m for m in all_messages(service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)}
    ours = {m.full_name: m for m in all_messages(SERVICE.file)}
    assert ours.keys() <= theirs.keys()
    for name, message in ours.items():
        for field in message.fields:
            other = theirs[name].fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), name
    whole = {name for name in theirs if name.startswith("inference.") and "Config" not in name}
    for name in whole & ours.keys():
        if name not in PARTS:
            assert {f.name for f in theirs[name].fields} == {f.name for f in ours[name].fields}, name
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert [
        (m.name, m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
        for m in sorted(service.methods, key=lambda m: m.name)
    ] == [
        (m.name, m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
        for m in sorted(SERVICE.methods, key=lambda m: m.name)
    ]


def test_every_rpc_is_documented():
    """docs/protocol.md has a row for each RPC, and for each field of a request but containers."""
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    rows = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    request = SERVICE.methods_by_name["ModelInfer"].input_type
    tensors = [f for f in request.fields if f.name in ("inputs", "outputs")]
    names = [m.name for m in SERVICE.methods] + [f.name for f in request.fields if f not in tensors]
    names += [f"{f.name}[].{inner.name}" for f in tensors for inner in f.message_type.fields]
    assert [name for name in names if f"`{name}`" not in rows] == []


PARTS = {  # of which we send less than there could be
    "inference.InferStatistics", "inference.ModelStatistics", "inference.ModelInput", "inference.ModelOutput",
}  # fmt: skip


def all_messages(*files):
    """Every message of some files, the inner ones too."""
    found = [message for file in files for message in file.message_types_by_name.values()]
    for message in found:  # grows
        found += message.nested_types
    return found


@pytest.mark.parametrize("first", ["tritonclient.grpc", "service.oip.messages"])
def test_both_copies_live_in_one_process(first):
    """The client's messages and ours are imported together, whichever comes first."""
    code = f"import {first}, tritonclient.grpc, service.oip.messages as ours; print(ours.SERVICE.full_name)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "inference.GRPCInferenceService"


# What is there.


def test_liveness_and_readiness(client):
    """The server lives and is ready; a model is ready by any name of a version that is in memory."""
    assert client.is_server_live()
    assert client.is_server_ready()
    for version in ("", "1", "3", "champion", "@champion"):
        assert client.is_model_ready("reference", version)
    assert not client.is_model_ready("reference", "77")
    with pytest.raises(InferenceServerException, match="no model 'other'") as caught:
        client.is_model_ready("other")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_server_metadata(client):
    """Name, version, and only extensions that are there."""
    found = client.get_server_metadata(as_json=True)
    assert found["name"] == "unroll"
    assert found["version"]
    assert {"model_repository", "statistics", "sequence"} <= set(found["extensions"])
    assert not {"system_shared_memory", "cuda_shared_memory", "trace", "logging"} & set(found["extensions"])


def test_model_metadata(client):
    """Names, types and shapes come from the network, its states from and to the outside among them."""
    found = client.get_model_metadata("two")
    assert (found.name, list(found.versions), found.platform) == ("two", ["1"], "unroll_keras")
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [
        ("ids", "INT32", [-1, -1]),
        ("x", "FP32", [-1, -1, 2]),
        ("lstm/initial_state", "FP32", [-1, 3]),
        ("lstm/initial_cell_state", "FP32", [-1, 3]),
        ("last/initial_state", "FP32", [-1, 2]),
    ]
    assert [(t.name, list(t.shape)) for t in found.outputs] == [
        ("each", [-1, -1, 2]),
        ("last", [-1, 2]),
        ("lstm/final_state", [-1, 3]),
        ("lstm/final_cell_state", [-1, 3]),
        ("last/final_state", [-1, 2]),
    ]
    assert list(client.get_model_metadata("reference").versions) == ["1", "2", "3"]


def test_model_config(client):
    """The configuration names what the metadata names, without the batch, and says which inputs may be left out."""
    config = client.get_model_config("two").config
    metadata = client.get_model_metadata("two")
    assert config.max_batch_size == Limits().batch
    assert [i.name for i in config.input] == [i.name for i in metadata.inputs]
    assert [o.name for o in config.output] == [o.name for o in metadata.outputs]
    assert [list(i.dims) for i in config.input] == [list(i.shape)[1:] for i in metadata.inputs]
    assert [i.optional for i in config.input] == [False, False, True, True, True]
    assert config.input[0].data_type == model_config_pb2.TYPE_INT32
    assert config.backend == "unroll"
    assert not config.model_transaction_policy.decoupled
    assert config.parameters["streamable"].string_value == "true"


def test_repository_index(client):
    """All versions in memory are listed as ready."""
    found = [(m.name, m.version, m.state) for m in client.get_model_repository_index().models]
    assert [("reference", version, "READY") for version in "123"] == [m for m in found if m[0] == "reference"]


def test_settings_are_told_and_not_changed(client):
    """Tracing is off; what is logged is said; changing either is refused."""
    assert client.get_trace_settings(as_json=True) == {"settings": {"trace_level": {"value": ["OFF"]}}}
    assert client.get_log_settings().settings["log_info"].bool_param
    for change in (
        lambda: client.update_trace_settings(settings={"trace_level": "TIMESTAMPS"}),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
    ):
        with pytest.raises(InferenceServerException) as caught:
            change()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get_system_shared_memory_status(),
        lambda c: c.register_system_shared_memory("a", "/a", 4),
        lambda c: c.unregister_system_shared_memory("a"),
        lambda c: c.get_cuda_shared_memory_status(),
        lambda c: c.register_cuda_shared_memory("a", b"YQ==", 0, 4),
        lambda c: c.unregister_cuda_shared_memory("a"),
    ],
)
def test_shared_memory_is_not_offered(client, call):
    """Every call of shared memory says so, in a sentence."""
    with pytest.raises(InferenceServerException, match="tensors travel in messages") as caught:
        call(client)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


# Inference.


@pytest.mark.parametrize(
    ("version", "number"),
    [("", "1"), ("1", "1"), ("2", "2"), ("champion", "1"), ("@champion", "1")],
)
def test_versions(client, server, version, number):
    """Empty, digits, alias and forced alias mean what they mean in our own API; the answer carries the number."""
    found = infer(client, R3_INPUTS, model_version=version)
    assert found.get_response().model_version == number
    expected = server[1].predict(R3_INPUTS, model="reference", version=number)
    assert found.as_numpy("output").tobytes() == expected.output.tobytes()


@pytest.mark.parametrize("batch", [1, 3])
def test_inference_is_prediction(client, server, batch):
    """The standard client gets the bits that our own gets, for one sequence and for more."""
    expected = server[1].predict(R3_INPUTS[:batch], model="reference").output
    found = infer(client, R3_INPUTS[:batch], request_id="seven")
    assert found.as_numpy("output").tobytes() == expected.tobytes()
    assert found.as_numpy("output").shape == expected.shape
    assert found.get_response().id == "seven"
    assert found.get_output("output").datatype == "FP32"


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


def inputs_of_two():
    rng = np.random.default_rng(1)
    return rng.integers(0, 10, (2, 5)).astype(np.int32), rng.normal(size=(2, 5, 2)).astype(np.float32)


def test_several_inputs_and_outputs(client, models):
    """Inputs go by name, in any order; all outputs of the network come, and no states."""
    numbers, x = inputs_of_two()
    found = client.infer("two", [tensor("x", x), tensor("ids", numbers)])
    each, last = models["two"][0]([numbers, x])
    assert [o.name for o in found.get_response().outputs] == ["each", "last"]
    assert np.allclose(found.as_numpy("each"), each, atol=1e-6)
    assert np.allclose(found.as_numpy("last"), last, atol=1e-6)


def test_requested_outputs(client):
    """Only what is asked for comes, in that order; states among it."""
    numbers, x = inputs_of_two()
    names = ["lstm/final_cell_state", "last"]
    found = client.infer(
        "two", [tensor("ids", numbers), tensor("x", x)], outputs=[triton.InferRequestedOutput(n) for n in names]
    )
    assert [o.name for o in found.get_response().outputs] == names
    assert found.as_numpy("lstm/final_cell_state").shape == (2, 3)
    assert infer(client, ONE, outputs=[triton.InferRequestedOutput("output")]).as_numpy("output").shape == (1, 1)


def test_states_go_in_and_out(client):
    """A sequence cut in two calls, its states carried as tensors, gives the bits of one call."""
    numbers, x = inputs_of_two()
    states = {"lstm/final_state": "lstm/initial_state", "lstm/final_cell_state": "lstm/initial_cell_state"}
    states["last/final_state"] = "last/initial_state"
    wanted = [triton.InferRequestedOutput(n) for n in ["last", *states]]
    whole = client.infer("two", [tensor("ids", numbers), tensor("x", x)], outputs=wanted)
    head = client.infer("two", [tensor("ids", numbers[:, :2]), tensor("x", x[:, :2])], outputs=wanted)
    carried = [tensor(into, head.as_numpy(out)) for out, into in states.items()]
    tail = client.infer("two", [tensor("ids", numbers[:, 2:]), tensor("x", x[:, 2:]), *carried], outputs=wanted)
    for name in ("last", *states):
        assert tail.as_numpy(name).tobytes() == whole.as_numpy(name).tobytes()


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
            UNOFFERED, "classification",
            {
                "inputs": [x_input()], "raw_input_contents": RAW,
                "outputs": [{"name": "output", "parameters": {"classification": {"int64_param": 3}}}],
            },
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


def test_parameters_headers_compression_and_timeouts(client):
    """Other parameters, headers, compression and timeouts that do not pass change nothing."""
    plain = infer(client, ONE).as_numpy("output")
    for options in (
        {"parameters": {"mine": "x", "level": 3}, "priority": 2, "timeout": 1000},
        {"headers": {"x-request": "7"}},
        {"compression_algorithm": "gzip"},
        {"compression_algorithm": "deflate"},
        {"client_timeout": 30.0},
    ):
        assert infer(client, ONE, **options).as_numpy("output").tobytes() == plain.tobytes()


def test_what_a_call_computes_is_bounded(versions):
    """A call that would make more numbers than the server allows is refused with both counts."""
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with (
        serving(reference, limits=Limits(computed=50)) as (_, ours),
        triton.InferenceServerClient(ours.address) as client,
    ):
        assert infer(client, np.ones((10, 3, 2), np.float32)).as_numpy("output").shape == (10, 1)
        with pytest.raises(
            InferenceServerException, match="would make 55 numbers in all layers together, the limit is 50"
        ) as caught:
            infer(client, np.ones((11, 3, 2), np.float32))
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_callbacks_and_futures(client):
    """The client's asynchronous calls, by callback and by future, get the same answer."""
    plain = infer(client, ONE).as_numpy("output")
    answers = queue.Queue()
    client.async_infer("reference", [tensor("x", ONE)], callback=lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=10)
    assert error is None
    assert result.as_numpy("output").tobytes() == plain.tobytes()


def test_asyncio(server):
    """The client for asyncio does what the other does, streams included."""

    async def talk():
        async with triton_aio.InferenceServerClient(server[1].address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("reference")
            assert (await client.get_server_metadata()).name == "unroll"
            assert (await client.get_model_metadata("reference")).name == "reference"
            assert (await client.get_model_config("reference")).config.name == "reference"
            assert (await client.get_model_repository_index()).models
            assert (await client.get_inference_statistics("reference")).model_stats
            found = await client.infer("reference", [tensor("x", ONE)])

            async def requests():
                for _ in range(3):
                    yield {"model_name": "reference", "inputs": [tensor("x", ONE)]}

            streamed = [result async for result, _ in client.stream_infer(requests())]
            with pytest.raises(InferenceServerException):
                await client.infer("other", [tensor("x", ONE)])
            return found, streamed

    found, streamed = asyncio.run(talk())
    assert [s.as_numpy("output").tobytes() for s in streamed] == [found.as_numpy("output").tobytes()] * 3


# Streams and sequences.


class Stream:
    """A stream of the standard client; answers in order."""

    def __init__(self, address, **options):
        self._client = triton.InferenceServerClient(address)
        self._answers = queue.Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)), **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.stop_stream()
        self._client.close()

    def send(self, x, model="reference", name="x", **options):
        self._client.async_stream_infer(model, [tensor(name, x)], **options)

    def receive(self):
        return self._answers.get(timeout=20)

    def step(self, x, output="output", **options):
        """The output for a request, or what the server says is wrong with it."""
        self.send(x, **options)
        result, error = self.receive()
        return error.message() if error else result.as_numpy(output)


@pytest.fixture
def stream(server):
    """An open stream."""
    with Stream(server[1].address) as stream:
        yield stream


def steps(x):
    """A sequence, timestep by timestep."""
    return [x[:, t : t + 1] for t in range(x.shape[1])]


@pytest.mark.parametrize("identity", [7, "seven", 2**62])
def test_sequence(stream, server, identity):
    """A sequence sent timestep by timestep ends with the bits that the whole gives; its id may be a number or text."""
    *head, last = steps(R3_INPUTS)
    for i, piece in enumerate(head):
        stream.step(piece, sequence_id=identity, sequence_start=i == 0)
    found = stream.step(last, sequence_id=identity, sequence_end=True)
    assert found.tobytes() == server[1].predict(R3_INPUTS, model="reference").output.tobytes()
    assert "did not begin in this stream" in stream.step(last, sequence_id=identity)


def test_interleaved_sequences_do_not_mix(stream, server):
    """Sequences of several ids and models in one stream each go on from their own state, in the order sent."""
    rng = np.random.default_rng(0)
    data = {i: rng.normal(size=(1, 6, 2)).astype(np.float32) for i in range(1, 9)}
    order = [(i, t) for t in range(6) for i in rng.permutation(list(data))]
    for i, t in order:
        model = "reference" if i % 2 else "linear"
        stream.send(
            data[i][:, t : t + 1], model, sequence_id=int(i), sequence_start=t == 0, sequence_end=t == 5,
            request_id=f"{i}-{t}",
        )  # fmt: skip
    last = {}
    for i, t in order:
        result, error = stream.receive()
        assert error is None
        assert result.get_response().id == f"{i}-{t}"
        last[i] = result.as_numpy("output" if i % 2 else "rnn")
    for i, x in data.items():
        whole = server[1].predict(x, model="reference" if i % 2 else "linear").output
        assert last[i].tobytes() == whole[:, -1:].tobytes() if i % 2 == 0 else last[i].tobytes() == whole.tobytes()


def test_wrong_steps_leave_the_stream_open(stream):
    """A step without a start, of another batch, or of wrong data is answered with what is wrong; the rest goes on."""
    first, second, third = steps(ONE)
    assert "sequence_start" in stream.step(first, sequence_id=1)
    good = stream.step(first, sequence_id=1, sequence_start=True)
    assert "began with a batch of 1" in stream.step(R3_INPUTS[:, 1:2], sequence_id=1)
    assert "no model" in stream.step(first, model="other", sequence_id=1, sequence_start=True)
    assert "expected shape" in stream.step(np.ones((1, 1, 3), np.float32), sequence_id=1)
    expected = stream.step(second, sequence_id=2, sequence_start=True)
    assert stream.step(second, sequence_id=1).tobytes() != expected.tobytes()
    assert stream.step(first, sequence_id=1, sequence_start=True).tobytes() == good.tobytes()  # a second start: anew
    assert stream.step(third).shape == (1, 1)  # without a sequence


def test_a_sequence_stays_with_its_version(versions):
    """A sequence ends on the version it began with, when the alias moves meanwhile."""
    numbered = {"v1": versions["r3-1"], "v2": versions["r3-2"]}
    first, *rest = steps(ONE)
    with serving(entry("reference", "champion", **numbered)) as (host, ours), Stream(ours.address) as stream:
        stream.step(first, sequence_id=1, sequence_start=True)
        moved = entry("reference", "champion", **numbered)
        show(host, dataclasses.replace(moved, aliases={"champion": "2"}, default_version="2"))
        for piece in rest:
            stream.send(piece, sequence_id=1)
            result, _ = stream.receive()
            assert result.get_response().model_version == "1"
        assert result.as_numpy("output").tobytes() == ours.predict(ONE, version="1").output.tobytes()
        stream.send(first, sequence_id=1, sequence_start=True)
        assert stream.receive()[0].get_response().model_version == "2"


def test_sequences_are_bounded(stream):
    """One sequence more than may be open is refused, and begins when another has ended."""
    for i in range(1, 1025):
        stream.send(ONE, sequence_id=i, sequence_start=True)
    assert all(stream.receive()[1] is None for _ in range(1024))
    assert "the limit is 1024" in stream.step(ONE, sequence_id=2000, sequence_start=True)
    assert stream.step(ONE, sequence_id=5, sequence_end=True).shape == (1, 1)
    assert stream.step(ONE, sequence_id=2000, sequence_start=True).shape == (1, 1)


def test_idle_sequences_end(versions):
    """A sequence that is not fed for as long as a stream may be silent is let go of, while others go on."""
    limits = Limits(stream_idle_seconds=3)  # far more than a step takes on a machine that others use
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, limits=limits) as (_, ours), Stream(ours.address) as stream:
        stream.step(ONE, sequence_id=1, sequence_start=True)
        stream.step(ONE, sequence_id=2, sequence_start=True)
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            assert stream.step(ONE, sequence_id=2).shape == (1, 1)
        assert "was idle for 3 s" in stream.step(ONE, sequence_id=1)


def test_errors_as_status(server):
    """A client that asks for it gets what is wrong as the status of the stream, which ends."""
    with Stream(server[1].address, headers={"triton_grpc_error": "true"}) as stream:
        assert stream.step(ONE).shape == (1, 1)
        stream.send(ONE, model="other")
        _, error = stream.receive()
        assert error.status() == "StatusCode.NOT_FOUND"


def test_final_response(stream):
    """Every answer in a stream says that it is the last of its request, as Triton's do, asked for it or not."""
    for options in ({"enable_empty_final_response": True}, {}):
        stream.send(ONE, **options)
        result, _ = stream.receive()
        assert result.get_response().parameters["triton_final_response"].bool_param


def test_states_of_sequences_are_bounded(versions):
    """What the sequences of a stream keep together has a bound; one that ends makes room, one that fails stays."""
    first, second, *_ = steps(np.repeat(ONE, 8, axis=0))
    reference = entry("reference", "champion", v1=versions["r3-1"])
    with serving(reference, limits=Limits(elements=70)) as (_, ours), Stream(ours.address) as stream:
        for i in (1, 2):  # 8 sequences of 4 units each
            assert stream.step(first, sequence_id=i, sequence_start=True).shape == (8, 1)
        assert "keep 96 elements of states; the limit is 70" in stream.step(first, sequence_id=3, sequence_start=True)
        assert "sequence_start" in stream.step(second, sequence_id=3)
        assert stream.step(second, sequence_id=1, sequence_end=True).shape == (8, 1)
        assert stream.step(first, sequence_id=3, sequence_start=True).shape == (8, 1)
        assert stream.step(second, sequence_id=2).shape == (8, 1)


# The whole surface of the client.

UNOFFERED_CALLS = {
    "update_trace_settings": {"settings": {"trace_level": "TIMESTAMPS"}},
    "update_log_settings": {"settings": {"log_info": False}},
    "get_system_shared_memory_status": {},
    "register_system_shared_memory": {"name": "a", "key": "/a", "byte_size": 4},
    "unregister_system_shared_memory": {},
    "get_cuda_shared_memory_status": {},
    "register_cuda_shared_memory": {"name": "a", "raw_handle": b"YQ==", "device_id": 0, "byte_size": 4},
    "unregister_cuda_shared_memory": {},
    "load_model": {"model_name": "reference"},  # here, where there is no registry; with one: test_repository
    "unload_model": {"model_name": "reference"},
}
ANSWERED_CALLS = {
    "is_server_live": {},
    "is_server_ready": {},
    "is_model_ready": {"model_name": "reference"},
    "get_server_metadata": {},
    "get_model_metadata": {"model_name": "reference", "model_version": "1"},
    "get_model_config": {"model_name": "reference", "model_version": "champion"},
    "get_model_repository_index": {},
    "get_inference_statistics": {"model_name": "reference"},
    "get_trace_settings": {"model_name": "reference"},
    "get_log_settings": {},
}
ELSEWHERE = {"close", "infer", "async_infer", "start_stream", "stop_stream", "async_stream_infer", "stream_infer"}


@pytest.mark.parametrize("kind", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_whole_surface(server, kind):
    """Every call that a standard client has is answered, or refused as not offered, with any header and as JSON."""
    public = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
    assert public - ELSEWHERE - {"plugin", "register_plugin", "unregister_plugin"} == (
        UNOFFERED_CALLS.keys() | ANSWERED_CALLS.keys()
    )

    async def ask():
        client = kind(server[1].address)
        for name, arguments in (ANSWERED_CALLS | UNOFFERED_CALLS).items():
            json = {"as_json": True} if name.startswith("get_") else {}
            try:
                answer = getattr(client, name)(**arguments, **json, headers={"x-a": "b"}, client_timeout=20)
                came = bool(await answer if inspect.isawaitable(answer) else answer)
            except InferenceServerException as error:
                came = error.status()
            assert came == ("StatusCode.UNIMPLEMENTED" if name in UNOFFERED_CALLS else True), name
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed

    asyncio.run(ask())


# Statistics.


def test_statistics(versions):
    """Requests, sequences, batches and failures are counted by version, and nanoseconds add up."""
    reference = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"])
    with serving(reference) as (_, ours), triton.InferenceServerClient(ours.address) as client:
        assert client.get_inference_statistics("reference", "1").model_stats[0].inference_count == 0
        for batch in (1, 3, 3):
            infer(client, R3_INPUTS[:batch])
        infer(client, ONE, model_version="2")
        with pytest.raises(InferenceServerException):
            infer(client, ONE[:, :, :1])
        first, second = client.get_inference_statistics("reference").model_stats
        assert (first.version, first.inference_count, first.execution_count) == ("1", 7, 3)
        assert (second.version, second.inference_count) == ("2", 1)
        stats = first.inference_stats
        assert (stats.success.count, stats.fail.count) == (3, 1)
        assert [(b.batch_size, b.compute_infer.count) for b in first.batch_stats] == [(1, 1), (3, 2)]
        parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
        assert sum(part.ns for part in parts) == stats.success.ns
        assert sum(b.compute_infer.ns for b in first.batch_stats) == stats.compute_infer.ns
        assert first.last_inference > 1.6e12
        assert len(client.get_inference_statistics().model_stats) == 2
        with pytest.raises(InferenceServerException, match="no model"):
            client.get_inference_statistics("other")


def test_what_is_loaded_where_there_is_no_registry(client):
    """A server that was given its versions says that it can neither load nor drop any."""
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException) as caught:
            call("reference")
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
