"""service.oip.inference over a real socket, asked by its standard client: what is there, single calls, counts."""

import asyncio
import inspect
import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from service.config import Limits
from tests.service.oip.standard import ANSWERED_CALLS, ONE, UNOFFERED_CALLS, infer, tensor
from tests.service.support import R3_INPUTS, entry, serving

pytestmark = pytest.mark.usefixtures("edge")


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
    with pytest.raises(InferenceServerException, match="send tensors in messages") as caught:
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


# The whole surface of the client.

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
