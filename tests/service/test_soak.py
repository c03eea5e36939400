"""What shows only after minutes: a thousand swaps under load, a thousand networks loaded and dropped."""

import dataclasses
import gc

import numpy as np
import psutil
import pytest

from service.serving.host import Host
from service.serving.loaded import MODEL_FILE
from tests.service.support import R3_INPUTS, Load, entry, running, show

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
        next(iter(entry("m", "a", v1=_version(folder)).versions.values())), engines=("numpy", "numpy")
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


def _version(folder):
    from service.snapshot import VersionEntry

    return VersionEntry("1", "0", str(folder))
