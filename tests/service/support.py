"""Networks made by Keras and kept in folders as the cache keeps them, and servers that serve them for real."""

import dataclasses
import hashlib
from contextlib import contextmanager

import numpy as np

from service.client import Client
from service.config import Limits, ServerConfig
from service.host import MODEL_FILE, PROOF_FILE, Host
from service.model import proof
from service.server import bind, build_server
from service.servicers.models import ModelServicer
from service.servicers.prediction import PredictionServicer
from service.servicers.weights import WeightServicer
from service.snapshot import ModelEntry, Snapshot, VersionEntry

R3_INPUTS = np.array([[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]], np.float32)
R2_INPUTS = np.array([[[1, 3], [1, 1], [2, 3]]], np.float32)
R2_WEIGHTS = {
    "rnn/kernel": np.array([[1, 0, 2], [2, 1, 3]], np.float32),
    "rnn/recurrent_kernel": np.array([[1, 2, 1], [1, 0, 1], [0, 1, 0]], np.float32),
    "rnn/bias": np.array([0, 0, 1], np.float32),
}
R2_OUTPUT = np.array([[[7, 3, 12], [13, 27, 16], [48, 45, 54]]], np.float32)


def r3(seed=0):
    """The reference network, not trained, with biases that are not zero."""
    import keras

    keras.utils.set_random_seed(seed)
    bias = keras.initializers.RandomUniform(-1, 1, seed=seed)
    return keras.Sequential(
        [
            keras.Input((3, 2), name="x"),
            keras.layers.SimpleRNN(4, name="simpleRNN", bias_initializer=bias),
            keras.layers.Dense(1, name="output", bias_initializer=bias),
        ]
    )


def r2():
    """The linear network whose answer is known exactly; its weights are still those of chance."""
    import keras

    keras.utils.set_random_seed(0)
    rnn = keras.layers.SimpleRNN(3, activation=None, return_sequences=True, name="rnn")
    return keras.Sequential([keras.Input((3, 2), name="x"), rnn])


def keep(model, folder, inputs):
    """Saves a Keras model with its proof, as a version lies in the cache; gives the digest of the file."""
    folder.mkdir()
    model.save(folder / MODEL_FILE)
    outputs = {model.layers[-1].name: np.asarray(model(inputs))}
    proof.Proof({"x": inputs}, outputs, {}, "keras").save(folder / PROOF_FILE)
    return hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()


def entry(name, alias, **numbered):
    """A model with versions under numbers v1, v2 …; the alias means the first."""
    versions = {key[1:]: dataclasses.replace(version, number=key[1:]) for key, version in numbered.items()}
    first = next(iter(versions))
    return ModelEntry(name, (f"models:/{name}@{alias}",), first, alias, {alias: first}, versions)


@contextmanager
def serving(*models, limits=None, **config):
    """A host with these models behind a real gRPC server in this process: gives the host and a client."""
    config = ServerConfig(tuple(ref for m in models for ref in m.references), limits=limits or Limits(), **config)
    host = Host()
    show(host, *models)
    methods = [
        *PredictionServicer(host, config.limits).methods(),
        *WeightServicer(host, config.limits, None).methods(),  # what needs a supervisor is tested with one
        *ModelServicer(host, None).methods(),
    ]
    server = build_server(methods, config)
    port = bind(server, "127.0.0.1:0", config.tls)
    server.start()
    try:
        with Client(f"127.0.0.1:{port}") as client:
            yield host, client
    finally:
        server.stop(0).wait()


def show(host, *models):
    """Puts models into service, as the supervisor does."""
    generation = host.snapshot().generation + 1
    host.prepare(Snapshot(generation, {model.name: model for model in models}))
    host.commit(generation)
