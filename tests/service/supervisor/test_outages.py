"""The whole server when something it stands on fails: the registry, the supervisor, the cache, the disk."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from service.errors import UnavailableError
from tests.ports import free_port
from tests.service.support import R3_INPUTS, Client, Load, Registry, Server, eventually, running


class Wire:
    """A TCP connection to a server that can be cut, or made to swallow everything, and mended; or held up."""

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._state = "whole"
        self._flows = threading.Event()
        self._flows.set()
        self.holds = threading.Event()  # something waits since it was last held up
        self._pairs = []
        self.port = free_port()
        self._listen()

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._pairs.append(client)
                if self._state == "whole":
                    server = socket.create_connection(self._target)
                    self._pairs.append(server)
                    for ends in ((client, server), (server, client)):
                        threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._flows.is_set():
                    self.holds.set()
                    self._flows.wait()
                if self._state == "whole":
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _close(self):
        for end in (self._listener, *self._pairs):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pairs.clear()

    def cut(self):
        self._state = "cut"
        self._close()

    @contextmanager
    def held_up(self):
        """Lets nothing pass while a block runs; then all of it."""
        self.holds.clear()
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def hang(self):
        self._state = "hung"

    def mend(self, state="whole"):
        self._close()
        self._state = state
        self._listen()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """The way to a real MLflow server with artifacts behind it."""
    folder, port = tmp_path_factory.mktemp("tracking"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1",
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/health"), 300)
        yield Wire(port)
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
        server.wait()


@pytest.fixture(scope="module")
def remote(wire, versions):
    """The registry behind it, with the reference network in it."""
    uri = f"http://127.0.0.1:{wire.port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        registry = Registry(uri, versions)
        registry.register("reference", "r3-1", "champion")
        registry.register("reference", "r3-2")
        registry.env |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
        yield registry


REFERENCE = "models:/reference@champion"


def test_registry_down_while_serving(wire, remote, tmp_path):
    """Without its registry a server serves on and says so; it refuses changes, and catches up when it is back."""
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=2, poll=0.2) as (server, client):
        assert client.predict(R3_INPUTS).version == "1"
        with Load(server.address, R3_INPUTS) as load:
            wire.cut()
            stale = eventually(lambda: client.model().stale_reason)
            assert "registry" in stale
            with pytest.raises(UnavailableError):
                client.override_weights({"output/bias": [1.0]}, expected_version="1", reason="r")
            with pytest.raises(UnavailableError):
                client.predict(R3_INPUTS, version="2")
            assert client.health()
            wire.mend()
            remote.store.set_alias("reference", "champion", "2")
            eventually(lambda: load.answers[-1][0] == "2", 60)
        assert load.failures == []
        eventually(lambda: not client.model().stale_reason)
        remote.store.set_alias("reference", "champion", "1")


def test_registry_hangs(wire, remote, tmp_path):
    """A registry that takes requests and does not answer delays no prediction."""
    env = remote.env | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "8"}
    with running(REFERENCE, cache=tmp_path, env=env, workers=1, poll=0.2) as (server, client):
        wire.hang()
        try:
            with Load(server.address, R3_INPUTS) as load:
                eventually(lambda: client.model().stale_reason)
                so_far = len(load.answers)
                eventually(lambda: len(load.answers) > so_far + 100)
            assert load.failures == []
        finally:
            wire.mend()


def test_the_present_cause(wire, remote, tmp_path):
    """The reason that is given is the one that holds now: first nobody listens, then somebody does not answer."""
    env = remote.env | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    with running(REFERENCE, cache=tmp_path, env=env, workers=1, poll=0.2) as (_, client):
        wire.cut()
        try:
            eventually(lambda: "refuses connections" in client.model().stale_reason, 60)
            wire.mend("hung")
            assert "does not answer in time" in eventually(
                lambda: "refuses" not in client.model().stale_reason and client.model().stale_reason, 60
            )
        finally:
            wire.mend()
        eventually(lambda: not client.model().stale_reason, 60)


def test_what_was_unloaded_meanwhile(wire, remote, tmp_path):
    """A model that is unloaded while the server waits for the registry's answer does not come back with it."""
    remote.register("other", "r3-1", "champion")
    with (
        running(REFERENCE, cache=tmp_path, env=remote.env, workers=1, poll=0.2) as (server, client),
        triton.InferenceServerClient(server.address) as standard,
    ):

        def confirmed():
            return client.model("reference").confirmed_time.ToNanoseconds()

        standard.load_model("other")
        with wire.held_up():
            eventually(lambda: confirmed() < time.time_ns() - 1_000_000_000)  # it looks, and waits
            standard.unload_model("other")
        for _ in range(2):
            before = confirmed()
            eventually(lambda b=before: confirmed() > b)
        assert [model.name for model in client.models()] == ["reference"]


def test_an_override_that_waits(wire, remote, tmp_path):
    """While an override waits for its registry, other models can be changed, and it succeeds when the answer comes."""
    remote.register("other", "r3-1", "champion")
    models = REFERENCE, "models:/other@champion"
    with (
        running(*models, cache=tmp_path, env=remote.env, workers=1, poll=600) as (_, client),
        triton.InferenceServerClient(client.address) as standard,
        ThreadPoolExecutor(1) as pool,
    ):
        eventually(lambda: all(model.default_version for model in client.models()))
        with wire.held_up():
            change = {"output/bias": [1.0]}
            made = pool.submit(client.override_weights, change, model="reference", expected_version="1", reason="r")
            assert wire.holds.wait(60)
            standard.unload_model("other")
            assert [model.name for model in client.models()] == ["reference"]
            assert not made.done()
        client.move_alias("1", model="reference", expected_version=made.result().version)


def test_registry_down_at_start(wire, remote, tmp_path):
    """A server that served before starts without its registry, says so, and catches up."""
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=1) as (_, client):
        expected = client.predict(R3_INPUTS)
    wire.cut()
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=1, poll=0.2) as (server, client):
        answer = client.predict(R3_INPUTS)
        assert answer.version == expected.version
        assert np.array_equal(answer.output, expected.output)
        assert client.model().stale_reason
        server.logged("cannot follow the registry")
        wire.mend()
        eventually(lambda: not client.model().stale_reason, 60)


def test_other_flags_at_a_start_without_the_registry(wire, remote, tmp_path):
    """A version that a server served before is computed by the engine that a flag names now."""
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=1, engine="scalar") as (_, client):
        assert [version.engine for version in client.model().versions] == ["scalar (batch 1), numpy"]
    wire.cut()
    try:
        with running(REFERENCE, cache=tmp_path, env=remote.env, workers=1, engine="numpy") as (_, client):
            assert [version.engine for version in client.model().versions] == ["numpy"]
            assert client.model().stale_reason
    finally:
        wire.mend()


def test_supervisor_killed(remote, tmp_path):
    """When the supervisor is killed its workers end and free the port; a new server serves on it from the cache."""
    server = Server(REFERENCE, cache=tmp_path, env=remote.env, workers=2)
    address = server.address
    eventually(lambda: len(server.workers()) == 2)
    workers = server.workers()
    server.process.kill()
    server.stop()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    again = Server(REFERENCE, cache=tmp_path, env=remote.env | {"UNROLL_ADDRESS": address}, workers=2)
    try:
        assert again.address
        with Client(again.address) as client:
            assert client.predict(R3_INPUTS).version == "1"
    finally:
        assert again.stop() == 0


def test_cache_corrupted(remote, tmp_path):
    """When the cache is damaged what is in memory serves on, and the file is fetched anew when a worker needs it."""
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=2, poll=0.2) as (server, client):
        eventually(lambda: len(server.workers()) == 2)
        (model,) = tmp_path.glob("versions/*/model.keras")
        intact = model.read_bytes()
        model.write_bytes(intact[:1000])
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        server.logged("cannot load the snapshot")
        assert client.predict(R3_INPUTS).version == "1"
        eventually(lambda: model.exists() and model.read_bytes() == intact)
        eventually(lambda: len(server.workers()) == 2 and killed not in server.workers())
        made = client.override_weights({"output/bias": [1.0]}, expected_version="1", reason="all workers are there")
        client.move_alias("1", expected_version=made.version)


def test_disk_full(remote, tmp_path):
    """When nothing can be written to the cache the old version serves on, and the reason is told."""
    with running(REFERENCE, cache=tmp_path, env=remote.env, workers=1, poll=0.2) as (server, client):
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1000, before[1]))  # as if the disk were full
        remote.store.set_alias("reference", "champion", "2")
        eventually(lambda: "File too large" in client.model().stale_reason)  # after "is being fetched"
        assert client.predict(R3_INPUTS).version == "1"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        eventually(lambda: client.predict(R3_INPUTS).version == "2", 60)
        remote.store.set_alias("reference", "champion", "1")
