"""What shows only after minutes or with much: a thousand swaps, large networks, many streams and many kills."""

import dataclasses
import gc
import os
import signal
import threading
import time

import grpc
import numpy as np
import psutil
import pytest

from service.client import Client
from service.errors import TimeLimitError
from service.serving.host import Host
from service.serving.loaded import MODEL_FILE
from tests.service.support import R2_INPUTS, R3_INPUTS, Load, entry, eventually, keep, running, show

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


def test_thousand_swaps(registry, tmp_path):
    """A thousand alias moves under load: no request fails, and every answer is that of the version it names."""
    for version in ("r3-1", "r3-2"):
        registry.register("swapped", version)
    registry.store.set_alias("swapped", "champion", "1")
    with running("models:/swapped@champion", cache=tmp_path, env=registry.env) as (server, client):
        expected = {v: client.predict(R3_INPUTS, version=v).output.tobytes() for v in ("1", "2")}
        with Load(server.address, R3_INPUTS) as load:
            for i in range(1000):
                old, new = ("1", "2") if i % 2 == 0 else ("2", "1")
                client.move_alias(new, expected_version=old)
                assert client.predict(R3_INPUTS).version == new
        assert load.failures == []
        assert len(load.versions()) > 1000
        assert all(expected[version] == output for version, output in load.answers)


def test_memory_comes_back(tmp_path_factory):
    """A thousand networks of 50 MB loaded and dropped leave the process within a tenth of where it was."""
    import keras

    folder = tmp_path_factory.mktemp("large")
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.SimpleRNN(3600), keras.layers.Dense(1)])
    model.save(folder / MODEL_FILE)  # 13 million parameters
    version = dataclasses.replace(
        next(iter(entry("m", "a", v1=entry_of(folder)).versions.values())), engines=("numpy", "numpy")
    )
    host = Host()
    process = psutil.Process()
    sizes = []
    for i in range(1000):
        now = dataclasses.replace(version, number="1", digest=f"{i}")  # another digest: it is loaded anew
        show(host, dataclasses.replace(entry("m", "a", v1=version), versions={"1": now}))
        if i == 20:
            gc.collect()
            sizes.append(process.memory_info().rss)
    gc.collect()
    sizes.append(process.memory_info().rss)
    assert np.isfinite(host.snapshot().models["m"].versions["1"].network.parameter_count)
    assert sizes[1] < sizes[0] * 1.1


def entry_of(folder):
    """A version in a folder, under any digest."""
    from service.snapshot import VersionEntry

    return VersionEntry("1", "0", str(folder))


def test_statistics_for_callers_who_leave(registry, tmp_path):
    """While 24 callers ask for the weights of a large LSTM and leave after a second, the server answers all others."""
    import keras

    model = keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.LSTM(1024), keras.layers.Dense(1)])
    digest = keep(model, tmp_path / "large", R2_INPUTS)
    registry.add("large", dataclasses.replace(entry_of(tmp_path / "large"), digest=digest))
    registry.register("large", "large", "champion")
    registry.register("reference", "r3-1", "champion")
    names = "models:/reference@champion", "models:/large@champion"
    with running(*names, cache=tmp_path / "cache", env=registry.env, workers=2) as (server, client):
        eventually(lambda: client.model("large").default_version)
        left, unhealthy = [], []

        def ask():
            with Client(server.address, timeout=1.0) as impatient:
                try:
                    impatient.weights(model="large")
                except TimeLimitError:
                    left.append(1)

        askers = [threading.Thread(target=ask) for _ in range(24)]
        with Load(server.address, R3_INPUTS, model="reference") as load:
            for asker in askers:
                asker.start()
            while any(asker.is_alive() for asker in askers):
                if not client.health():
                    unhealthy.append(time.monotonic())
            so_far = len(load.answers)
            eventually(lambda: len(load.answers) > so_far + 100)
        assert load.failures == []
        assert unhealthy == []
        print(f"{len(left)} of 24 left without an answer; {len(load.answers)} predictions")


def test_many_watches_of_health(registry, tmp_path):
    """Twenty thousand streams that watch health, most of them refused, leave a worker as large as it was."""
    registry.register("watched", "r3-1", "champion")
    path, count = "/grpc.health.v1.Health/Watch", 20_000
    with running("models:/watched@champion", cache=tmp_path, env=registry.env, workers=1) as (server, client):
        (worker,) = map(psutil.Process, server.workers())

        def size():
            return worker.memory_info().rss / 1e6

        def watched():
            with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                calls = [channel.unary_stream(path)(b"") for _ in range(count)]
                refused = sum(call.code() is not None for call in calls if not answered(call))
                most = size()
                for call in calls:
                    call.cancel()
            assert client.health()
            return refused, most

        def answered(call):
            try:
                next(call)
            except grpc.RpcError:
                return False
            return True

        before = size()
        first = watched()
        after = size()
        second = watched()
        print(f"MB: {before:.0f} before, {first[1]:.0f} with {count} streams, {after:.0f} after, {second[1]:.0f} again")
        assert first[0] > count - 1_000
        eventually(lambda: size() < after + 10)


def test_kills_once_a_second(registry, tmp_path):
    """Workers that were killed once a second for half a minute are back when that ends."""
    registry.register("killed", "r3-1", "champion")
    with running("models:/killed@champion", cache=tmp_path, env=registry.env, workers=2) as (server, client):
        for _ in range(30):
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            time.sleep(1)
        begin = time.monotonic()
        port = int(server.address.rpartition(":")[2])

        def listening():
            found = [psutil.Process(pid).net_connections("tcp") for pid in server.workers()]
            return sum(any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in f) for f in found) == 2

        eventually(listening)
        print(f"two workers listen {time.monotonic() - begin:.1f} s after the last second")
        assert client.predict(R3_INPUTS).version == "1"
