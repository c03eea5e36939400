"""A server that begins with what it served last: any model answers at once, health waits for all of them."""

import os
import signal
from contextlib import contextmanager, suppress

import psutil
import pytest
import tritonclient.grpc as triton

from service.client import Client
from service.errors import UnavailableError
from tests.ports import free_port
from tests.service.support import R3_INPUTS, Server, eventually, running

MODELS = [f"warm-{i:02}" for i in range(40)]
REFERENCES = [f"models:/{name}@champion" for name in MODELS]


@pytest.fixture(scope="module")
def cache(registry, tmp_path_factory):
    """The cache of a server that served many models, of which two have files of their own."""
    for name in MODELS[2:]:
        registry.register(name, "r3-1", "champion")
    registry.register(MODELS[0], "r3-2", "champion")
    registry.register(MODELS[1], "r3-3", "champion")
    cache = tmp_path_factory.mktemp("cache")
    with running(*REFERENCES, cache=cache, env=registry.env, workers=1):
        pass
    return cache


@contextmanager
def warm(cache, registry, **options):
    """A server that has just been started on this cache, and a client of it."""
    address = f"127.0.0.1:{free_port()}"
    server = Server(*REFERENCES, cache=cache, env=registry.env, poll=0.2, address=address, **options)
    try:
        with Client(address) as client:
            yield server, client
    finally:
        server.stop()


def first_answer(client, model):
    """The version of the first answer that a model gives."""

    def answer():
        try:
            return client.predict(R3_INPUTS, model=model).version
        except UnavailableError:
            return None

    return eventually(answer, 60)


def folder_of(client, cache, model):
    """Where the files lie that a model is served from."""
    (version,) = client.model(model).versions
    return cache / "versions" / version.digest


def test_models_answer_before_all_are_loaded(cache, registry):
    """While one model cannot be loaded all others answer, and health and readiness say what is missing."""
    with running(*REFERENCES, cache=cache, env=registry.env, workers=1) as (_, client):
        file = folder_of(client, cache, MODELS[0]) / "proof.npz"
    intact = file.read_bytes()
    file.write_bytes(intact[:100])
    with warm(cache, registry, workers=1) as (server, client), triton.InferenceServerClient(client.address) as t:
        assert first_answer(client, MODELS[-1]) == "1"
        server.logged("cannot load the snapshot")
        with pytest.raises(UnavailableError, match=f"version 1 of {MODELS[0]}"):
            client.predict(R3_INPUTS, model=MODELS[0])
        assert not client.health()
        assert not t.is_server_ready()
        assert not t.is_model_ready(MODELS[0])
        assert t.is_model_ready(MODELS[-1])
        assert {m.name: m.state for m in t.get_model_repository_index().models}[MODELS[0]] == "LOADING"
        assert not client.model(MODELS[0]).versions
        assert [version.version for version in client.model(MODELS[-2]).versions] == ["1"]
        file.write_bytes(intact)
        assert first_answer(client, MODELS[0]) == "1"
        eventually(client.health)
        assert t.is_model_ready(MODELS[0])


def test_versions_are_listed_from_the_first_answer_on(cache, registry):
    """A server that answers before it has reached the registry lists versions as soon as it has."""
    with warm(cache, registry, workers=1) as (_, client):
        first_answer(client, MODELS[-1])
        assert [version.version for version in client.versions(MODELS[-1])] == ["1"]


def test_a_worker_that_was_killed(cache, registry):
    """The only worker of a server is replaced by one that answers for any model, and is healthy when it has all."""
    with warm(cache, registry, workers=1) as (server, client):
        assert first_answer(client, MODELS[20]) == "1"
        for model in (MODELS[-1], MODELS[0]):
            (killed,) = server.workers()
            os.kill(killed, signal.SIGKILL)
            eventually(lambda killed=killed: server.workers() not in ([], [killed]))
            assert first_answer(client, model) == "1"
        eventually(client.health)
        assert len([model for model in client.models() if model.versions]) == len(MODELS)


def test_a_damaged_file(cache, registry):
    """A worker that finds a damaged file serves the other models, and this one when it has been fetched anew."""
    with warm(cache, registry, workers=1) as (server, client):
        server.logged(f"serving {MODELS[-1]} version 1")
        model = folder_of(client, cache, MODELS[1]) / "model.keras"
        intact = model.read_bytes()
        model.write_bytes(intact[:1000])
        os.kill(server.workers()[0], signal.SIGKILL)
        server.logged("cannot load the snapshot")
        assert first_answer(client, MODELS[-1]) == "1"
        assert first_answer(client, MODELS[1]) == "1"
        assert model.read_bytes() == intact
        eventually(client.health)


def test_health_where_others_serve(cache, registry):
    """A worker that comes back to others takes connections when it has all models, so health never wavers."""
    with warm(cache, registry, workers=2) as (server, client):
        first_answer(client, MODELS[0])
        eventually(lambda: len(listening(server)) == 2 and all(healths(client.address, 20)), 60)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in server.workers())
        healthy = []
        while len(listening(server)) < 2:
            healthy += healths(client.address, 1)
        assert all([*healthy, *healths(client.address, 20)])


def listening(server):
    """The workers of a server that take connections."""
    return [pid for pid in server.workers() if any(c.status == psutil.CONN_LISTEN for c in sockets(pid))]


def sockets(pid):
    """The sockets of a process, none where it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).net_connections("tcp")
    return []


def healths(address, count):
    """What health says through connections of their own, which any worker may take."""
    found = []
    for _ in range(count):
        with Client(address) as client:
            found.append(client.health())
    return found
