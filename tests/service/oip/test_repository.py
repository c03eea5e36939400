"""Loading, unloading and counting through the Open Inference Protocol, in a whole server with several workers."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from service.client import Client
from service.errors import NotFoundError
from tests.service.support import R2_INPUTS, R3_INPUTS, Load, running, stopped
from tests.service.web.support import web

pytestmark = pytest.mark.usefixtures("edge")


@pytest.fixture(scope="module")
def filled(registry):
    """The registry with models in it, registered once for both edges."""
    for version in ("r3-1", "r3-2"):
        registry.register("reference", version)
    registry.register("waiting", "r2", "champion")
    registry.register("nameless", "r2")
    return registry


@pytest.fixture(scope="module")
def served(filled, tmp_path_factory, edge):  # noqa: ARG001 - it must be there before
    """A server with two workers that serves the reference network; another model waits in the registry."""
    registry = filled
    registry.store.set_alias("reference", "champion", "1")
    with running(
        "models:/reference@champion", cache=tmp_path_factory.mktemp("cache"), env=registry.env, workers=2, poll=0.2
    ) as (server, client):
        yield server, client


@contextmanager
def clients(address, count=8):
    """Standard clients with a connection each, so that all workers are reached."""
    made = [
        triton.InferenceServerClient(address, channel_args=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(count)
    ]
    yield made
    for client in made:
        client.close()


def test_over_http(served):
    """Clients of HTTP have a model loaded and unloaded as those of gRPC do."""
    with web(served[1]) as address, triton_http.InferenceServerClient(address) as client:
        client.load_model("waiting")
        assert client.is_model_ready("waiting")
        client.unload_model("waiting", unload_dependents=True)
        assert not client.is_model_ready("waiting")
        for model, options, match in (
            ("nowhere", {}, "no model nowhere in the registry"),
            ("waiting", {"config": "{}"}, r"parameters\[config\]: not known here"),
        ):
            with pytest.raises(InferenceServerException, match=match):
                client.load_model(model, **options)


def tensor(array):
    made = triton.InferInput("x", list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return made


def test_load_and_unload(served):
    """A loaded model answers on every connection when the call returns, an unloaded one on none; others serve on."""
    server, ours = served
    with clients(server.address) as some, Load(server.address, R3_INPUTS, model="reference") as load:
        some[0].load_model("waiting")
        for client in some:
            assert client.is_model_ready("waiting")
            assert np.isfinite(client.infer("waiting", [tensor(R2_INPUTS)]).as_numpy("rnn")).all()
        assert ("waiting", "1", "READY") in [
            (m.name, m.version, m.state) for m in some[0].get_model_repository_index().models
        ]
        assert ours.model("waiting").references == ["models:/waiting@champion"]
        some[1].unload_model("waiting")
        for client in some:
            with pytest.raises(InferenceServerException, match="no model 'waiting'"):
                client.infer("waiting", [tensor(R2_INPUTS)])
    assert load.failures == []
    with pytest.raises(NotFoundError):
        ours.model("waiting")
    assert ours.health()


def test_load_by_version_and_alias(served, registry):
    """A parameter picks a version or an alias, from then on the default; without one it is as it was."""
    server, ours = served
    with clients(server.address, 1) as (client,):

        def load(**parameters):
            channel = grpc.insecure_channel(server.address)
            client._client_stub.RepositoryModelLoad(
                triton.service_pb2.RepositoryModelLoadRequest(
                    model_name="reference", parameters={k: {"string_param": v} for k, v in parameters.items()}
                )
            )
            channel.close()

        load(version="2")
        assert ours.predict(R3_INPUTS, model="reference").version == "2"
        registry.store.set_alias("reference", "challenger", "2")
        load(alias="champion")
        assert ours.predict(R3_INPUTS, model="reference").version == "1"
        load(alias="challenger")
        assert ours.predict(R3_INPUTS, model="reference").version == "2"
        assert ours.model("reference").default_alias == "challenger"
        load(alias="@champion")
        client.load_model("reference")
        assert ours.model("reference").default_version == "1"


@pytest.mark.parametrize(
    ("status", "said", "call"),
    [
        ("NOT_FOUND", "unheard", lambda c: c.load_model("unheard")),
        ("NOT_FOUND", "champion of nameless", lambda c: c.load_model("nameless")),
        ("INVALID_ARGUMENT", "is not a reference", lambda c: c.load_model("../etc")),
        ("INVALID_ARGUMENT", "name of a registered", lambda c: c.load_model("")),
        ("INVALID_ARGUMENT", "come from the registry", lambda c: c.load_model("waiting", config="{}")),
        (
            "INVALID_ARGUMENT", "come from the registry",
            lambda c: c.load_model("waiting", config="{}", files={"file:1/model.keras": b"x"}),
        ),
        ("INVALID_ARGUMENT", "no model 'waiting'", lambda c: c.unload_model("waiting")),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded(served, status, said, call):
    """A model, alias or parameter that means nothing is refused, and what is served stays."""
    server, ours = served
    with clients(server.address, 1) as (client,):
        with pytest.raises(InferenceServerException, match=said) as caught:
            call(client)
        assert caught.value.status() == f"StatusCode.{status}"
    assert [model.name for model in ours.models()] == ["reference"]


def test_statistics_of_all_workers(served):
    """Whichever worker is asked, the counts are those of all of them."""
    server, _ = served
    with clients(server.address) as some:

        def count():
            return [c.get_inference_statistics("reference", "1").model_stats[0].inference_count for c in some]

        (before,) = set(count())
        for client in some:
            for _ in range(5):
                client.infer("reference", [tensor(R3_INPUTS)])
        assert set(count()) == {before + 5 * len(some) * len(R3_INPUTS)}


def test_statistics_are_of_all_or_of_none(served):
    """While a worker does not say what it counted, nobody is told a sum that lacks its part."""
    server, _ = served
    with clients(server.address, 24) as some, ThreadPoolExecutor(24) as pool:  # connected to both workers
        asked = [partial(client.get_inference_statistics, "reference", client_timeout=5) for client in some]
        with stopped(server.workers()[0]):  # for less long than a worker may hang
            errors = [call.exception() for call in [pool.submit(ask) for ask in asked]]
    said = [error for error in errors if error is not None and "did not report statistics" in error.message()]
    assert said
    assert {error.status() for error in said} == {"StatusCode.UNAVAILABLE"}
    with clients(server.address, 1) as (client,):
        assert client.get_inference_statistics("reference", client_timeout=20).model_stats


def test_a_timeout_that_passes(served):
    """A client's timeout ends a call that no worker answers; when they answer again, so are later calls."""
    server, _ = served
    with clients(server.address, 1) as (client,):
        before = client.infer("reference", [tensor(R3_INPUTS)]).as_numpy("output")
        with stopped(*server.workers()), pytest.raises(InferenceServerException, match="Deadline"):
            client.infer("reference", [tensor(R3_INPUTS)], client_timeout=0.2)
        assert np.array_equal(client.infer("reference", [tensor(R3_INPUTS)]).as_numpy("output"), before)


def test_loading_needs_an_operator(registry, tmp_path):
    """With tokens set up, loading and unloading are refused without the operator's, and reading is not."""
    env = {**registry.env, "UNROLL_OPERATOR_TOKEN": "secret"}
    with running("models:/reference@champion", cache=tmp_path, env=env, workers=1) as (server, _):
        with clients(server.address, 1) as (client,):
            assert client.is_model_ready("reference")
            for call in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException) as caught:
                    call("reference")
                assert caught.value.status() in ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")
            client.load_model("reference", headers={"authorization": "Bearer secret"})
        with Client(server.address) as ours:
            assert ours.predict(R3_INPUTS).version == "1"


def test_reflection_describes_both_services(served):
    """A tool that asks by reflection finds our services and the protocol's, with their messages."""
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    server, _ = served
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "unroll.v1.PredictionService"} <= set(database.get_services())
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        assert service.methods_by_name["ModelInfer"].input_type.fields_by_name["raw_input_contents"].number == 7
        assert pool.FindServiceByName("unroll.v1.PredictionService").methods_by_name["Predict"]
