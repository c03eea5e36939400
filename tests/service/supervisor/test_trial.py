"""The trial of a version: what it says, and what a file that is too much for it does to a server."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from service.config import ServerConfig
from service.errors import CorruptModelError, UnsupportedModelError
from service.model.proof import Proof
from service.serving.loaded import MODEL_FILE, PROOF_FILE
from service.snapshot import VersionEntry
from service.supervisor.trial import Trial, basis
from tests.data.hostile import build
from tests.service.support import R3_INPUTS, running

CONFIG = ServerConfig(("models:/m@champion",))


@pytest.fixture
def exhausting(tmp_path):
    """A small file with a small proof, which takes 100 GB of memory to replay."""
    layers = [
        build.layer("InputLayer", "x", batch_shape=[None, None, 1], dtype="float32"),
        build.layer("Dense", "wide", units=1 << 15),
        build.layer("SimpleRNN", "rnn", units=1),
    ]
    weights = {
        "layers/dense/vars/0": np.ones((1, 1 << 15), np.float32),
        "layers/dense/vars/1": np.ones(1 << 15, np.float32),
        "layers/simple_rnn/cell/vars/0": np.ones((1 << 15, 1), np.float32),
        "layers/simple_rnn/cell/vars/1": np.ones((1, 1), np.float32),
        "layers/simple_rnn/cell/vars/2": np.ones(1, np.float32),
    }
    build.write(tmp_path / MODEL_FILE, build.changed("config", "layers", to=layers), build.h5(weights=weights))
    inputs = {"x": np.ones((1, 800_000, 1), np.float32)}
    Proof(inputs, {"rnn": np.ones((1, 1), np.float32)}, {}, "keras").save(tmp_path / PROOF_FILE)
    return VersionEntry("1", "0", str(tmp_path))


def test_a_version_gets_its_engines(versions):
    """A version gets the engines for a batch of one and for larger ones, chosen anew whatever was chosen before."""
    found = versions["r3-1"]
    for engine, expected in (("numpy", ("numpy", "numpy")), ("scalar", ("scalar", "numpy"))):
        config = replace(CONFIG, engine=engine)
        with Trial() as trial:
            found = trial.tried("m", found, config)
        assert found == replace(versions["r3-1"], engines=expected, basis=basis(config))
    assert basis(CONFIG) != basis(replace(CONFIG, engine="numpy")) != basis(replace(CONFIG, require_proof=True))


def test_a_refusal_is_passed_on(tmp_path):
    """A file that is not supported is refused with the reader's own error: its kind, its words."""
    custom = build.layer("Custom", "rnn", module="mine", units=4)
    build.write(tmp_path / MODEL_FILE, build.changed("config", "layers", 1, to=custom))
    with Trial() as trial, pytest.raises(UnsupportedModelError, match=r"version 1 of m: .*rnn.*Custom"):
        trial.tried("m", VersionEntry("1", "0", str(tmp_path)), CONFIG)


def test_a_file_that_takes_too_much_memory(exhausting):
    """Reading and proving has bounded memory."""
    with Trial() as trial, pytest.raises(CorruptModelError, match="takes more than 4 GiB of memory"):
        trial.tried("m", exhausting, CONFIG)


def test_a_file_that_ends_the_process(versions):
    """A process that a signal ends, such as of a library that crashes, refuses the version and names the signal."""
    with Trial() as trial:
        os.kill(trial.process.pid, signal.SIGSEGV)
        with pytest.raises(CorruptModelError, match="ended the process that did it: SIGSEGV"):
            trial.tried("m", versions["r3-1"], CONFIG)


def test_a_server_outlives_such_a_file(registry, exhausting, tmp_path_factory):
    """A version that takes too much is refused and named; what was served before is served on, by the same process."""
    first = registry.register("outliving", "r3-1", "champion")
    registry.add("exhausting", exhausting)
    second = registry.register("outliving", "exhausting")
    with running("models:/outliving@champion", cache=tmp_path_factory.mktemp("cache"), env=registry.env) as (_, client):
        with pytest.raises(CorruptModelError, match=f"version {second} of outliving: .* memory"):
            client.move_alias(second, model="outliving", expected_version=first)
        assert client.predict(R3_INPUTS, model="outliving").version == first
